//! What a made-up visitor says to a server, and what it makes of the answers.

use anyhow::Context as _;
use fugitive_signal::{Signal, ToClient, ToServer, VERSION};
use tokio_tungstenite::tungstenite::{
    Message, client::IntoClientRequest, handshake::client::Request,
};

/// The length of the description that every signal carries, in bytes.
pub const DESCRIPTION: usize = 2048;
/// Who navigates goes round so many pages, which have the same visitors.
const PAGES: usize = 4;
/// The digits at its beginning that say when it was sent.
const STAMP: usize = 20;

/// What a visitor knows about itself.
#[derive(Clone, Debug, Default)]
pub struct Me {
    /// From zero, and no two alike.
    pub number: usize,
    /// The page, swarm or room it is on.
    pub page: usize,
    /// Pages it was on before.
    pub visits: usize,
    /// As the server calls it.
    pub id: String,
    /// To come back with.
    pub ticket: Option<String>,
    /// Whom it may call.
    pub partners: Vec<String>,
}

/// From whom an offer came.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// As the server calls it.
    pub id: String,
    /// The name of the offer, where offers have names.
    pub offer: String,
}

/// What a message means.
#[derive(Clone, Debug)]
pub enum Heard {
    /// The server knows us now.
    Joined,
    /// It named peers, perhaps none.
    Offered,
    /// A description to be answered, and when it was sent.
    Offer(Caller, u64),
    /// The answer to ours, and when it was sent.
    Answer(u64),
    /// One of our partners went away.
    Gone,
    /// The server says no.
    Refused(String),
    /// Of no interest here.
    Nothing,
}

/// A way of talking to a signal server.
pub trait Dialect {
    /// The handshake.
    fn request(&self, me: &Me, host: &str) -> anyhow::Result<Request>;
    /// What is said first.
    fn hello(&self, me: &Me) -> Option<Message>;
    /// Whether a server of this kind names peers to call.
    fn is_paired(&self) -> bool {
        false
    }
    /// A sign of life.
    fn beat(&self, me: &Me) -> Option<Message>;
    /// A call to one of our partners, or to whom the server chooses; `lot` decides. Nothing if there
    /// is nobody.
    fn offer(&self, me: &Me, sdp: &str, lot: usize) -> Option<Message>;
    /// The answer to a call.
    fn answer(&self, me: &Me, to: &Caller, sdp: &str) -> Message;
    /// What is said when there are channels with all partners.
    fn connected(&self, _: &Me) -> Vec<Message> {
        Vec::new()
    }
    /// What is said last.
    fn farewell(&self, me: &Me) -> Option<Message>;
    /// Understands a message.
    fn hear(&self, me: &mut Me, message: &Message) -> Heard;
}

/// Fugitive's own.
pub struct Fugitive {
    /// The `Origin` of the handshakes.
    pub origin: String,
    /// Whether each page is of an origin of its own: then its visitors meet nobody else.
    pub is_page_apart: bool,
    /// How many peers are wanted at each join.
    pub want: u16,
}

impl Dialect for Fugitive {
    fn request(&self, me: &Me, host: &str) -> anyhow::Result<Request> {
        let mut request = format!("ws://{host}/fugitive/signal").into_client_request()?;
        let origin = match self.is_page_apart {
            true => format!("{}-{}", self.origin, me.page),
            false => self.origin.clone(),
        };
        let origin = origin.parse().context("not an origin")?;
        request.headers_mut().insert("origin", origin);
        Ok(request)
    }

    fn hello(&self, me: &Me) -> Option<Message> {
        Some(say(&ToServer::Join {
            version: VERSION,
            page: format!("/{}/{}/", me.page, me.visits % PAGES),
            want: self.want,
            ticket: me.ticket.clone(),
            room: None,
            position: None,
        }))
    }

    fn is_paired(&self) -> bool {
        true
    }

    fn beat(&self, _: &Me) -> Option<Message> {
        Some(say(&ToServer::Heartbeat {
            measured: Vec::new(),
            serves: None,
        }))
    }

    fn offer(&self, me: &Me, sdp: &str, lot: usize) -> Option<Message> {
        let to = me.partners.get(lot.checked_rem(me.partners.len())?)?;
        Some(signal("offer", to, sdp))
    }

    fn answer(&self, _: &Me, to: &Caller, sdp: &str) -> Message {
        signal("answer", &to.id, sdp)
    }

    fn connected(&self, me: &Me) -> Vec<Message> {
        let up = |peer: &String| say(&ToServer::Up { peer: peer.clone() });
        me.partners.iter().map(up).collect()
    }

    fn farewell(&self, _: &Me) -> Option<Message> {
        Some(say(&ToServer::Leave {}))
    }

    fn hear(&self, me: &mut Me, message: &Message) -> Heard {
        let Message::Binary(bytes) = message else {
            return Heard::Nothing;
        };
        match fugitive_signal::decode(bytes) {
            Ok(ToClient::Welcome { id, ticket, .. }) => {
                me.id = id;
                me.ticket = Some(ticket);
                Heard::Joined
            }
            Ok(ToClient::Offered { peers }) => {
                for peer in peers {
                    if !me.partners.contains(&peer) {
                        me.partners.push(peer);
                    }
                }
                Heard::Offered
            }
            Ok(ToClient::Gone { peer }) => {
                me.partners.retain(|partner| *partner != peer);
                Heard::Gone
            }
            Ok(ToClient::Signal {
                from,
                signal: Signal::Description { kind, sdp },
            }) => {
                let at = sent_at(&sdp);
                if kind == "answer" {
                    return Heard::Answer(at);
                }
                // Who was called may call back: the server linked the two.
                if !me.partners.contains(&from) {
                    me.partners.push(from.clone());
                }
                let offer = String::new();
                Heard::Offer(Caller { id: from, offer }, at)
            }
            Ok(ToClient::Refused { why }) => Heard::Refused(why),
            Ok(_) => Heard::Nothing,
            Err(error) => Heard::Refused(error.to_string()),
        }
    }
}

fn say(message: &ToServer) -> Message {
    Message::binary(fugitive_signal::encode(message))
}

fn signal(kind: &str, to: &str, sdp: &str) -> Message {
    say(&ToServer::Signal {
        to: to.to_owned(),
        signal: Signal::Description {
            kind: kind.to_owned(),
            sdp: sdp.to_owned(),
        },
    })
}

/// A text of the length and the look of a session description with its candidates, which begins
/// with the time.
pub fn description(now: u64) -> String {
    let mut sdp = format!("{now:0STAMP$}\r\n");
    let mut line = 0;
    while sdp.len() < DESCRIPTION {
        line += 1;
        sdp.push_str("a=candidate:");
        sdp.push_str(&line.to_string());
        sdp.push_str(" 1 udp 2122260223 192.168.17.23 51472 typ host generation 0\r\n");
    }
    sdp.truncate(DESCRIPTION);
    sdp
}

/// The time at the beginning of a description; zero if there is none.
pub fn sent_at(sdp: &str) -> u64 {
    sdp.get(..STAMP)
        .and_then(|stamp| stamp.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn description_has_its_length_and_tells_when_it_was_sent() {
        let sdp = description(1_790_000_000_123_456_789);
        assert_eq!(sdp.len(), DESCRIPTION);
        assert_eq!(sent_at(&sdp), 1_790_000_000_123_456_789);
    }
}
