//! What was asked of the bridge, and what comes of it.

use std::rc::Rc;

use fugitive_core::port::{ToBridge, WantId};
use futures_channel::mpsc;
use futures_util::StreamExt;
use js_sys::Uint8Array;

use super::{Link, Live};

/// One thing that the bridge said of a want.
pub enum Piece {
    /// Verified bytes.
    Bytes {
        /// Where they belong.
        offset: u64,
        /// The bytes.
        bytes: Uint8Array,
        /// 1 or 2.
        tier: u8,
    },
    /// Nobody is known to hold it yet.
    Unsure,
    /// The network is to fetch the next bytes, up to here; what comes now follows them.
    Behind(u64),
    /// That was all.
    End,
    /// Nothing more comes.
    Failed(String),
}

/// A want under way; dropping it cancels it, all the way to the peers.
pub struct Want {
    link: Rc<Link>,
    live: Option<Rc<Live>>,
    want: WantId,
    pieces: mpsc::UnboundedReceiver<Piece>,
    ended: bool,
}

impl Want {
    pub(super) fn new(
        link: Rc<Link>,
        live: Option<Rc<Live>>,
        want: WantId,
        pieces: mpsc::UnboundedReceiver<Piece>,
    ) -> Self {
        Self {
            link,
            live,
            want,
            pieces,
            ended: false,
        }
    }

    /// The next thing said of it.
    pub async fn next(&mut self) -> Piece {
        let piece = self.pieces.next().await;
        let piece = piece.unwrap_or_else(|| Piece::Failed("the bridge is gone".into()));
        self.ended |= matches!(piece, Piece::End | Piece::Failed(_));
        piece
    }

    /// The next thing that is more than a doubt.
    pub async fn next_piece(&mut self) -> Piece {
        loop {
            match self.next().await {
                Piece::Unsure => {}
                piece => return piece,
            }
        }
    }

    /// The page has read on.
    pub fn credit(&self, to: u64) {
        self.say(&ToBridge::Credit {
            want: self.want,
            to,
        });
    }

    /// To whom it was asked of, unless it is over.
    fn say(&self, message: &ToBridge) {
        if let Some(live) = self.live.as_ref().filter(|_| !self.ended) {
            live.say(message);
        }
    }
}

impl Drop for Want {
    fn drop(&mut self) {
        self.link.wants.borrow_mut().remove(&self.want);
        self.say(&ToBridge::Cancel { want: self.want });
    }
}
