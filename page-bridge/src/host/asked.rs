//! What Service Worker instances ask, each over its port.

use std::rc::Rc;

use fugitive_core::{
    content::ContentId,
    engine::Input,
    port::{FromBridge, ToBridge},
};
use fugitive_signal::ToServer;
use web_sys::MessagePort;

use super::{Running, now};
use crate::{ports::PortId, talk::ToWindow};

/// How many peers have what is told at most this often, and looked for so soon while nothing is known, in
/// milliseconds.
const NEAR_EVERY: u64 = 10_000;
const NEAR_AGAIN: u64 = 1_000;
/// Contents of which that is said.
const MOST_NEAR: usize = 256;

impl Running {
    pub(super) fn port(self: &Rc<Self>, port: MessagePort) {
        let (heard, closed) = (Rc::downgrade(self), Rc::downgrade(self));
        let (id, surplus) = self.ports.add(
            port,
            move |port, message| {
                if let Some(this) = heard.upgrade() {
                    this.asked(port, message);
                }
            },
            move |port| {
                if let Some(this) = closed.upgrade() {
                    this.forget_port(port);
                }
            },
        );
        if let Some(surplus) = surplus {
            self.forget_port(surplus);
        }
        // It has heard nothing yet.
        self.near.take();
        self.ports.say(id, &self.governor.shown(), None);
        let (open, coming) = self.peers.get();
        self.ports
            .say(id, &FromBridge::Peers { open, coming }, None);
    }

    pub(super) fn forget_port(self: &Rc<Self>, port: PortId) {
        for want in self.ports.remove(port) {
            self.tell(Input::Cancel { want });
        }
        self.carry_out();
    }

    pub(super) fn asked(self: &Rc<Self>, port: PortId, message: ToBridge) {
        match message {
            ToBridge::Hello { client } => self.say(&ToWindow::Hello { client }),
            ToBridge::Want {
                want,
                id,
                len,
                start,
                end,
                credit,
                patience,
                plays,
            } => {
                let want = self.ports.number(port, want);
                self.handle(Input::Want {
                    want,
                    id,
                    len,
                    bytes: start..end,
                    credit,
                    patience,
                    plays,
                });
            }
            ToBridge::Prefetch {
                want,
                id,
                len,
                start,
                end,
            } => {
                let want = self.ports.number(port, want);
                let bytes = start..end.unwrap_or(len);
                self.handle(Input::Prefetch {
                    want,
                    id,
                    len,
                    bytes,
                });
            }
            ToBridge::Find { id, len } => self.handle(Input::Find { id, len }),
            ToBridge::Context { ids, page } => {
                self.context(page, ids);
                self.carry_out();
            }
            ToBridge::Turns { page } => {
                let name = name_of(&page);
                self.to_come.replace(Some(page));
                self.handle(Input::Turns { page: name });
            }
            ToBridge::Pace { id, rate } => self.handle(Input::Pace { id, rate }),
            ToBridge::Policy { limits } => {
                if self.governor.policy(&limits) {
                    self.configure();
                }
            }
            ToBridge::Origin { first_byte, rate } => {
                self.handle(Input::Origin { first_byte, rate });
            }
            ToBridge::Credit { want, to } => {
                if let Some(want) = self.ports.numbered(port, want) {
                    self.handle(Input::Credit { want, to });
                }
            }
            ToBridge::Cancel { want } => {
                if let Some(want) = self.ports.numbered(port, want) {
                    self.ports.end(want);
                    self.handle(Input::Cancel { want });
                }
            }
            ToBridge::Stored { id, len, groups } => {
                self.handle(Input::Stored { id, len, groups });
            }
            ToBridge::Look {} => {
                let peers = self.engine.borrow().connected();
                self.ports.say(port, &self.totals(), None);
                self.ports.say(port, &self.governor.shown(), None);
                self.ports.say(port, &FromBridge::Connected { peers }, None);
            }
            ToBridge::Dropped { id } => self.handle(Input::Dropped { id }),
        }
    }

    /// What a page shows: that of the window, or another in whose place it holds the swarm.
    pub(super) fn context(&self, page: Option<String>, ids: Vec<ContentId>) {
        let page = page.unwrap_or_else(|| self.own_page.clone());
        let name = name_of(&page);
        if *self.page.borrow() != page {
            self.page.replace(page.clone());
            self.say_to_server(&ToServer::Page { page });
        }
        self.tell(Input::Context { page: name, ids });
    }

    pub(super) fn totals(&self) -> FromBridge {
        let totals = self.engine.borrow().totals();
        FromBridge::Totals {
            sent: totals.sent,
            received: totals.received,
            wasted: totals.wasted,
        }
    }

    /// Now and then the worker hears how many peers have what it keeps, where that changed.
    pub(super) fn say_near(&self) {
        let (now, (at, told)) = (now(), self.near.take());
        if now < at {
            self.near.set((at, told));
            return;
        }
        let near = self.engine.borrow().near(MOST_NEAR);
        let changed: Vec<_> = near
            .iter()
            .filter(|one| !told.contains(one))
            .copied()
            .collect();
        let wait = if near.is_empty() {
            NEAR_AGAIN
        } else {
            NEAR_EVERY
        };
        self.near.set((now + wait, near));
        if !changed.is_empty() {
            self.ports.say_all(&FromBridge::Near { near: changed });
        }
    }
}

/// A page as peers who are on it know it.
fn name_of(page: &str) -> u64 {
    let hash = ContentId::of(page.as_bytes()).0;
    u64::from_le_bytes(hash.first_chunk().copied().unwrap_or_default())
}
