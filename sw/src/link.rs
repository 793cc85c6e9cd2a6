//! The near end of the port: wants to the bridge, verified bytes back.
//!
//! A port belongs to this instance of the worker and to one page. Either may end without a word, so
//! an instance that has no port asks the page that holds the swarm for one, and every wait is
//! bounded by the caller.

mod want;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    ops::Range,
    rc::Rc,
};

use fugitive_core::{
    content::ContentId,
    engine::Totals,
    hedge::LARGE,
    manners::Limits,
    port::{Connected, FromBridge, ToBridge, WantId},
};
use futures_channel::{mpsc, oneshot};
use gloo::events::EventListener;
use js_sys::{Array, Uint8Array};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
pub use want::{Piece, Want};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{MessageEvent, MessagePort};

use crate::{context::Context, log, origin};

/// What is known of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// No bridge has said anything to this instance.
    Unknown,
    /// The bridge is there and has none yet.
    Coming,
    /// The bridge is there, and there are none to be had.
    None,
    /// Open.
    Here(u32),
}

/// What the worker does when the bridge says something that is not about a want.
pub trait Told {
    /// The number of peers changed.
    fn peers(self: Rc<Self>, peers: Peers);
    /// So many of them have these contents.
    fn near(self: Rc<Self>, near: Vec<(ContentId, u32)>);
    /// The manifest changed.
    fn manifest(self: Rc<Self>);
}

/// The near end.
pub struct Link {
    port: RefCell<Option<Rc<Live>>>,
    /// Of a tab that handed over and finishes what it was asked for.
    before: RefCell<Option<Rc<Live>>>,
    peers: Cell<Peers>,
    wants: RefCell<HashMap<WantId, Asked>>,
    last_want: Cell<WantId>,
    bytes_at: Cell<f64>,
    /// What the visitor looks at.
    context: RefCell<Context>,
    totals: Cell<Totals>,
    manners: RefCell<Allowed>,
    connected: RefCell<Vec<Connected>>,
    /// What the bridge was told that the site wants.
    policy: RefCell<Vec<u64>>,
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
}

/// What the bridge said last of what it may do for others.
#[derive(Clone, Default)]
pub struct Allowed {
    /// Why it does nothing; nothing where it does.
    pub quiet: Option<String>,
    /// Bytes that were served today.
    pub given: u64,
    /// Bytes that may be.
    pub daily: u64,
}

struct Live {
    client: String,
    port: MessagePort,
    _listener: EventListener,
}

impl Live {
    fn say(&self, message: &ToBridge) {
        let Some(message) = message.serialize(&Serializer::json_compatible()).ok() else {
            return;
        };
        if let Err(error) = self.port.post_message(&Array::of1(&message)) {
            log::warn(&["port: ", &log::reason(&error)]);
        }
    }
}

/// Who waits for what was asked, and of whom.
struct Asked {
    pieces: mpsc::UnboundedSender<Piece>,
    live: Option<Rc<Live>>,
}

impl Link {
    /// Without a port.
    pub fn new() -> Self {
        Self {
            port: RefCell::default(),
            before: RefCell::default(),
            peers: Cell::new(Peers::Unknown),
            wants: RefCell::default(),
            last_want: Cell::new(0),
            bytes_at: Cell::new(f64::NEG_INFINITY),
            context: RefCell::default(),
            totals: Cell::default(),
            manners: RefCell::default(),
            connected: RefCell::default(),
            policy: RefCell::default(),
            waiting: RefCell::default(),
        }
    }

    /// What the bridge said last of what went through its engine.
    pub fn totals(&self) -> Totals {
        self.totals.get()
    }

    /// What the bridge may do for others.
    pub fn allowed(&self) -> Allowed {
        self.manners.borrow().clone()
    }

    /// What it said last of each open peer.
    pub fn connected(&self) -> Vec<Connected> {
        self.connected.borrow().clone()
    }

    /// The bridge is told what the site wants, unless it knows.
    pub fn policy(&self, limits: &Limits) {
        let limits = limits.values();
        if self.is_up() && *self.policy.borrow() != limits {
            self.policy.replace(limits.clone());
            self.say(&ToBridge::Policy { limits });
        }
    }

    /// A page asked for a content.
    pub fn asked(&self, client: &str, id: ContentId) {
        let is_new = {
            let mut context = self.context.borrow_mut();
            context.turns_to(client) && context.ids.insert(id)
        };
        if is_new {
            self.tell_context(vec![id]);
        }
    }

    /// A page says where it is and what it shows, or will.
    pub fn expect(&self, client: &str, page: String, ids: Vec<ContentId>) {
        {
            let mut context = self.context.borrow_mut();
            if !context.turns_to(client) {
                return;
            }
            context.page = Some(page);
            context.ids.extend(ids);
        }
        self.tell_whole_context();
    }

    /// A page says how fast it plays something, in bytes a second.
    pub fn plays(&self, client: &str, id: ContentId, rate: u64) {
        {
            let mut context = self.context.borrow_mut();
            if !context.turns_to(client) {
                return;
            }
            context.paces.insert(id, rate);
        }
        self.say(&ToBridge::Pace { id, rate });
    }

    /// A page says that the visitor is about to turn to another.
    pub fn turns(&self, page: String) {
        self.say(&ToBridge::Turns { page });
    }

    fn tell_whole_context(&self) {
        let context = self.context.borrow();
        self.tell_context(context.ids.iter().copied().collect());
        for (&id, &rate) in &context.paces {
            self.say(&ToBridge::Pace { id, rate });
        }
    }

    /// The bridge is told of its own page, and of another once that said which it is.
    fn tell_context(&self, ids: Vec<ContentId>) {
        let page = {
            let (context, port) = (self.context.borrow(), self.port.borrow());
            match &*port {
                Some(live) if live.client == context.client => None,
                Some(_) if context.page.is_some() => context.page.clone(),
                _ => return,
            }
        };
        self.say(&ToBridge::Context { ids, page });
    }

    /// What is known of peers.
    pub fn peers(&self) -> Peers {
        self.peers.get()
    }

    /// Whether there is a port, which may be dead.
    pub fn is_up(&self) -> bool {
        self.port.borrow().is_some()
    }

    /// When verified bytes last came, for whichever want.
    pub fn bytes_at(&self) -> f64 {
        self.bytes_at.get()
    }

    /// Whether the port, if there is one, leads to this window.
    pub fn is_with(&self, client: Option<&str>) -> bool {
        let port = self.port.borrow();
        port.as_ref()
            .is_none_or(|live| Some(live.client.as_str()) == client)
    }

    /// The window at the other end of the port.
    pub fn client(&self) -> Option<String> {
        self.port.borrow().as_ref().map(|live| live.client.clone())
    }

    /// A bridge offers a port, or was asked for one. `client` is its window. One that was `handed` the
    /// swarm leaves it to the one before to finish what that was asked for.
    pub fn take(
        self: &Rc<Self>,
        port: MessagePort,
        client: &str,
        handed: bool,
        told: Rc<dyn Told>,
    ) {
        let link = Rc::downgrade(self);
        let listener = EventListener::new(&port, "message", move |event| {
            let data = event.unchecked_ref::<MessageEvent>().data();
            if let Some(link) = link.upgrade() {
                let is_current = event.target().is_some_and(|target| link.is_at(&target));
                link.heard(data, is_current.then_some(&told));
            }
        });
        port.start();
        let live = Live {
            client: client.to_owned(),
            port,
            _listener: listener,
        };
        let before = self.port.replace(Some(Rc::new(live)));
        let before = self.before.replace(before.filter(|_| handed));
        drop(before);
        self.fail_all("another bridge took over");
        self.policy.take();
        self.connected.take();
        self.peers.set(Peers::Unknown);
        self.say(&ToBridge::Hello {
            client: client.to_owned(),
        });
        self.tell_whole_context();
    }

    /// The page that held the bridge goes away, or said nothing for too long.
    pub fn lost(&self, why: &str) {
        self.port.replace(None);
        self.connected.take();
        self.peers.set(Peers::Unknown);
        self.fail_all(why);
        self.wake();
    }

    /// A page that handed over has finished, or goes away.
    pub fn finished(&self, client: &str) {
        let mut before = self.before.borrow_mut();
        if before.as_ref().is_some_and(|live| live.client == client) {
            before.take();
            drop(before);
            self.fail_all("the page that handed over went away");
        }
    }

    /// Of all wants those fail whose port is neither the one nor the one before.
    fn fail_all(&self, why: &str) {
        let (port, before) = (self.port.borrow(), self.before.borrow());
        let is = |live: &Option<Rc<Live>>, other: &Option<Rc<Live>>| match (live, other) {
            (Some(live), Some(other)) => Rc::ptr_eq(live, other),
            _ => false,
        };
        self.wants.borrow_mut().retain(|_, asked| {
            let stays = is(&asked.live, &port) || is(&asked.live, &before);
            if !stays {
                let failed = Piece::Failed(why.to_owned());
                let _ = asked.pieces.unbounded_send(failed);
            }
            stays
        });
    }

    fn is_at(&self, target: &JsValue) -> bool {
        let port = self.port.borrow();
        port.as_ref()
            .is_some_and(|live| JsValue::from(&live.port) == *target)
    }

    /// Resolves when what is known of peers may have changed.
    pub fn changed(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push(sender);
        receiver
    }

    fn wake(&self) {
        for waiting in self.waiting.borrow_mut().drain(..) {
            let _ = waiting.send(());
        }
    }

    /// Asks peers for bytes of a content; see [`ToBridge::Want`] for `patience` and `plays`.
    pub fn want(
        self: &Rc<Self>,
        id: ContentId,
        len: u64,
        bytes: Range<u64>,
        credit: u64,
        patience: u32,
        plays: bool,
    ) -> Want {
        self.begin(|want| ToBridge::Want {
            want,
            id,
            len,
            start: bytes.start,
            end: bytes.end,
            credit,
            patience,
            plays,
        })
    }

    /// Asks peers for a content that may be wanted later, or its beginning.
    pub fn prefetch(self: &Rc<Self>, id: ContentId, len: u64, bytes: Range<u64>) -> Want {
        self.begin(|want| ToBridge::Prefetch {
            want,
            id,
            len,
            start: bytes.start,
            end: (bytes.end < len).then_some(bytes.end),
        })
    }

    /// The network is asked for something large since nobody is there: the signal server may know
    /// somebody.
    pub fn find(&self, id: ContentId, len: u64) {
        if len > LARGE && matches!(self.peers(), Peers::None) {
            self.say(&ToBridge::Find { id, len });
        }
    }

    fn begin(self: &Rc<Self>, message: impl FnOnce(WantId) -> ToBridge) -> Want {
        let want = self.last_want.get().wrapping_add(1);
        self.last_want.set(want);
        let (sender, pieces) = mpsc::unbounded();
        let live = self.port.borrow().clone();
        let asked = Asked {
            pieces: sender,
            live: live.clone(),
        };
        self.wants.borrow_mut().insert(want, asked);
        self.say(&message(want));
        Want::new(self.clone(), live, want, pieces)
    }

    /// Tells the bridge; without one it is told when it starts, from the store.
    pub fn say(&self, message: &ToBridge) {
        if let Some(live) = &*self.port.borrow() {
            live.say(message);
        }
    }

    /// `told` hears of what is not about a want, where that is said by the one that holds the swarm.
    fn heard(&self, data: JsValue, told: Option<&Rc<dyn Told>>) {
        let parts: Array = data.unchecked_into();
        let Ok(message) = serde_wasm_bindgen::from_value::<FromBridge>(parts.get(0)) else {
            return log::debug(&["the bridge says what this version does not know"]);
        };
        let (want, piece) = match message {
            FromBridge::Peers { .. }
            | FromBridge::Connected { .. }
            | FromBridge::Manifest {}
            | FromBridge::Manners { .. }
            | FromBridge::Near { .. }
            | FromBridge::Totals { .. } => {
                if let Some(told) = told {
                    self.learn(message, told);
                }
                return;
            }
            FromBridge::Bytes { want, offset, tier } => {
                self.bytes_at.set(origin::clock());
                let bytes = Uint8Array::new(&parts.get(1));
                (
                    want,
                    Piece::Bytes {
                        offset,
                        bytes,
                        tier,
                    },
                )
            }
            FromBridge::Unsure { want } => (want, Piece::Unsure),
            FromBridge::Behind { want, to } => (want, Piece::Behind(to)),
            FromBridge::End { want } => (want, Piece::End),
            FromBridge::Failed { want, why } => (want, Piece::Failed(why)),
        };
        if let Some(asked) = self.wants.borrow().get(&want) {
            let _ = asked.pieces.unbounded_send(piece);
        }
    }

    fn learn(&self, message: FromBridge, told: &Rc<dyn Told>) {
        match message {
            FromBridge::Peers { open, coming } => {
                let peers = match (open, coming) {
                    (0, true) => Peers::Coming,
                    (0, false) => Peers::None,
                    (open, _) => Peers::Here(open),
                };
                self.peers.set(peers);
                told.clone().peers(peers);
                self.wake();
            }
            FromBridge::Connected { peers } => {
                self.connected.replace(peers);
            }
            FromBridge::Near { near } => told.clone().near(near),
            FromBridge::Manifest {} => told.clone().manifest(),
            FromBridge::Manners {
                quiet,
                given,
                daily,
            } => {
                self.manners.replace(Allowed {
                    quiet,
                    given,
                    daily,
                });
            }
            FromBridge::Totals {
                sent,
                received,
                wasted,
            } => self.totals.set(Totals {
                sent,
                received,
                wasted,
                ..Totals::default()
            }),
            // About wants.
            _ => {}
        }
    }
}
