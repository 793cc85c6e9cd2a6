//! The browser harness: real Chromium visitors, a real origin on loopback, and faults between them.
//!
//! [`browser`] drives visitors through WebDriver, [`site`] makes folders of media to serve,
//! [`origin`] serves them in-process behind a proxy that can misbehave on demand, or with a [`certificate`], [`turn`] relays
//! between visitors, who in [`visitors`] are those that several scenarios need; [`reader`] is one with
//! a keyboard and a screen reader, and [`records`] what lies in the store of one. [`lighthouse`] says what a load was like, and is a package of [`npm`].

pub mod browser;
pub mod certificate;
pub mod driver;
mod firefox;
pub mod lighthouse;
pub mod npm;
pub mod origin;
mod processes;
pub mod reader;
pub mod records;
pub mod site;
mod tools;
pub mod turn;
pub mod visitors;
