//! Peer connections: how one comes to be, survives glare, and is closed for certain.
//!
//! Who is told to dial makes the offer. There is no renegotiation, so one rule covers glare, a
//! peer's new page and a connection that only we still believe in: **an offer begins a new
//! connection, whatever stood between us and that peer before**, except that of two offers that
//! cross, the one of the peer with the greater id stands. That is perfect negotiation with a fresh
//! connection in the place of a rollback, which would leave the transferred channel behind.
//!
//! The data channel is negotiated out of band (id 0, ordered), made before the first description
//! and given to the engine host in the same task, which is the only moment at which a browser lets
//! one go.
//!
//! No certificate is kept over a navigation: to make one takes a tenth of a millisecond of the twelve of
//! a connection (measured), and by its fingerprint peers would know a visitor again.

mod describing;

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use fugitive_signal::{IceServer, PeerId};
use gloo::{events::EventListener, timers::callback::Timeout};
use js_sys::Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{
    RtcConfiguration, RtcDataChannelInit, RtcIceCandidateInit, RtcIceServer, RtcIceTransportPolicy,
    RtcPeerConnection, RtcPeerConnectionState,
};

use crate::{
    log,
    rest::rest,
    talk::{Line, LinkId, ToHost},
};

/// More connections than this are not begun, whoever asks.
const MAX_LINKS: usize = 32;
/// A connection that is not open after this is given up, in milliseconds.
const OPENS_WITHIN: u32 = 15_000;

/// All connections of this window.
pub struct Connections {
    host: Line,
    me: RefCell<PeerId>,
    configuration: RtcConfiguration,
    /// One to a peer. So few that a map would be the larger part.
    links: RefCell<Vec<Link>>,
    last: Cell<LinkId>,
}

struct Link {
    peer: PeerId,
    id: LinkId,
    connection: RtcPeerConnection,
    stage: Stage,
    early: Vec<RtcIceCandidateInit>,
    /// Until it is open.
    deadline: Option<Timeout>,
    _listeners: [EventListener; 2],
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// Our offer is out, or about to be.
    Offering,
    /// A remote description is being applied.
    Describing,
    /// Candidates may be added.
    Described,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.connection.close();
    }
}

impl Connections {
    /// None yet.
    pub fn new(host: Line, relay_only: bool) -> Rc<Self> {
        let configuration = RtcConfiguration::new();
        if relay_only {
            configuration.set_ice_transport_policy(RtcIceTransportPolicy::Relay);
        }
        Rc::new(Self {
            host,
            me: RefCell::default(),
            configuration,
            links: RefCell::default(),
            last: Cell::default(),
        })
    }

    /// The signal server gave us this name and these servers; what is connected stays.
    pub fn joined(&self, me: PeerId, ice: &[IceServer]) {
        self.me.replace(me);
        self.configuration.set_ice_servers(&ice_servers(ice));
    }

    /// Begins a connection by an offer, unless there is one.
    pub fn dial(self: &Rc<Self>, peer: PeerId) {
        if self.find(&peer, |_| ()).is_some() {
            return;
        }
        let Some((link, connection)) = self.begin(&peer, Stage::Offering) else {
            return;
        };
        let this = self.clone();
        spawn_local(async move {
            rest().await;
            if let Err(error) = this.describe(&peer, link, &connection, "offer").await {
                this.fail(&peer, link, "no offer", &error);
            }
        });
    }

    /// The peer left the server. If the connection stands it needs no server; else it never will.
    pub fn gone(&self, peer: &PeerId) {
        let half = |link: &mut Link| link.deadline.is_some().then_some(link.id);
        if let Some(link) = self.find(peer, half).flatten() {
            self.end(peer, link);
        }
    }

    /// The name that the signal server gave us.
    pub fn me(&self) -> PeerId {
        self.me.borrow().clone()
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        let links = self.links.borrow();
        links.iter().filter(|link| link.deadline.is_none()).count()
    }

    /// Its channel is open.
    pub fn opened(&self, peer: &PeerId, link: LinkId) {
        self.with(peer, link, |link| link.deadline = None);
    }

    /// The host has done with it.
    pub fn close(&self, peer: &PeerId, link: LinkId) {
        let mut links = self.links.borrow_mut();
        links.retain(|held| held.id != link || held.peer != *peer);
    }

    /// Closes every connection.
    pub fn close_all(&self) {
        self.links.borrow_mut().clear();
    }

    /// A connection, its listeners and its channel, which goes to the host.
    fn begin(self: &Rc<Self>, peer: &PeerId, stage: Stage) -> Option<(LinkId, RtcPeerConnection)> {
        let id = self.last.get().wrapping_add(1);
        self.last.set(id);
        match self.try_begin(peer, id, stage) {
            Ok(connection) => Some((id, connection)),
            Err(error) => {
                log::warn(&["no connection: ", &log::reason(&error)].concat());
                self.end(peer, id);
                None
            }
        }
    }

    fn try_begin(
        self: &Rc<Self>,
        peer: &PeerId,
        id: LinkId,
        stage: Stage,
    ) -> Result<RtcPeerConnection, JsValue> {
        if self.links.borrow().len() >= MAX_LINKS {
            return Err("too many".into());
        }
        let connection = RtcPeerConnection::new_with_configuration(&self.configuration)?;
        let init = RtcDataChannelInit::new();
        init.set_negotiated(true);
        init.set_id(0);
        init.set_ordered(true);
        let channel = connection.create_data_channel_with_data_channel_dict("fugitive", &init);
        let told = ToHost::Channel {
            peer: peer.clone(),
            link: id,
        };
        if let Err(error) = self.host.say(&told, Some(&channel)) {
            connection.close();
            return Err(error);
        }
        let listeners = [
            self.listen(
                &connection,
                peer,
                "icecandidate",
                move |this, peer, event| {
                    this.found(peer, event.unchecked_ref());
                },
            ),
            self.listen(
                &connection,
                peer,
                "connectionstatechange",
                move |this, peer, event| {
                    let connection = event.target().map(JsCast::unchecked_into);
                    if connection.is_some_and(|connection: RtcPeerConnection| {
                        matches!(
                            connection.connection_state(),
                            RtcPeerConnectionState::Failed | RtcPeerConnectionState::Closed
                        )
                    }) {
                        log::debug("a connection failed");
                        this.end(peer, id);
                    }
                },
            ),
        ];
        let (weak, to) = (Rc::downgrade(self), peer.clone());
        let deadline = Timeout::new(OPENS_WITHIN, move || {
            if let Some(this) = weak.upgrade() {
                log::debug("a connection did not open in time");
                this.end(&to, id);
            }
        });
        let link = Link {
            peer: peer.clone(),
            id,
            connection: connection.clone(),
            stage,
            early: Vec::new(),
            deadline: Some(deadline),
            _listeners: listeners,
        };
        self.links.borrow_mut().push(link);
        Ok(connection)
    }

    fn listen(
        self: &Rc<Self>,
        connection: &RtcPeerConnection,
        peer: &PeerId,
        event: &'static str,
        heard: impl Fn(&Rc<Self>, &PeerId, &web_sys::Event) + 'static,
    ) -> EventListener {
        let (weak, peer): (Weak<Self>, _) = (Rc::downgrade(self), peer.clone());
        EventListener::new(connection, event, move |event| {
            if let Some(this) = weak.upgrade() {
                heard(&this, &peer, event);
            }
        })
    }

    /// A step failed: of a connection that is no more, that is no news.
    fn fail(&self, peer: &PeerId, link: LinkId, what: &str, error: &JsValue) {
        if self.is_current(peer, link) {
            log::warn(&[what, ": ", &log::reason(error)].concat());
            self.end(peer, link);
        }
    }

    /// Closes it and tells the host.
    fn end(&self, peer: &PeerId, link: LinkId) {
        self.close(peer, link);
        let peer = peer.clone();
        if let Err(error) = self.host.say(&ToHost::Closed { peer, link }, None) {
            log::warn(&["end not told: ", &log::reason(&error)].concat());
        }
    }

    fn is_current(&self, peer: &PeerId, link: LinkId) -> bool {
        self.find(peer, |held| held.id) == Some(link)
    }

    fn with(&self, peer: &PeerId, link: LinkId, change: impl FnOnce(&mut Link)) {
        self.find(peer, |held| {
            if held.id == link {
                change(held);
            }
        });
    }

    fn find<T>(&self, peer: &PeerId, look: impl FnOnce(&mut Link) -> T) -> Option<T> {
        let mut links = self.links.borrow_mut();
        links.iter_mut().find(|link| link.peer == *peer).map(look)
    }
}

fn ice_servers(servers: &[IceServer]) -> Array {
    let each = servers.iter().map(|server| {
        let ice = RtcIceServer::new();
        let urls: Array = server.urls.iter().map(JsValue::from).collect();
        ice.set_urls(&urls);
        if let Some(username) = &server.username {
            ice.set_username(username);
        }
        if let Some(credential) = &server.credential {
            ice.set_credential(credential);
        }
        ice
    });
    each.collect()
}

#[cfg(all(test, target_family = "wasm"))]
mod tests;
