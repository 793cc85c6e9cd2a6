//! The port: what the Service Worker and the bridge say to each other over a MessagePort.
//!
//! Each message is a JavaScript array: the message, then, for [`FromBridge::Bytes`], one
//! transferred `ArrayBuffer`. Who sends on a port to an instance that was stopped hears nothing
//! back, so every question has a deadline on the asking side.

use serde::{Deserialize, Serialize};

use crate::content::ContentId;

/// A question of one Service Worker instance; answers carry it back.
pub type WantId = u32;

/// How far peers may be ahead of what the page has read of an answer, in bytes: a want's credit is the
/// one and the other together.
pub const AHEAD: u64 = 2 << 20;

/// From the Service Worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToBridge {
    /// The port is open. `client` is the id under which the worker knows the bridge's window;
    /// the bridge takes a lock whose name carries it, so that a later instance finds it.
    Hello {
        /// A client id as in the Clients API.
        client: String,
    },
    /// Get these bytes from peers.
    Want {
        /// Of this instance.
        want: WantId,
        /// Of which content.
        id: ContentId,
        /// Its whole length.
        len: u64,
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Do not go beyond this byte before [`ToBridge::Credit`] says so.
        credit: u64,
        /// How far behind the network peers may be with it at least, in milliseconds; `u32::MAX`
        /// where the network does not answer.
        #[serde(default)]
        patience: u32,
        /// It is read as it is played: some seconds ahead, and not as fast as it comes.
        #[serde(default)]
        plays: bool,
    },
    /// The page that the visitor looks at shows these contents, or will, wherever they come from.
    Context {
        /// Which; adds to those told before of this page.
        ids: Vec<ContentId>,
        /// Its path, where it is not that of the bridge's window.
        #[serde(default)]
        page: Option<String>,
    },
    /// The visitor is about to turn to this page, and the bridge's own stays.
    Turns {
        /// Its path.
        page: String,
    },
    /// What is played lasts so long that this is read of it while it plays.
    Pace {
        /// Which content.
        id: ContentId,
        /// Bytes a second.
        rate: u64,
    },
    /// What the origin is expected to need, as learnt.
    Origin {
        /// Until the first byte, in milliseconds.
        first_byte: u32,
        /// Bytes a second after that.
        rate: u64,
    },
    /// What the site wants of its visitors, by the manifest.
    Policy {
        /// As [`crate::manners::Limits::values`] gives them.
        limits: Vec<u64>,
    },
    /// Get this content from peers while nothing is wanted, or of something large the beginning; answered
    /// as a want is.
    Prefetch {
        /// Of this instance.
        want: WantId,
        /// Which content.
        id: ContentId,
        /// Its whole length.
        len: u64,
        /// First byte; what comes before is held.
        #[serde(default)]
        start: u64,
        /// One past the last byte, where that is not the end.
        #[serde(default)]
        end: Option<u64>,
    },
    /// There was nobody to ask for this: the signal server may know who holds it.
    Find {
        /// Which content.
        id: ContentId,
        /// Its whole length.
        len: u64,
    },
    /// The page has read on: bytes up to here are welcome.
    Credit {
        /// Of this instance.
        want: WantId,
        /// One past the last byte that is welcome.
        to: u64,
    },
    /// Nobody waits for this any more.
    Cancel {
        /// Of this instance.
        want: WantId,
    },
    /// These groups are in the store now and may be served.
    Stored {
        /// Of which content.
        id: ContentId,
        /// Its whole length.
        len: u64,
        /// All the runs of groups that are held: start, one past the end.
        groups: Vec<(u32, u32)>,
    },
    /// Somebody looks on: answered by [`FromBridge::Totals`], [`FromBridge::Manners`] and
    /// [`FromBridge::Connected`].
    Look {},
    /// This is no longer in the store, or may no longer be served.
    Dropped {
        /// Which content.
        id: ContentId,
    },
}

/// From the bridge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromBridge {
    /// The bridge and how many peers it has open. Sent first, and whenever the number changes.
    Peers {
        /// Open channels.
        open: u32,
        /// Whether more may come: connected to the signal server and peers were offered.
        coming: bool,
    },
    /// Verified bytes, in order and without gaps for each want. The buffer comes beside it.
    Bytes {
        /// Whose.
        want: WantId,
        /// Where its first byte belongs.
        offset: u64,
        /// 1 for a peer of ours, 2 for a peer of a peer.
        tier: u8,
    },
    /// Peers are asked, but none is known to hold it: it is time to ask the network as well.
    Unsure {
        /// Whose.
        want: WantId,
    },
    /// The network has the next bytes sooner: what of this want was not sent up to here is to be
    /// fetched from there. The bytes that come from now on follow them.
    Behind {
        /// Whose.
        want: WantId,
        /// One past the last byte that the network is to fetch.
        to: u64,
    },
    /// All of it has been sent.
    End {
        /// Whose.
        want: WantId,
    },
    /// Nobody has it, or nobody who had it goes on. What was sent stands.
    Failed {
        /// Whose.
        want: WantId,
        /// In words, for the log.
        why: String,
    },
    /// What went through the engine so far, in bytes of content; said when a want is over.
    Totals {
        /// To peers.
        sent: u64,
        /// From peers, and of use.
        received: u64,
        /// From peers, and thrown away.
        wasted: u64,
    },
    /// What the visitor's device allows. Said first and whenever it changes.
    Manners {
        /// Why nothing is served, in words; nothing where something is.
        quiet: Option<String>,
        /// Bytes that were served today.
        given: u64,
        /// Bytes that may be.
        daily: u64,
    },
    /// Open peers, the oldest first.
    Connected {
        /// One by one.
        peers: Vec<Connected>,
    },
    /// How many open peers have what the page shows and the store holds, where that is known. Said of
    /// those of which it changed.
    Near {
        /// Content, and how many say that they have all of it.
        near: Vec<(ContentId, u32)>,
    },
    /// The signal server says that the manifest changed.
    Manifest {},
}

/// An open peer, without a word of who it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connected {
    /// There and back, in milliseconds; nothing before that was measured.
    pub rtt: Option<u16>,
    /// Bytes of content that came from it.
    pub got: u64,
    /// Bytes of content that went to it.
    pub gave: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_of_before_fetches_ahead_is_all_of_it() {
        let id = ContentId::of(b"fugitive");
        let said = serde_json::json!({ "prefetch": { "want": 2, "id": id, "len": 9 } });
        let heard = ToBridge::Prefetch {
            want: 2,
            id,
            len: 9,
            start: 0,
            end: None,
        };
        assert_eq!(serde_json::from_value::<ToBridge>(said).unwrap(), heard);
    }
}
