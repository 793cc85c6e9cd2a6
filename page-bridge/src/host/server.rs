//! What the signal server says, and what it is told.

use std::rc::Rc;

use fugitive_core::{engine::Input, port::FromBridge};
use fugitive_signal::{MOST_MEASURED, Measured, ToClient, ToServer};

use super::Running;
use crate::{log, talk::ToWindow};

impl Running {
    pub(super) fn signalled(self: &Rc<Self>, message: ToClient) {
        match message {
            ToClient::Welcome {
                id,
                ticket,
                ice,
                hold_over,
            } => {
                let me = id.as_str().into();
                // It joined as the window's page, now or again.
                let page = self.page.borrow().clone();
                if page != self.own_page {
                    self.say_to_server(&ToServer::Page { page });
                }
                self.say(&ToWindow::Joined {
                    me: id,
                    ticket,
                    ice,
                });
                self.handle(Input::Welcome { me, hold_over });
                self.said_serves.set(false);
                self.say_serves();
            }
            ToClient::Offered { peers } => self.handle(Input::Offered {
                peers: peers.iter().map(|peer| peer.as_str().into()).collect(),
            }),
            ToClient::Gone { peer } => {
                let gone = peer.as_str().into();
                self.say(&ToWindow::Gone { peer });
                self.handle(Input::Gone { peer: gone });
            }
            ToClient::Signal { from, signal } => {
                self.say(&ToWindow::Signal { from, signal });
            }
            ToClient::Manifest {} => self.ports.say_all(&FromBridge::Manifest {}),
            ToClient::Holders { id, peers } => self.handle(Input::Holders {
                id,
                peers: peers.iter().map(|peer| peer.as_str().into()).collect(),
            }),
            // Followed by the socket.
            ToClient::Elsewhere { .. } => {}
            ToClient::Refused { why } => {
                log::warn(&["the signal server refuses: ", &why].concat());
            }
        }
    }

    /// Who begins to serve, or does so no more, says so; and once where he was before: others are there
    /// now.
    pub(super) fn say_serves(&self) {
        let signalling = self.signalling.borrow();
        let Some(signalling) = signalling.as_ref().filter(|it| it.is_joined()) else {
            return;
        };
        let serves = self.governor.config().slots > 0;
        if self.said_serves.replace(serves) != serves {
            signalling.say(&ToServer::Heartbeat {
                measured: Vec::new(),
                serves: Some(serves),
            });
        }
        if serves && !self.been.borrow().is_empty() {
            let pages = self.been.take();
            signalling.say(&ToServer::Been { pages });
        }
    }

    /// How far peers are, for the server to pair by.
    pub(super) fn measured(&self) -> Vec<Measured> {
        let engine = self.engine.borrow();
        let measured = engine.measured().take(MOST_MEASURED);
        let measured = measured.map(|(peer, rtt)| Measured {
            peer: peer.0.as_ref().into(),
            rtt,
        });
        measured.collect()
    }

    pub(super) fn say_to_server(&self, message: &ToServer) {
        if let Some(signalling) = &*self.signalling.borrow() {
            signalling.say(message);
        }
    }
}
