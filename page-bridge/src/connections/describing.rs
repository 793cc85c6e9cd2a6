//! Descriptions and candidates: what the two ends of a connection say to each other until it stands.

use std::rc::Rc;

use fugitive_signal::{PeerId, Signal};
use wasm_bindgen::{JsCast, JsValue, prelude::*};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    RtcIceCandidateInit, RtcPeerConnection, RtcPeerConnectionIceEvent, RtcSdpType,
    RtcSessionDescriptionInit,
};

use super::{Connections, Link, Stage};
use crate::{
    log,
    rest::rest,
    talk::{LinkId, ToHost},
};

#[wasm_bindgen]
extern "C" {
    /// An RTCPeerConnection; the bindings lack this method.
    type Restartable;
    #[wasm_bindgen(method, js_name = restartIce)]
    fn restart_ice(this: &Restartable);
}

/// Candidates that are kept until the description comes.
const MAX_EARLY: usize = 64;
/// An offer that does not begin a new connection. Who does not know the word ignores it, and then
/// the connection ends as it would have.
const RESTART: &str = "restart";

impl Connections {
    /// What a peer says by way of the signal server.
    pub fn signalled(self: &Rc<Self>, from: PeerId, signal: Signal) {
        match signal {
            Signal::Description { kind, sdp } if kind == "offer" => self.offered(from, sdp),
            Signal::Description { kind, sdp } if kind == "answer" => self.answered(from, sdp),
            Signal::Description { kind, sdp } if kind == RESTART => self.restarted(from, sdp),
            Signal::Description { .. } => log::debug("description of a kind that is not known"),
            Signal::Candidate {
                candidate,
                mid,
                line,
            } => {
                let init = RtcIceCandidateInit::new(&candidate);
                init.set_sdp_mid(mid.as_deref());
                init.set_sdp_m_line_index(line);
                self.candidate(&from, init);
            }
        }
    }

    /// Looks for another way to a peer of which nothing is heard any more (an ICE restart).
    pub fn restart(self: &Rc<Self>, peer: &PeerId) {
        let begin = |link: &mut Link| {
            let is_described = link.stage == Stage::Described;
            is_described.then(|| {
                link.stage = Stage::Offering;
                (link.id, link.connection.clone())
            })
        };
        let Some((link, connection)) = self.find(peer, begin).flatten() else {
            return;
        };
        connection.unchecked_ref::<Restartable>().restart_ice();
        let (this, peer) = (self.clone(), peer.clone());
        spawn_local(async move {
            if let Err(error) = this.describe(&peer, link, &connection, RESTART).await {
                this.fail(&peer, link, "no restart", &error);
            }
        });
    }

    /// The peer looks for another way. Of two restarts that cross, that of the greater id stands;
    /// the other one is rolled back by the browser.
    fn restarted(self: &Rc<Self>, from: PeerId, sdp: String) {
        let ours_stands = *self.me.borrow() > from;
        let take = |link: &mut Link| {
            let is_taken = match link.stage {
                Stage::Offering => !ours_stands,
                Stage::Describing => false,
                Stage::Described => true,
            };
            (is_taken && link.deadline.is_none()).then(|| {
                link.stage = Stage::Describing;
                (link.id, link.connection.clone())
            })
        };
        let Some((link, connection)) = self.find(&from, take).flatten() else {
            return log::debug("a restart of no connection, or one that crossed ours");
        };
        let this = self.clone();
        spawn_local(async move {
            this.answer(&from, link, &connection, &sdp).await;
        });
    }

    fn offered(self: &Rc<Self>, from: PeerId, sdp: String) {
        // What has been open before is a restart of ours, and its peer begins anew.
        let is_offering =
            |link: &mut Link| link.stage == Stage::Offering && link.deadline.is_some();
        if self.find(&from, is_offering) == Some(true) && *self.me.borrow() > from {
            return log::debug("offers crossed, ours stands");
        }
        // Closed before the new one is begun, so that a peer never holds two.
        self.links.borrow_mut().retain(|link| link.peer != from);
        let Some((link, connection)) = self.begin(&from, Stage::Describing) else {
            return;
        };
        let this = self.clone();
        spawn_local(async move {
            rest().await;
            this.answer(&from, link, &connection, &sdp).await;
        });
    }

    async fn answer(&self, from: &PeerId, link: LinkId, connection: &RtcPeerConnection, sdp: &str) {
        let answered = async {
            self.apply(from, link, connection, RtcSdpType::Offer, sdp)
                .await?;
            self.describe(from, link, connection, "answer").await
        };
        if let Err(error) = answered.await {
            self.fail(from, link, "no answer to an offer", &error);
        }
    }

    fn answered(self: &Rc<Self>, from: PeerId, sdp: String) {
        let take = |link: &mut Link| {
            let is_offering = link.stage == Stage::Offering;
            is_offering.then(|| {
                link.stage = Stage::Describing;
                (link.id, link.connection.clone())
            })
        };
        let Some((link, connection)) = self.find(&from, take).flatten() else {
            return log::debug("an answer to no offer of ours");
        };
        let this = self.clone();
        spawn_local(async move {
            let applied = this.apply(&from, link, &connection, RtcSdpType::Answer, &sdp);
            if let Err(error) = applied.await {
                this.fail(&from, link, "answer not applied", &error);
            }
        });
    }

    fn candidate(&self, from: &PeerId, candidate: RtcIceCandidateInit) {
        // A candidate for no connection is one of an attempt that is over.
        self.find(from, |link| {
            if link.stage == Stage::Described {
                add(&link.connection, candidate);
            } else if link.early.len() < MAX_EARLY {
                link.early.push(candidate);
            }
        });
    }

    /// Trickles a candidate.
    pub(super) fn found(&self, peer: &PeerId, event: &RtcPeerConnectionIceEvent) {
        if let Some(candidate) = event.candidate() {
            self.signal(
                peer,
                Signal::Candidate {
                    candidate: candidate.candidate(),
                    mid: candidate.sdp_mid(),
                    line: candidate.sdp_m_line_index(),
                },
            );
        }
    }

    /// Sets our description, which the browser makes to fit, and sends it.
    pub(super) async fn describe(
        &self,
        peer: &PeerId,
        link: LinkId,
        connection: &RtcPeerConnection,
        kind: &str,
    ) -> Result<(), JsValue> {
        let to_fit = JsValue::UNDEFINED.unchecked_into();
        JsFuture::from(connection.set_local_description(&to_fit)).await?;
        let description = connection.local_description();
        if let Some(description) = description.filter(|_| self.is_current(peer, link)) {
            self.signal(
                peer,
                Signal::Description {
                    kind: kind.into(),
                    sdp: description.sdp(),
                },
            );
        }
        Ok(())
    }

    /// Sets the peer's description and then the candidates that came before it.
    async fn apply(
        &self,
        peer: &PeerId,
        link: LinkId,
        connection: &RtcPeerConnection,
        kind: RtcSdpType,
        sdp: &str,
    ) -> Result<(), JsValue> {
        let description = RtcSessionDescriptionInit::new(kind);
        description.set_sdp(sdp);
        JsFuture::from(connection.set_remote_description(&description)).await?;
        self.with(peer, link, |link| {
            link.stage = Stage::Described;
            for candidate in link.early.drain(..) {
                add(&link.connection, candidate);
            }
        });
        Ok(())
    }

    fn signal(&self, to: &PeerId, signal: Signal) {
        let to = to.clone();
        if let Err(error) = self.host.say(&ToHost::Signal { to, signal }, None) {
            log::warn(&["signal not sent: ", &log::reason(&error)].concat());
        }
    }
}

/// Adds a candidate. One that does not fit belongs to an attempt that is over.
fn add(connection: &RtcPeerConnection, candidate: RtcIceCandidateInit) {
    let added = connection.add_ice_candidate_with_opt_rtc_ice_candidate_init(Some(&candidate));
    spawn_local(async move {
        if let Err(error) = JsFuture::from(added).await {
            log::debug(&["candidate not used: ", &log::reason(&error)].concat());
        }
    });
}
