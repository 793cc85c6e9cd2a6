//! The dialects of the servers we are compared with: peerjs-server, and the trackers of WebTorrent
//! (bittorrent-tracker and aquatic_ws speak the same one).

use serde::Deserialize;
use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message, client::IntoClientRequest, handshake::client::Request,
};

use crate::dialect::{Caller, Dialect, Heard, Me, sent_at};

/// A session description in JSON.
#[derive(Deserialize)]
struct Description {
    sdp: String,
}

/// peerjs-server relays between any two that know each other's names; it pairs nobody.
pub struct PeerJs;

#[derive(Deserialize)]
struct PeerJsSaid {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    src: String,
    payload: Option<serde_json::Value>,
}

fn peerjs_name(number: usize) -> String {
    format!("visitor-{number:024}")
}

impl Dialect for PeerJs {
    fn request(&self, me: &Me, host: &str) -> anyhow::Result<Request> {
        let id = peerjs_name(me.number);
        let url = format!(
            "ws://{host}/peerjs?key=peerjs&id={id}&token=t{}&version=1.5",
            me.number
        );
        Ok(url.into_client_request()?)
    }

    fn hello(&self, _: &Me) -> Option<Message> {
        None
    }

    fn beat(&self, _: &Me) -> Option<Message> {
        Some(text(&json!({ "type": "HEARTBEAT" })))
    }

    fn offer(&self, me: &Me, sdp: &str, _: usize) -> Option<Message> {
        let to = peerjs_name(me.number ^ 1);
        Some(peerjs("OFFER", "offer", &to, sdp))
    }

    fn answer(&self, _: &Me, to: &Caller, sdp: &str) -> Message {
        peerjs("ANSWER", "answer", &to.id, sdp)
    }

    fn farewell(&self, _: &Me) -> Option<Message> {
        None
    }

    fn hear(&self, me: &mut Me, message: &Message) -> Heard {
        let Some(said) = read::<PeerJsSaid>(message) else {
            return Heard::Nothing;
        };
        let sent = || {
            let sdp = said.payload.as_ref()?.get("sdp")?.get("sdp")?.as_str()?;
            Some(sent_at(sdp))
        };
        match said.kind.as_str() {
            "OPEN" => {
                me.id = peerjs_name(me.number);
                Heard::Joined
            }
            "OFFER" => {
                let caller = Caller {
                    id: said.src.clone(),
                    offer: String::new(),
                };
                Heard::Offer(caller, sent().unwrap_or(0))
            }
            "ANSWER" => Heard::Answer(sent().unwrap_or(0)),
            "ERROR" | "ID-TAKEN" | "EXPIRE" => Heard::Refused(said.kind),
            _ => Heard::Nothing,
        }
    }
}

fn peerjs(kind: &str, inner: &str, to: &str, sdp: &str) -> Message {
    text(&json!({
        "type": kind,
        "dst": to,
        "payload": {
            "sdp": { "type": inner, "sdp": sdp },
            "type": "data",
            "connectionId": "dc_1",
        },
    }))
}

/// A WebTorrent tracker: an offer goes with an announcement, to a peer that the tracker chooses; an
/// answer goes to the one that it is for.
pub struct Tracker;

#[derive(Deserialize)]
struct TrackerSaid {
    #[serde(default)]
    peer_id: String,
    #[serde(default)]
    offer_id: String,
    offer: Option<Description>,
    answer: Option<Description>,
    #[serde(rename = "failure reason")]
    failure: Option<String>,
}

fn info_hash(page: usize) -> String {
    format!("page{page:016}")
}

fn tracker_name(number: usize) -> String {
    format!("-WW0100-{number:012}")
}

impl Tracker {
    fn announce(me: &Me, more: serde_json::Value) -> Message {
        let mut said = json!({
            "action": "announce",
            "info_hash": info_hash(me.page),
            "peer_id": tracker_name(me.number),
        });
        if let (Some(said), serde_json::Value::Object(more)) = (said.as_object_mut(), more) {
            said.extend(more);
        }
        text(&said)
    }
}

impl Dialect for Tracker {
    fn request(&self, _: &Me, host: &str) -> anyhow::Result<Request> {
        Ok(format!("ws://{host}/announce").into_client_request()?)
    }

    fn hello(&self, me: &Me) -> Option<Message> {
        Some(Self::announce(
            me,
            json!({
                "uploaded": 0, "downloaded": 0, "left": 1, "event": "started",
                "numwant": 0, "offers": [],
            }),
        ))
    }

    fn beat(&self, _: &Me) -> Option<Message> {
        None
    }

    fn offer(&self, me: &Me, sdp: &str, lot: usize) -> Option<Message> {
        Some(Self::announce(
            me,
            json!({
                "uploaded": 0, "downloaded": 0, "left": 1, "numwant": 1,
                "offers": [{
                    "offer": { "type": "offer", "sdp": sdp },
                    "offer_id": format!("{:020}", lot % 1_000_000_000),
                }],
            }),
        ))
    }

    fn answer(&self, me: &Me, to: &Caller, sdp: &str) -> Message {
        Self::announce(
            me,
            json!({
                "left": 1,
                "answer": { "type": "answer", "sdp": sdp },
                "to_peer_id": to.id,
                "offer_id": to.offer,
            }),
        )
    }

    fn farewell(&self, me: &Me) -> Option<Message> {
        Some(Self::announce(
            me,
            json!({ "uploaded": 0, "downloaded": 0, "left": 1, "event": "stopped" }),
        ))
    }

    fn hear(&self, me: &mut Me, message: &Message) -> Heard {
        match read::<TrackerSaid>(message) {
            Some(TrackerSaid {
                offer: Some(offer),
                peer_id: id,
                offer_id,
                ..
            }) => {
                let caller = Caller {
                    id,
                    offer: offer_id,
                };
                Heard::Offer(caller, sent_at(&offer.sdp))
            }
            Some(TrackerSaid {
                answer: Some(answer),
                ..
            }) => Heard::Answer(sent_at(&answer.sdp)),
            Some(TrackerSaid {
                failure: Some(why), ..
            }) => Heard::Refused(why),
            Some(_) if me.id.is_empty() => {
                me.id = tracker_name(me.number);
                Heard::Joined
            }
            _ => Heard::Nothing,
        }
    }
}

fn text(value: &serde_json::Value) -> Message {
    Message::text(value.to_string())
}

fn read<'a, T: Deserialize<'a>>(message: &'a Message) -> Option<T> {
    match message {
        Message::Text(text) => serde_json::from_str(text).ok(),
        Message::Binary(bytes) => serde_json::from_slice(bytes).ok(),
        _ => None,
    }
}
