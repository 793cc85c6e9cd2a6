//! Channels to peers: begun, open, heard from, sent to, closed.

use std::rc::{Rc, Weak};

use fugitive_core::engine::{DropReason, Input, LOW_WATER, PeerId};
use fugitive_signal::ToServer;
use gloo::events::EventListener;
use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{MessageEvent, RtcDataChannel, RtcDataChannelState, RtcDataChannelType};

use super::Running;
use crate::{
    log,
    talk::{LinkId, ToWindow},
};

/// A longer message is not even copied out of the browser. The engine's own limit is lower.
const MAX_MESSAGE: u32 = 1 << 20;

/// An open or opening channel, closed when it is dropped.
pub(super) struct Channel {
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
    /// How much a channel has buffered that was sent to since the engine was last told.
    pub(super) fn next_buffered(&self) -> Option<Input> {
        let mut channels = self.channels.borrow_mut();
        let channel = channels.iter_mut().find(|channel| channel.sent)?;
        channel.sent = false;
        Some(Input::Buffered {
            peer: channel.peer.clone(),
            bytes: channel.channel.buffered_amount().into(),
        })
    }

    pub(super) fn to<T>(&self, peer: &PeerId, look: impl FnOnce(&mut Channel) -> T) -> Option<T> {
        let mut channels = self.channels.borrow_mut();
        let mut found = channels.iter_mut().filter(|channel| channel.peer == *peer);
        found.next().map(look)
    }

    pub(super) fn send(&self, peer: PeerId, bytes: &[u8]) {
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

    pub(super) fn drop_peer(&self, peer: &PeerId, why: DropReason) {
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
    pub(super) fn hang_up(&self, peer: &PeerId) {
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

    /// A connection was begun. It takes the place of an earlier one to the same peer.
    pub(super) fn begun(self: &Rc<Self>, peer: PeerId, link: LinkId, channel: RtcDataChannel) {
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

    pub(super) fn listen(
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

    pub(super) fn opened(self: &Rc<Self>, peer: &PeerId, link: LinkId) {
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

    pub(super) fn message(self: &Rc<Self>, peer: &PeerId, data: &JsValue) {
        match data.dyn_ref::<ArrayBuffer>() {
            Some(bytes) if bytes.byte_length() <= MAX_MESSAGE => self.handle(Input::Frame {
                peer: peer.clone(),
                bytes: Uint8Array::new(bytes).to_vec(),
            }),
            _ => self.handle(Input::Unreadable { peer: peer.clone() }),
        }
    }

    /// A connection ended, if no later one took its place.
    pub(super) fn closed(self: &Rc<Self>, peer: &PeerId, link: LinkId) {
        let held = self.to(peer, |held| held.link);
        if held.is_some_and(|held| held != link) {
            return;
        }
        self.hang_up(peer);
        self.handle(Input::Closed { peer: peer.clone() });
    }
}
