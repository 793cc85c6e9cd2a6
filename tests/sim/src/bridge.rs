//! A page's bridge: what `page-bridge` does around the engine, with made-up channels.

use std::collections::{BTreeMap, BTreeSet};

use fugitive_core::{
    content::ContentId,
    engine::{Config, DropReason, Engine, Input, Output},
    manners::Limits,
};
use fugitive_signal::ToServer;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    Time,
    clock::mix,
    people::Gives,
    site::Content,
    told::Told,
    world::{At, Bridge, Event, Peers, World},
};

/// From the bridge to the worker, a little more than was measured in Chromium.
const PORT: Time = 100;

/// As in `page-bridge/js/bridge.js`.
const PREFETCH_AFTER: Time = 1_000_000;

impl World<'_> {
    /// By device, and by what the visitor gives.
    pub(crate) fn config(&self, who: usize) -> Config {
        let person = &self.people[who];
        let mut config = if person.weak {
            Config::weak()
        } else {
            Config::default()
        };
        let visitor = &self.visitors[who];
        let cap = (self.workload.visits.upload_cap_mb * 1e6) as u64;
        if person.gives == Gives::Nothing || visitor.loads || self.log.up[who] >= cap {
            config.slots = 0;
        }
        config.upload = Limits::default().upload;
        config.seed = mix(mix(self.seed, who as u64), visitor.since as u64);
        config
    }

    /// What the visitor gives may have changed.
    pub(crate) fn reconfigure(&mut self, who: usize) {
        let config = self.config(who);
        self.tell(who, Input::Configure { config });
        self.say_been(who);
        self.say_serves(who);
    }

    /// A link is pressed that opens a page in a tab of its own.
    pub(crate) fn presses(&mut self, at: At) {
        let page = self.people[at.who].looks[at.look].page as u64;
        self.tell(at.who, Input::Turns { page });
    }

    fn page_to_come(&self, who: usize) -> Option<String> {
        let look = self.people[who].looks.get(self.visitors[who].look + 1)?;
        Some(self.site.pages[look.page].path.clone())
    }

    /// Whether it serves is said whenever that changes.
    pub(crate) fn say_serves(&mut self, who: usize) {
        let serves = self.config(who).slots > 0;
        let Some(bridge) = self.visitors[who].bridge.as_mut() else {
            return;
        };
        if bridge.me.is_some() && bridge.said_serves != serves {
            bridge.said_serves = serves;
            let measured = Vec::new();
            let serves = Some(serves);
            self.say_to_server(who, ToServer::Heartbeat { measured, serves });
        }
    }

    /// The page has all it asked for at first, or took too long: from now on it serves.
    pub(crate) fn loaded(&mut self, at: At) {
        if self.page(at).is_some() && self.visitors[at.who].loads {
            self.visitors[at.who].loads = false;
            self.reconfigure(at.who);
        }
    }

    pub(crate) fn start_bridge(&mut self, at: At) {
        if self.page(at).is_none() {
            return;
        }
        let is_new = self.visitors[at.who].bridge.is_none();
        if is_new {
            self.visitors[at.who].since = at.look;
            let engine = Engine::new(self.config(at.who), self.ms());
            self.visitors[at.who].bridge = Some(Bridge {
                engine,
                wake: None,
                me: None,
                conn: None,
                said_been: false,
                said_serves: false,
                links: BTreeMap::new(),
                sent_to: BTreeSet::new(),
                peers: Peers::Coming,
            });
        }
        // What is below the fold is fetched ahead when the page has been there for a while.
        self.clock.after(PREFETCH_AFTER, Event::Ahead(at));
        let page = &self.site.pages[self.people[at.who].looks[at.look].page];
        let shown: Vec<_> = page
            .all()
            .map(|content| self.site.content(content).id())
            .collect();
        if !is_new {
            let page = page.path.clone();
            self.say_to_server(at.who, ToServer::Page { page });
            return self.context(at, shown);
        }
        self.context(at, shown);
        self.tell_origin(at.who);
        let held: Vec<Content> = self.visitors[at.who].store.keys().copied().collect();
        for content in held {
            self.tell_stored(at.who, content);
        }
        // TCP and TLS; the join travels with the upgrade.
        let opens = 2 * 2 * self.way_to_server(at.who);
        self.clock.after(opens, Event::Socket(at));
        self.clock.after(PORT, Event::Peers(at, Peers::Coming));
    }

    /// Tells the bridge what its own page asked for.
    pub(crate) fn context(&mut self, at: At, ids: Vec<ContentId>) {
        if self.visitors[at.who].bridge.is_some() {
            let page = self.people[at.who].looks[at.look].page as u64;
            self.tell(at.who, Input::Context { page, ids });
        }
    }

    /// Tells the engine what is held of a content, if the visitor would have others know.
    pub(crate) fn tell_stored(&mut self, who: usize, content: Content) {
        let holders = self.holders.get(&content);
        let is_served = holders.is_some_and(|holders| holders.contains(&who));
        if self.gives(who) == Gives::Free || !is_served {
            return;
        }
        let Some(groups) = self.visitors[who].store.get(&content).cloned() else {
            return;
        };
        let resource = self.site.content(content);
        let (id, len) = (resource.id(), resource.len());
        self.tell(who, Input::Stored { id, len, groups });
    }

    /// Does what the engine says, until it says nothing more.
    pub(crate) fn carry_out(&mut self, who: usize) {
        loop {
            let Some(bridge) = self.visitors[who].bridge.as_mut() else {
                return;
            };
            if let Some(output) = bridge.engine.poll() {
                self.act(who, output);
            } else if let Some(peer) = bridge.sent_to.pop_first() {
                if let Some(bytes) = self.buffered(who, &peer) {
                    let now = self.ms();
                    if let Some(bridge) = self.visitors[who].bridge.as_mut() {
                        bridge.engine.handle(Input::Buffered { peer, bytes }, now);
                    }
                }
            } else {
                break;
            }
        }
        self.set_alarm(who);
    }

    fn act(&mut self, who: usize, output: Output) {
        let at = self.here(who);
        match output {
            Output::Send { peer, bytes } => self.send(who, &peer, bytes),
            // Whichever way its signals take is the engine's business.
            Output::Dial { peer, .. } => self.dial(who, &peer),
            // There is no other way where this one ends: what is silent here is gone.
            Output::Restart { .. } => {}
            Output::Signal { to, signal } => {
                if let Ok(signal) = fugitive_signal::decode(&signal) {
                    let to = to.0.to_string();
                    self.say_to_server(who, ToServer::Signal { to, signal });
                }
            }
            Output::Signalled { from, signal } => {
                if let Ok(signal) = fugitive_signal::decode(&signal) {
                    self.clock
                        .after(PORT, Event::Signalled(at, from, Box::new(signal)));
                }
            }
            Output::Drop { peer, why } => {
                self.log.dropped(why);
                if matches!(
                    why,
                    DropReason::Lied
                        | DropReason::Unasked
                        | DropReason::Message(_)
                        | DropReason::Unreadable
                        | DropReason::Greedy
                ) {
                    let peer = peer.0.to_string();
                    self.say_to_server(who, ToServer::Ban { peer });
                }
                self.hang_up(at, &peer, false);
            }
            Output::Deliver {
                want,
                offset,
                bytes,
                tier,
            } => {
                self.check(who, want, offset, &bytes);
                let bytes = bytes.len() as u64;
                let told = Told::Bytes {
                    offset,
                    bytes,
                    tier,
                };
                self.clock.after(PORT, Event::Told(who, want, told));
            }
            Output::Unsure { want } => {
                self.clock.after(PORT, Event::Told(who, want, Told::Unsure));
            }
            Output::Behind { want, to } => {
                let told = Told::Behind { to };
                self.clock.after(PORT, Event::Told(who, want, told));
            }
            Output::End { want } => self.clock.after(PORT, Event::Told(who, want, Told::End)),
            Output::Failed { want, why } => {
                self.log.failed(why);
                self.clock
                    .after(PORT, Event::Told(who, want, Told::Failed(why)));
            }
            Output::Read {
                ticket, id, groups, ..
            } => {
                let Some(content) = self.site.find(&id) else {
                    return;
                };
                let lots = mix(self.seed ^ who as u64, u64::from(ticket));
                let mut rng = ChaCha8Rng::seed_from_u64(lots);
                let takes = self.workload.browser.read_ms.draw(&mut rng);
                let event = Event::Read(at, ticket, content, groups);
                self.clock.after((takes * 1e3) as Time, event);
            }
            Output::MorePeers { want, to_come } => {
                let page = to_come.then(|| self.page_to_come(who)).flatten();
                self.say_to_server(who, ToServer::More { want, page });
            }
            Output::Hold { ids } => self.say_to_server(who, ToServer::Hold { ids }),
            Output::Release { ids } => self.say_to_server(who, ToServer::Release { ids }),
            Output::Find { id, want } => self.say_to_server(who, ToServer::Find { id, want }),
            Output::Peers { open, coming } => {
                let peers = match (open, coming) {
                    (0, true) => Peers::Coming,
                    (0, false) => Peers::None,
                    _ => Peers::Here,
                };
                self.clock.after(PORT, Event::Peers(at, peers));
            }
        }
    }

    fn set_alarm(&mut self, who: usize) {
        let (at, now) = (self.here(who), self.clock.now());
        let Some(bridge) = self.visitors[who].bridge.as_mut() else {
            return;
        };
        let wake = bridge.engine.wake_at();
        let Some(wake) = wake.map(|ms| (ms * 1_000).max(now + 1)) else {
            return;
        };
        // One that rings early does no harm and is set again.
        if bridge.wake.is_none_or(|set| set > wake) {
            bridge.wake = Some(wake);
            self.clock.at(wake, Event::Wake(at));
        }
    }

    pub(crate) fn woken(&mut self, at: At) {
        let now = self.clock.now();
        let Some(bridge) = self.bridge(at) else {
            return;
        };
        if bridge.wake.is_some_and(|set| set <= now) {
            bridge.wake = None;
            self.tell(at.who, Input::Tick);
        }
    }
}
