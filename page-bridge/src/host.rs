//! The engine host: drives the swarm engine with real channels, a real clock and the real store.
//!
//! It runs in a dedicated worker or in the window, whichever `bridge.js` found to work, and cannot
//! tell. What it hears from any side becomes an input of the engine; then it carries out the
//! outputs until there are none.

mod asked;
mod channels;
mod outputs;
mod server;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use channels::Channel;
use fugitive_core::{
    content::ContentId,
    engine::{Engine, Input, Output},
};
use fugitive_signal::Position;
use gloo::timers::callback::Timeout;
use js_sys::Function;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;

use crate::{
    governor::Governor,
    log,
    ports::Ports,
    serve::Serve,
    signalling::{Joining, Signalling},
    talk::{self, Line, ToHost, ToWindow},
};

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
    /// Whether it was told that we serve.
    said_serves: Cell<bool>,
    /// The page that is about to be turned to.
    to_come: RefCell<Option<String>>,
    /// When the ledger is written down.
    saving: RefCell<Option<Timeout>>,
    /// Of the window.
    own_page: String,
    /// The page that is looked at.
    page: RefCell<String>,
    /// What ports were last told of peers.
    peers: Cell<(u32, bool)>,
    /// When they are told next who has what, and what they were told.
    near: Cell<(u64, Vec<(ContentId, u32)>)>,
    alarm: RefCell<Option<(u64, Timeout)>>,
}

impl Running {
    fn start(mut joining: Joining, told: JsValue, been: Vec<String>, window: Line) -> Rc<Self> {
        let governor = Governor::new(told);
        let config = governor.config();
        joining.want = config.at_first();
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
            said_serves: Cell::new(false),
            to_come: RefCell::default(),
            saving: RefCell::default(),
            // As the engine begins: the signal server has not answered yet.
            peers: Cell::new((0, true)),
            near: Cell::default(),
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
        self.say_near();
        self.set_alarm();
    }

    /// Other limits for the engine, and the worker is told.
    fn configure(self: &Rc<Self>) {
        let config = self.governor.config();
        self.ports.say_all(&self.governor.shown());
        self.handle(Input::Configure { config });
        self.say_serves();
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

    fn say(&self, message: &ToWindow) {
        if let Err(error) = self.window.say(message, None) {
            log::warn(&["window: ", &log::reason(&error)].concat());
        }
    }
}
