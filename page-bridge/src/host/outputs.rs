//! What the engine wants done.

use std::rc::Rc;

use fugitive_core::{
    engine::{Input, Output},
    port::FromBridge,
};
use fugitive_signal::ToServer;
use wasm_bindgen_futures::spawn_local;

use super::Running;
use crate::{log, talk::ToWindow};

impl Running {
    pub(super) fn act(self: &Rc<Self>, output: Output) {
        match output {
            Output::Send { peer, bytes } => self.send(peer, &bytes),
            Output::Deliver {
                want,
                offset,
                bytes,
                tier,
            } => {
                if let Some((port, want)) = self.ports.whose(want) {
                    let message = FromBridge::Bytes { want, offset, tier };
                    self.ports.say(port, &message, Some(&bytes));
                }
            }
            Output::Unsure { want } => {
                if let Some((port, want)) = self.ports.whose(want) {
                    self.ports.say(port, &FromBridge::Unsure { want }, None);
                }
            }
            Output::Behind { want, to } => {
                if let Some((port, want)) = self.ports.whose(want) {
                    self.ports.say(port, &FromBridge::Behind { want, to }, None);
                }
            }
            Output::End { want } => {
                if let Some((port, want)) = self.ports.end(want) {
                    self.ports.say(port, &FromBridge::End { want }, None);
                    self.ports.say(port, &self.totals(), None);
                }
            }
            Output::Failed { want, why } => {
                if let Some((port, want)) = self.ports.end(want) {
                    let why = why.to_string();
                    self.ports
                        .say(port, &FromBridge::Failed { want, why }, None);
                    self.ports.say(port, &self.totals(), None);
                }
            }
            Output::Read {
                ticket,
                id,
                len,
                groups,
            } => {
                let this = self.clone();
                spawn_local(async move {
                    let read = this.serve.read(&id, len, groups).await;
                    if let Err(error) = &read {
                        log::debug(&["a peer asked in vain: ", &error.to_string()].concat());
                        this.tell(Input::Dropped { id });
                    }
                    let read = read.ok();
                    this.handle(Input::Read { ticket, read });
                });
            }
            // Whichever way its signals take is the engine's business.
            Output::Dial { peer, .. } => self.say(&ToWindow::Dial {
                peer: peer.0.as_ref().into(),
            }),
            Output::Restart { peer } => self.say(&ToWindow::Restart {
                peer: peer.0.as_ref().into(),
            }),
            Output::Signal { to, signal } => {
                if let Ok(signal) = fugitive_signal::decode(&signal) {
                    let to = to.0.as_ref().into();
                    self.say_to_server(&ToServer::Signal { to, signal });
                }
            }
            Output::Signalled { from, signal } => match fugitive_signal::decode(&signal) {
                Ok(signal) => {
                    let from = from.0.as_ref().into();
                    self.say(&ToWindow::Signal { from, signal });
                }
                Err(unreadable) => log::debug(&["relayed: ", &unreadable.0].concat()),
            },
            Output::Drop { peer, why } => self.drop_peer(&peer, why),
            Output::MorePeers { want, to_come } => {
                let page = if to_come { self.to_come.take() } else { None };
                self.say_to_server(&ToServer::More { want, page });
            }
            Output::Hold { ids } => self.say_to_server(&ToServer::Hold { ids }),
            Output::Release { ids } => self.say_to_server(&ToServer::Release { ids }),
            Output::Find { id, want } => self.say_to_server(&ToServer::Find { id, want }),
            Output::Peers { open, coming } => {
                self.peers.set((open, coming));
                self.ports.say_all(&FromBridge::Peers { open, coming });
            }
        }
    }
}
