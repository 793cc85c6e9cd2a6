//! The window's half: passes on what the engine host says to the connections and to `bridge.js`.
//!
//! Locks, the page's life and the worker are in `bridge.js`, which is shorter than the bindings to
//! them would be.

use std::rc::Rc;

use js_sys::Function;
use wasm_bindgen::prelude::*;
use web_sys::MessagePort;

use crate::{
    connections::Connections,
    log,
    talk::{self, Line, ToHost, ToWindow},
};

#[wasm_bindgen]
extern "C" {
    /// What `bridge.js` does for this half.
    pub type Page;
    /// Hold the lock by which a later worker instance finds this window.
    #[wasm_bindgen(method)]
    fn hold(this: &Page, client: &str);
    /// A connection stands.
    #[wasm_bindgen(method)]
    fn opened(this: &Page);
    /// Keep the ticket over a navigation.
    #[wasm_bindgen(method)]
    fn keep(this: &Page, ticket: &str);
}

/// The window's half.
#[wasm_bindgen]
pub struct Bridge {
    page: Page,
    host: Line,
    connections: Rc<Connections>,
}

#[wasm_bindgen]
impl Bridge {
    /// `post` reaches the host, which is ready to listen. With `relay_only` no peer learns the
    /// visitor's address, nor connects where there is no TURN server.
    #[wasm_bindgen(constructor)]
    pub fn new(page: Page, post: Function, relay_only: bool) -> Self {
        let host = Line::new(post);
        Self {
            page,
            host: host.clone(),
            connections: Connections::new(host, relay_only),
        }
    }

    /// The host said something.
    pub fn heard(&self, message: JsValue) {
        let Some((message, _)) = talk::read(message) else {
            return;
        };
        match message {
            ToWindow::Joined { me, ticket, ice } => {
                self.page.keep(&ticket);
                self.connections.joined(me, &ice);
            }
            ToWindow::Dial { peer } => self.connections.dial(peer),
            ToWindow::Restart { peer } => self.connections.restart(&peer),
            ToWindow::Signal { from, signal } => self.connections.signalled(from, signal),
            ToWindow::Gone { peer } => self.connections.gone(&peer),
            ToWindow::Opened { peer, link } => {
                self.connections.opened(&peer, link);
                self.page.opened();
            }
            ToWindow::Close { peer, link } => self.connections.close(&peer, link),
            ToWindow::Hello { client } => self.page.hold(&client),
        }
    }

    /// A port to a Service Worker instance, to be passed on.
    pub fn port(&self, port: &MessagePort) {
        if let Err(error) = self.host.say(&ToHost::Port {}, Some(port)) {
            log::warn(&["port not passed on: ", &log::reason(&error)].concat());
        }
    }

    /// As whom peers know us.
    pub fn me(&self) -> String {
        self.connections.me()
    }

    /// Connections that stand.
    pub fn open(&self) -> usize {
        self.connections.open()
    }

    /// Closes every connection, now.
    pub fn stop(&self) {
        self.connections.close_all();
    }
}
