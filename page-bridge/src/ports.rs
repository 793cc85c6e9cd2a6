//! Ports to Service Worker instances: their questions in, their bytes out.
//!
//! Several may be there at once, of a worker and its successor. One whose instance was stopped is
//! dead and says nothing, so the number is bounded and the oldest goes first.

use std::cell::{Cell, RefCell};

use fugitive_core::port::{FromBridge, ToBridge, WantId};
use gloo::events::EventListener;
use js_sys::{Array, ArrayBuffer, Uint8Array};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{MessageEvent, MessagePort};

use crate::log;

/// More instances than this are not alive at once: one, and its successor while it takes over.
const MAX_PORTS: usize = 4;

/// Number of a port; a later one has a higher one.
pub type PortId = u32;

/// All ports, and which want of which port each want of the engine is. Both are few: a map would be
/// the larger part.
#[derive(Default)]
pub struct Ports {
    /// The oldest first.
    ports: RefCell<Vec<Port>>,
    last_port: Cell<PortId>,
    wants: RefCell<Vec<Asked>>,
    last_want: Cell<WantId>,
}

#[derive(Clone, Copy)]
struct Asked {
    /// The engine's number.
    engine: WantId,
    port: PortId,
    /// The port's number.
    want: WantId,
}

struct Port {
    id: PortId,
    port: MessagePort,
    _listeners: [EventListener; 2],
}

impl Drop for Port {
    fn drop(&mut self) {
        self.port.close();
    }
}

impl Port {
    fn post(&self, message: &FromBridge, buffer: Option<ArrayBuffer>) {
        if let Err(error) = post(&self.port, message, buffer) {
            log::warn(&["port: ", &log::reason(&error)].concat());
        }
    }
}

impl Ports {
    /// Takes a port in, and says which one has to go for it and how to hear it. `heard` gets each
    /// message, `closed` is called where the browser tells of a dead instance.
    pub fn add(
        &self,
        port: MessagePort,
        heard: impl Fn(PortId, ToBridge) + 'static,
        closed: impl Fn(PortId) + 'static,
    ) -> (PortId, Option<PortId>) {
        let id = self.last_port.get().wrapping_add(1);
        self.last_port.set(id);
        let _listeners = [
            EventListener::new(&port, "message", move |event| {
                let data = event.unchecked_ref::<MessageEvent>().data();
                match read(data) {
                    Some(message) => heard(id, message),
                    None => log::debug("a port says what this version does not know"),
                }
            }),
            EventListener::new(&port, "close", move |_| closed(id)),
        ];
        port.start();
        let mut ports = self.ports.borrow_mut();
        ports.push(Port {
            id,
            port,
            _listeners,
        });
        let oldest = ports.first().map(|port| port.id);
        (id, oldest.filter(|_| ports.len() > MAX_PORTS))
    }

    /// Lets a port go; its wants are nobody's any more and are to be cancelled.
    pub fn remove(&self, port: PortId) -> Vec<WantId> {
        self.ports.borrow_mut().retain(|held| held.id != port);
        let mut wants = self.wants.borrow_mut();
        let of_port = wants.iter().filter(|asked| asked.port == port);
        let orphans = of_port.map(|asked| asked.engine).collect();
        wants.retain(|asked| asked.port != port);
        orphans
    }

    /// The engine's number for a new want of this port.
    pub fn number(&self, port: PortId, want: WantId) -> WantId {
        let engine = self.last_want.get().wrapping_add(1);
        self.last_want.set(engine);
        self.wants.borrow_mut().push(Asked { engine, port, want });
        engine
    }

    /// The engine's number for a want of this port that is under way.
    pub fn numbered(&self, port: PortId, want: WantId) -> Option<WantId> {
        let wants = self.wants.borrow();
        let mut found = wants
            .iter()
            .filter(|asked| asked.port == port && asked.want == want);
        found.next().map(|asked| asked.engine)
    }

    /// Forgets a want that is over, and says whose it was.
    pub fn end(&self, engine: WantId) -> Option<(PortId, WantId)> {
        let whose = self.whose(engine);
        let mut wants = self.wants.borrow_mut();
        wants.retain(|asked| asked.engine != engine);
        whose
    }

    /// Whose want it is.
    pub fn whose(&self, engine: WantId) -> Option<(PortId, WantId)> {
        let wants = self.wants.borrow();
        let asked = wants.iter().find(|asked| asked.engine == engine)?;
        Some((asked.port, asked.want))
    }

    /// Says it to one, with bytes that are copied once, out of wasm, and then transferred.
    pub fn say(&self, port: PortId, message: &FromBridge, bytes: Option<&[u8]>) {
        if let Some(port) = self.ports.borrow().iter().find(|held| held.id == port) {
            let buffer = bytes.map(|bytes| Uint8Array::from(bytes).buffer());
            port.post(message, buffer);
        }
    }

    /// Says it to all.
    pub fn say_all(&self, message: &FromBridge) {
        for port in &*self.ports.borrow() {
            port.post(message, None);
        }
    }

    /// Closes all.
    pub fn close_all(&self) {
        self.ports.borrow_mut().clear();
        self.wants.borrow_mut().clear();
    }
}

fn read(data: JsValue) -> Option<ToBridge> {
    let parts = data.dyn_into::<Array>().ok()?;
    serde_wasm_bindgen::from_value(parts.get(0)).ok()
}

fn post(
    port: &MessagePort,
    message: &FromBridge,
    buffer: Option<ArrayBuffer>,
) -> Result<(), JsValue> {
    let message = Array::of1(&message.serialize(&Serializer::json_compatible())?);
    let transfer = Array::new();
    if let Some(buffer) = &buffer {
        message.push(buffer);
        transfer.push(buffer);
    }
    port.post_message_with_transferable(&message, &transfer)
}
