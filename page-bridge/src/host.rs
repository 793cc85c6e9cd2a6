//! The engine host: drives the swarm engine with real channels, a real clock and the real store.
//!
//! It runs in a dedicated worker or in the window, whichever `bridge.js` found to work, and cannot
//! tell. What it hears from any side becomes an input of the engine; then it carries out the
//! outputs until there are none.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use fugitive_core::{
    content::ContentId,
    engine::{DropReason, Engine, Input, LOW_WATER, Output, PeerId},
    port::{FromBridge, ToBridge},
};
use fugitive_signal::{MOST_MEASURED, Measured, Position, ToClient, ToServer};
use gloo::{events::EventListener, timers::callback::Timeout};
use js_sys::{ArrayBuffer, Function, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::{MessageEvent, MessagePort, RtcDataChannel, RtcDataChannelState, RtcDataChannelType};

use crate::{
    governor::Governor,
    log,
    ports::{PortId, Ports},
    serve::Serve,
    signalling::{Joining, Signalling},
    talk::{self, Line, LinkId, ToHost, ToWindow},
};

/// A longer message is not even copied out of the browser. The engine's own limit is lower.
const MAX_MESSAGE: u32 = 1 << 20;
/// What was served is written down this long after it was, in milliseconds.
const SAVE_AFTER: u32 = 500;

#[wasm_bindgen]
extern "C" {
    /// Never goes back, unlike the date.
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;
}

fn now() -> u64 {
    performance_now() as u64
}

/// The engine host.
#[wasm_bindgen]
pub struct Host(Rc<Running>);

#[wasm_bindgen]
impl Host {
    /// Starts at once. `signal` is the signal server's URL, `page` the page's path, `ticket` that of
    /// an earlier page, `told` as in [`Host::told`], `place` the visitor's, in tenths of a degree,
    /// where that may be said; `twin` is another tab's name, whose turn it still is; `been` are the paths
    /// of pages before this one, the latest first; `post` reaches the window's half.
    #[wasm_bindgen(constructor)]
    #[expect(
        clippy::too_many_arguments,
        reason = "bridge.js posts them as one array, and calls this in one place"
    )]
    pub fn new(
        signal: String,
        page: String,
        ticket: Option<String>,
        told: JsValue,
        place: Option<Vec<u16>>,
        twin: Option<String>,
        been: Vec<String>,
        post: Function,
    ) -> Self {
        let position = place.and_then(|place| match place[..] {
            [lat, lon] => Some(Position { lat, lon }),
            _ => None,
        });
        let joining = Joining {
            url: signal,
            page,
            want: 0,
            ticket,
            position,
        };
        let running = Running::start(joining, told, been, Line::new(post));
        if let Some(twin) = twin {
            let peer = twin.as_str().into();
            running.handle(Input::Never { peer });
        }
        Self(running)
    }

    /// What the window sees of the visitor and the device, as `signals.js` collects it.
    pub fn told(&self, told: JsValue) {
        if self.0.governor.told(told) {
            self.0.configure();
        }
        if self.0.governor.is_over() {
            self.0.leave();
        }
    }

    /// The window's half said something.
    pub fn heard(&self, message: JsValue) {
        if let Some((message, beside)) = talk::read(message) {
            self.0.heard(message, beside);
        }
    }

    /// Gives everything up, now: the server is told, channels and ports are closed.
    pub fn stop(&self) {
        self.0.stop();
    }
}

struct Running {
    engine: RefCell<Engine>,
    window: Line,
    signalling: RefCell<Option<Rc<Signalling>>>,
    /// One to a peer. So few that a map would be the larger part.
    channels: RefCell<Vec<Channel>>,
    ports: Ports,
    serve: Serve,
    governor: Governor,
    /// Pages before this one of which the signal server was not told.
    been: RefCell<Vec<String>>,
    /// When the ledger is written down.
    saving: RefCell<Option<Timeout>>,
    /// Of the window.
    own_page: String,
    /// The page that is looked at.
    page: RefCell<String>,
    /// What ports were last told of peers.
    peers: Cell<(u32, bool)>,
    alarm: RefCell<Option<(u64, Timeout)>>,
}

struct Channel {
    peer: PeerId,
    link: LinkId,
    channel: RtcDataChannel,
    open: bool,
    /// Something was sent since the engine was told how much it has buffered.
    sent: bool,
    _listeners: [EventListener; 4],
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.channel.close();
    }
}

impl Running {
    fn start(mut joining: Joining, told: JsValue, been: Vec<String>, window: Line) -> Rc<Self> {
        let governor = Governor::new(told);
        let config = governor.config();
        joining.want = config.target_peers as u16;
        let page = joining.page.clone();
        let this = Rc::new(Self {
            own_page: page.clone(),
            page: RefCell::new(page.clone()),
            engine: RefCell::new(Engine::new(config, now())),
            window,
            signalling: RefCell::default(),
            channels: RefCell::default(),
            ports: Ports::default(),
            serve: Serve::default(),
            governor,
            been: RefCell::new(been),
            saving: RefCell::default(),
            // As the engine begins: the signal server has not answered yet.
            peers: Cell::new((0, true)),
            alarm: RefCell::default(),
        });
        let weak = Rc::downgrade(&this);
        let told = move |message| {
            if let Some(this) = weak.upgrade() {
                this.signalled(message);
            }
        };
        let weak = Rc::downgrade(&this);
        let measured = move || weak.upgrade().map_or_else(Vec::new, |this| this.measured());
        let signalling = Signalling::join(joining, told, measured);
        this.signalling.replace(Some(signalling));
        this.context(None, Vec::new());
        let (governed, serving) = (this.clone(), this.clone());
        spawn_local(async move {
            if let Some(ledger) = governed.serve.ledger().await {
                governed.governor.load(ledger);
                governed.configure();
            }
        });
        spawn_local(async move {
            for content in serving.serve.holdings().await {
                serving.tell(Input::Stored {
                    id: content.id,
                    len: content.len,
                    groups: content.groups,
                });
            }
            serving.carry_out();
        });
        this
    }

    fn stop(&self) {
        self.alarm.replace(None);
        self.saving.replace(None);
        self.leave();
        self.channels.borrow_mut().clear();
        self.ports.close_all();
    }

    /// Nobody new is met; connections that stand need no server.
    fn leave(&self) {
        if let Some(signalling) = self.signalling.take() {
            signalling.leave();
        }
    }

    /// One input and all that follows from it.
    fn handle(self: &Rc<Self>, input: Input) {
        self.tell(input);
        self.carry_out();
    }

    fn tell(&self, input: Input) {
        self.engine.borrow_mut().handle(input, now());
    }

    fn carry_out(self: &Rc<Self>) {
        loop {
            while let Some(output) = self.next() {
                self.act(output);
            }
            match self.next_buffered() {
                Some(buffered) => self.tell(buffered),
                None => break,
            }
        }
        self.count();
        self.set_alarm();
    }

    /// Other limits for the engine, and the worker is told.
    fn configure(self: &Rc<Self>) {
        let config = self.governor.config();
        self.ports.say_all(&self.governor.shown());
        self.handle(Input::Configure { config });
        self.say_been();
    }

    /// Who serves says once where he was before: others are there now.
    fn say_been(&self) {
        let signalling = self.signalling.borrow();
        let Some(signalling) = signalling
            .as_ref()
            .filter(|_| self.governor.config().slots > 0)
        else {
            return;
        };
        if signalling.is_joined() && !self.been.borrow().is_empty() {
            let pages = self.been.take();
            signalling.say(&ToServer::Been { pages });
        }
    }

    /// What was served goes into the day's ledger, and what is too much ends.
    fn count(self: &Rc<Self>) {
        let sent = self.engine.borrow().totals().sent;
        if !self.governor.served(sent) {
            return;
        }
        if self.saving.borrow().is_none() {
            let this = self.clone();
            let saving = Timeout::new(SAVE_AFTER, move || {
                this.saving.replace(None);
                this.ports.say_all(&this.totals());
                this.ports.say_all(&this.governor.shown());
                spawn_local(async move { this.serve.keep_ledger(this.governor.ledger()).await });
            });
            self.saving.replace(Some(saving));
        }
        if self.governor.judge() {
            self.configure();
        }
    }

    fn next(&self) -> Option<Output> {
        self.engine.borrow_mut().poll()
    }

    /// How much a channel has buffered that was sent to since the engine was last told.
    fn next_buffered(&self) -> Option<Input> {
        let mut channels = self.channels.borrow_mut();
        let channel = channels.iter_mut().find(|channel| channel.sent)?;
        channel.sent = false;
        Some(Input::Buffered {
            peer: channel.peer.clone(),
            bytes: channel.channel.buffered_amount().into(),
        })
    }

    fn to<T>(&self, peer: &PeerId, look: impl FnOnce(&mut Channel) -> T) -> Option<T> {
        let mut channels = self.channels.borrow_mut();
        let mut found = channels.iter_mut().filter(|channel| channel.peer == *peer);
        found.next().map(look)
    }

    fn act(self: &Rc<Self>, output: Output) {
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
            Output::MorePeers { want } => self.say_to_server(&ToServer::More { want }),
            Output::Hold { ids } => self.say_to_server(&ToServer::Hold { ids }),
            Output::Release { ids } => self.say_to_server(&ToServer::Release { ids }),
            Output::Find { id, want } => self.say_to_server(&ToServer::Find { id, want }),
            Output::Peers { open, coming } => {
                self.peers.set((open, coming));
                self.ports.say_all(&FromBridge::Peers { open, coming });
            }
        }
    }

    fn send(&self, peer: PeerId, bytes: &[u8]) {
        let sent = self.to(&peer, |channel| {
            channel.sent = true;
            channel.channel.send_with_u8_array(bytes)
        });
        // Closing, and then its event follows, or so full that it is of no more use.
        if let Some(Err(error)) = sent {
            log::debug(&["not sent: ", &log::reason(&error)].concat());
            self.hang_up(&peer);
            self.tell(Input::Closed { peer });
        }
    }

    fn drop_peer(&self, peer: &PeerId, why: DropReason) {
        let line = ["peer dropped: ", &why.to_string()].concat();
        match why {
            // Its own doing, and no accident.
            DropReason::Lied
            | DropReason::Unasked
            | DropReason::Message(_)
            | DropReason::Unreadable
            | DropReason::Greedy => {
                log::warn(&line);
                self.say_to_server(&ToServer::Ban {
                    peer: peer.0.as_ref().into(),
                });
            }
            _ => log::debug(&line),
        }
        self.hang_up(peer);
    }

    /// Closes our end of the channel and has the window close the connection.
    fn hang_up(&self, peer: &PeerId) {
        if let Some(link) = self.to(peer, |channel| channel.link) {
            self.channels.borrow_mut().retain(|held| held.link != link);
            self.say_to_server(&ToServer::Down {
                peer: peer.0.as_ref().into(),
            });
            self.say(&ToWindow::Close {
                peer: peer.0.as_ref().into(),
                link,
            });
        }
    }

    fn set_alarm(self: &Rc<Self>) {
        let Some(at) = self.engine.borrow().wake_at() else {
            return;
        };
        // One that rings early does no harm and is set again.
        let set = self.alarm.borrow().as_ref().map(|(set, _)| *set);
        if set.is_some_and(|set| set <= at) {
            return;
        }
        let weak = Rc::downgrade(self);
        let wait = at.saturating_sub(now()).min(60_000) as u32;
        let timeout = Timeout::new(wait, move || {
            if let Some(this) = weak.upgrade() {
                this.alarm.replace(None);
                this.handle(Input::Tick);
            }
        });
        self.alarm.replace(Some((at, timeout)));
    }

    fn heard(self: &Rc<Self>, message: ToHost, beside: JsValue) {
        match message {
            ToHost::Channel { peer, link } => match beside.dyn_into() {
                Ok(channel) => self.begun(peer.as_str().into(), link, channel),
                Err(_) => log::warn("a channel did not survive its transfer"),
            },
            ToHost::Closed { peer, link } => self.closed(&peer.as_str().into(), link),
            ToHost::Signal { to, signal } => self.handle(Input::Signal {
                to: to.as_str().into(),
                signal: fugitive_signal::encode(&signal),
            }),
            ToHost::Port {} => {
                if let Ok(port) = beside.dyn_into() {
                    self.port(port);
                }
            }
        }
    }

    /// A connection was begun. It takes the place of an earlier one to the same peer.
    fn begun(self: &Rc<Self>, peer: PeerId, link: LinkId, channel: RtcDataChannel) {
        channel.set_binary_type(RtcDataChannelType::Arraybuffer);
        channel.set_buffered_amount_low_threshold(LOW_WATER as u32);
        let _listeners = [
            self.listen(&channel, &peer, "open", move |this, peer, _| {
                this.opened(peer, link);
            }),
            self.listen(&channel, &peer, "message", |this, peer, event| {
                this.message(peer, &event.unchecked_ref::<MessageEvent>().data());
            }),
            self.listen(&channel, &peer, "bufferedamountlow", |this, peer, _| {
                this.to(peer, |channel| channel.sent = true);
                this.carry_out();
            }),
            self.listen(&channel, &peer, "close", move |this, peer, _| {
                this.closed(peer, link);
            }),
        ];
        let is_open = channel.ready_state() == RtcDataChannelState::Open;
        let before = self.to(&peer, |before| before.open);
        let mut channels = self.channels.borrow_mut();
        channels.retain(|held| held.peer != peer);
        channels.push(Channel {
            peer: peer.clone(),
            link,
            channel,
            open: false,
            sent: false,
            _listeners,
        });
        drop(channels);
        if before == Some(true) {
            self.handle(Input::Closed { peer: peer.clone() });
        }
        if is_open {
            self.opened(&peer, link);
        }
    }

    fn listen(
        self: &Rc<Self>,
        channel: &RtcDataChannel,
        peer: &PeerId,
        event: &'static str,
        heard: impl Fn(&Rc<Self>, &PeerId, &web_sys::Event) + 'static,
    ) -> EventListener {
        let (weak, peer): (Weak<Self>, _) = (Rc::downgrade(self), peer.clone());
        EventListener::new(channel, event, move |event| {
            if let Some(this) = weak.upgrade() {
                heard(&this, &peer, event);
            }
        })
    }

    fn opened(self: &Rc<Self>, peer: &PeerId, link: LinkId) {
        let opens = |channel: &mut Channel| {
            channel.link == link && !std::mem::replace(&mut channel.open, true)
        };
        if self.to(peer, opens) != Some(true) {
            return;
        }
        self.say_to_server(&ToServer::Up {
            peer: peer.0.as_ref().into(),
        });
        self.say(&ToWindow::Opened {
            peer: peer.0.as_ref().into(),
            link,
        });
        self.handle(Input::Opened { peer: peer.clone() });
    }

    fn message(self: &Rc<Self>, peer: &PeerId, data: &JsValue) {
        match data.dyn_ref::<ArrayBuffer>() {
            Some(bytes) if bytes.byte_length() <= MAX_MESSAGE => self.handle(Input::Frame {
                peer: peer.clone(),
                bytes: Uint8Array::new(bytes).to_vec(),
            }),
            _ => self.handle(Input::Unreadable { peer: peer.clone() }),
        }
    }

    /// A connection ended, if no later one took its place.
    fn closed(self: &Rc<Self>, peer: &PeerId, link: LinkId) {
        let held = self.to(peer, |held| held.link);
        if held.is_some_and(|held| held != link) {
            return;
        }
        self.hang_up(peer);
        self.handle(Input::Closed { peer: peer.clone() });
    }

    fn signalled(self: &Rc<Self>, message: ToClient) {
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
                self.say_been();
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

    fn port(self: &Rc<Self>, port: MessagePort) {
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
        self.ports.say(id, &self.governor.shown(), None);
        let (open, coming) = self.peers.get();
        self.ports
            .say(id, &FromBridge::Peers { open, coming }, None);
    }

    fn forget_port(self: &Rc<Self>, port: PortId) {
        for want in self.ports.remove(port) {
            self.tell(Input::Cancel { want });
        }
        self.carry_out();
    }

    fn asked(self: &Rc<Self>, port: PortId, message: ToBridge) {
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
            } => {
                let want = self.ports.number(port, want);
                self.handle(Input::Want {
                    want,
                    id,
                    len,
                    bytes: start..end,
                    credit,
                    patience,
                });
            }
            ToBridge::Prefetch { want, id, len } => {
                let want = self.ports.number(port, want);
                self.handle(Input::Prefetch { want, id, len });
            }
            ToBridge::Context { ids, page } => {
                self.context(page, ids);
                self.carry_out();
            }
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
    fn context(&self, page: Option<String>, ids: Vec<ContentId>) {
        let page = page.unwrap_or_else(|| self.own_page.clone());
        // As peers who are on it know it.
        let hash = ContentId::of(page.as_bytes()).0;
        let hash = u64::from_le_bytes(hash.first_chunk().copied().unwrap_or_default());
        if *self.page.borrow() != page {
            self.page.replace(page.clone());
            self.say_to_server(&ToServer::Page { page });
        }
        self.tell(Input::Context { page: hash, ids });
    }

    /// How far peers are, for the server to pair by.
    fn measured(&self) -> Vec<Measured> {
        let engine = self.engine.borrow();
        let measured = engine.measured().take(MOST_MEASURED);
        let measured = measured.map(|(peer, rtt)| Measured {
            peer: peer.0.as_ref().into(),
            rtt,
        });
        measured.collect()
    }

    fn totals(&self) -> FromBridge {
        let totals = self.engine.borrow().totals();
        FromBridge::Totals {
            sent: totals.sent,
            received: totals.received,
            wasted: totals.wasted,
        }
    }

    fn say(&self, message: &ToWindow) {
        if let Err(error) = self.window.say(message, None) {
            log::warn(&["window: ", &log::reason(&error)].concat());
        }
    }

    fn say_to_server(&self, message: &ToServer) {
        if let Some(signalling) = &*self.signalling.borrow() {
            signalling.say(message);
        }
    }
}
