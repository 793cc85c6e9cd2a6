//! Visitors in real browsers, a file a subject. One program: building several took longer than most of
//! them take to run.

mod beside;
mod browsers;
mod cache;
mod cancel;
mod changes;
mod cold;
mod consent;
mod directory;
mod docs;
mod durability;
mod earlier;
mod elsewhere;
mod faults;
mod history;
mod journey;
mod live;
mod look;
mod manners;
mod off;
mod panel;
mod peers;
mod ranges;
mod rare;
mod relay;
mod soak;
mod tabs;
mod updates;
mod walk;
