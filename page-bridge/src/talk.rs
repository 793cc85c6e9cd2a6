//! What the window and the engine host say to each other.
//!
//! Each message is a JavaScript array: the message as bytes, then, where it carries one, the channel
//! or port that is transferred. Between a window and its worker the array is posted; where both are
//! in the window, `bridge.js` hands it over in a microtask. Both halves come out of one build, so
//! there are no versions here.

use fugitive_core::pack;
use fugitive_signal::{IceServer, PeerId, Signal};
use js_sys::{Array, Function, Uint8Array};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wasm_bindgen::{JsCast, JsValue};

/// Number of a connection: a later one to the same peer has a higher one.
pub type LinkId = u32;

/// From the window to the host.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToHost {
    /// A connection was begun; its data channel lies beside.
    Channel { peer: PeerId, link: LinkId },
    /// A connection failed or ended, or was refused before it began.
    Closed { peer: PeerId, link: LinkId },
    /// For the signal server, or a peer, to relay.
    Signal { to: PeerId, signal: Signal },
    /// A Service Worker instance opened a port; it lies beside.
    Port {},
}

/// From the host to the window.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToWindow {
    /// The signal server took us in.
    Joined {
        me: PeerId,
        ticket: String,
        ice: Vec<IceServer>,
    },
    /// Begin a connection.
    Dial { peer: PeerId },
    /// Look for another way to it without closing the connection.
    Restart { peer: PeerId },
    /// What the server, or a peer, relayed.
    Signal { from: PeerId, signal: Signal },
    /// The peer left the server; an attempt to reach it is vain.
    Gone { peer: PeerId },
    /// The channel is open.
    Opened { peer: PeerId, link: LinkId },
    /// The channel closed, or the engine wants no more of this peer.
    Close { peer: PeerId, link: LinkId },
    /// The id by which a Service Worker knows our window.
    Hello { client: String },
}

/// The way to the other half.
#[derive(Clone)]
pub struct Line(Function);

impl Line {
    /// `post` takes the message array and the array of what to transfer.
    pub fn new(post: Function) -> Self {
        Self(post)
    }

    /// Says it. Fails where the browser cannot transfer what lies beside, and then nothing was said.
    pub fn say<T: Serialize>(&self, message: &T, beside: Option<&JsValue>) -> Result<(), JsValue> {
        let mut bytes = Vec::new();
        // Fails only for types that our messages do not have, and then nobody could read it.
        let _ = pack::write(message, &mut bytes);
        let message = Array::of1(&Uint8Array::from(&bytes[..]));
        let transfer = Array::new();
        if let Some(beside) = beside {
            message.push(beside);
            transfer.push(beside);
        }
        self.0
            .call2(&JsValue::UNDEFINED, &message, &transfer)
            .map(drop)
    }
}

/// A message and what lies beside it; nothing if it is not from our other half.
pub fn read<T: DeserializeOwned>(message: JsValue) -> Option<(T, JsValue)> {
    let parts = message.dyn_into::<Array>().ok()?;
    let bytes = parts.get(0).dyn_into::<Uint8Array>().ok()?.to_vec();
    Some((pack::read(&bytes).ok()?, parts.get(1)))
}
