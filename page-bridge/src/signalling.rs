//! The socket to the signal server: joins, stays, and comes back after any failure.
//!
//! It comes back for ever, after a random part of a delay that doubles from half a second to thirty
//! seconds, so that a server that died under ten thousand clients is not met by all of them at once.
//! What was lost with the socket is not sent again: peers dial anew, and what the server has to know
//! is in the join, which travels with the handshake.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use fugitive_signal::{
    HEARTBEAT_SECONDS, MAX_MESSAGE, Measured, Position, ToClient, ToServer, VERSION, handshake,
};
use gloo::{
    events::EventListener,
    timers::callback::{Interval, Timeout},
};
use js_sys::{Array, ArrayBuffer, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{BinaryType, MessageEvent, WebSocket};

use crate::log;

const FIRST_DELAY_MS: u32 = 500;
const LAST_DELAY_MS: u32 = 30_000;

/// Where and as whom to join.
pub struct Joining {
    /// `ws:` or `wss:`.
    pub url: String,
    /// The page's path.
    pub page: String,
    /// How many peers to ask for.
    pub want: u16,
    /// Of an earlier welcome.
    pub ticket: Option<String>,
    /// Where the visitor is, if the visitor wants that to be said.
    pub position: Option<Position>,
}

impl Joining {
    fn message(&self) -> ToServer {
        ToServer::Join {
            version: VERSION,
            page: self.page.clone(),
            want: self.want,
            ticket: self.ticket.clone(),
            room: None,
            position: self.position,
        }
    }
}

/// The socket, and what it takes to have one again.
pub struct Signalling {
    joining: RefCell<Joining>,
    tell: Box<dyn Fn(ToClient)>,
    measured: Box<dyn Fn() -> Vec<Measured>>,
    socket: RefCell<Option<Socket>>,
    /// The present socket has yet to join when it opens: its handshake did not.
    joins: Cell<bool>,
    /// Welcomed on the present socket.
    joined: Cell<bool>,
    /// Failed in a row.
    failures: Cell<u32>,
    retry: RefCell<Option<Timeout>>,
}

struct Socket {
    socket: WebSocket,
    _listeners: [EventListener; 3],
    _heartbeat: Interval,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Listeners are gone by now or go next: nothing is heard of this socket any more.
        let _ = self.socket.close();
    }
}

impl Signalling {
    /// Begins to join. `tell` gets what the server says, `measured` says how far peers are.
    pub fn join(
        joining: Joining,
        tell: impl Fn(ToClient) + 'static,
        measured: impl Fn() -> Vec<Measured> + 'static,
    ) -> Rc<Self> {
        let this = Rc::new(Self {
            joining: RefCell::new(joining),
            tell: Box::new(tell),
            measured: Box::new(measured),
            socket: RefCell::default(),
            joins: Cell::default(),
            joined: Cell::default(),
            failures: Cell::default(),
            retry: RefCell::default(),
        });
        this.connect();
        this
    }

    /// Sends it, if we are welcome at a server now; what is for a lost one is lost.
    pub fn say(&self, message: &ToServer) {
        if self.joined.get() {
            self.send(message);
        }
    }

    /// Whether what is said is heard.
    pub fn is_joined(&self) -> bool {
        self.joined.get()
    }

    /// Says good-bye, and does not come back.
    pub fn leave(&self) {
        self.send(&ToServer::Leave {});
        self.retry.replace(None);
        self.socket.replace(None);
        self.joined.set(false);
    }

    fn send(&self, message: &ToServer) {
        if let Some(socket) = &*self.socket.borrow() {
            let bytes = fugitive_signal::encode(message);
            // Throws only before the socket opens; after it closed, the bytes are dropped.
            let _ = socket.socket.send_with_u8_array(&bytes);
        }
    }

    fn connect(self: &Rc<Self>) {
        match self.open() {
            Ok(socket) => {
                self.socket.replace(Some(socket));
            }
            Err(error) => self.closed(&log::reason(&error)),
        }
    }

    fn open(self: &Rc<Self>) -> Result<Socket, JsValue> {
        // Where a server, or a proxy, does not take the handshake the next one is plain.
        let is_plain = self.failures.get() % 2 == 1;
        let joining = self.joining.borrow();
        let offer = handshake::offer(&fugitive_signal::encode(&joining.message()));
        let socket = match offer.filter(|_| !is_plain) {
            Some([name, join]) => {
                self.joins.set(false);
                let offered = Array::of2(&name.into(), &join.into());
                WebSocket::new_with_str_sequence(&joining.url, &offered)?
            }
            None => {
                self.joins.set(true);
                WebSocket::new(&joining.url)?
            }
        };
        drop(joining);
        socket.set_binary_type(BinaryType::Arraybuffer);
        let listen = |event: &'static str, heard: fn(&Rc<Self>, &web_sys::Event)| {
            let weak = Rc::downgrade(self);
            EventListener::new(&socket, event, move |event| {
                if let Some(this) = weak.upgrade() {
                    heard(&this, event);
                }
            })
        };
        let _listeners = [
            listen("open", |this, _| this.opened()),
            listen("message", |this, event| this.heard(event.unchecked_ref())),
            listen("close", |this, _| this.closed("closed")),
        ];
        let weak: Weak<Self> = Rc::downgrade(self);
        let _heartbeat = Interval::new(HEARTBEAT_SECONDS * 1000, move || {
            if let Some(this) = weak.upgrade() {
                this.beat();
            }
        });
        Ok(Socket {
            socket,
            _listeners,
            _heartbeat,
        })
    }

    fn beat(self: &Rc<Self>) {
        if self.joined.get() {
            // Only now, so that a server that welcomes and then refuses is not met ever faster.
            self.failures.set(0);
            self.send(&ToServer::Heartbeat {
                measured: (self.measured)(),
                serves: None,
            });
        } else {
            self.closed("no welcome");
        }
    }

    fn opened(&self) {
        if self.joins.get() {
            let join = self.joining.borrow().message();
            self.send(&join);
        }
    }

    fn heard(self: &Rc<Self>, event: &MessageEvent) {
        let Ok(bytes) = event.data().dyn_into::<ArrayBuffer>() else {
            return log::warn("the signal server sent text");
        };
        if bytes.byte_length() as usize > MAX_MESSAGE {
            return log::warn("the signal server sent too long a message");
        }
        match fugitive_signal::decode(&Uint8Array::new(&bytes).to_vec()) {
            Ok(ToClient::Elsewhere { after }) => self.again_in(after),
            Ok(message) => {
                if let ToClient::Welcome { ticket, .. } = &message {
                    self.joining.borrow_mut().ticket = Some(ticket.clone());
                    self.joined.set(true);
                }
                (self.tell)(message);
            }
            Err(unreadable) => log::debug(&["signal server: ", &unreadable.0].concat()),
        }
    }

    fn closed(self: &Rc<Self>, why: &str) {
        self.socket.replace(None);
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        if failures == 0 {
            log::warn(&["no signal server (", why, "), trying again"].concat());
        }
        self.joined.set(false);
        self.again_in(delay(failures, js_sys::Math::random()));
    }

    /// Joins anew after so many milliseconds; until then the socket, if there is one, stays.
    fn again_in(self: &Rc<Self>, after: u32) {
        let weak = Rc::downgrade(self);
        let retry = Timeout::new(after, move || {
            if let Some(this) = weak.upgrade() {
                this.joined.set(false);
                this.connect();
            }
        });
        self.retry.replace(Some(retry));
    }
}

/// How long to wait after this many failures in a row, in milliseconds; `random` is in 0..1.
fn delay(failures: u32, random: f64) -> u32 {
    let most = FIRST_DELAY_MS << failures.min(6);
    (f64::from(most.min(LAST_DELAY_MS)) * random) as u32
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn delay_doubles_to_half_a_minute_and_is_spread_over_all_of_it() {
        assert_eq!(delay(0, 0.999), 499);
        assert_eq!(delay(3, 0.5), 2_000);
        assert_eq!(delay(6, 0.999), 29_970);
        assert_eq!(delay(u32::MAX, 0.999), 29_970);
        assert_eq!(delay(9, 0.0), 0);
    }
}
