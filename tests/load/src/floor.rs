//! What a signal costs at least: a server that reads a frame, finds to whom it goes and writes it, on
//! one thread, and does nothing else. Nobody is asked who it is, nothing is bounded, and who is slow
//! loses what it does not take. It shows what of another server's figure is the kernel's and the
//! machine's; nobody could use it.
//!
//! A message begins with the number of its receiver and that of its sender, eight bytes each. The first
//! one says by its sender's who the connection is, and comes back.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::SocketAddr,
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::{
    Message,
    client::IntoClientRequest,
    handshake::{client::Request, derive_accept_key},
};

use crate::dialect::{Caller, Dialect, Heard, Me, sent_at};

const LISTENER: Token = Token(usize::MAX);
/// What one read takes at most, in bytes: some dozen signals.
const READ: usize = 64 * 1024;
/// Of the two numbers.
const HEAD: usize = 16;

struct Connection {
    stream: TcpStream,
    /// Whether the handshake is over.
    is_open: bool,
    /// What came and was not whole.
    partial: Vec<u8>,
}

/// Serves there until the process ends.
pub fn serve(address: SocketAddr) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(address)?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: HashMap<usize, Connection> = HashMap::new();
    let mut names: HashMap<u64, usize> = HashMap::new();
    let (mut next, mut events) = (0, Events::with_capacity(1024));
    let mut buffer = vec![0; READ];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let _ = stream.set_nodelay(true);
                    next += 1;
                    poll.registry()
                        .register(&mut stream, Token(next), Interest::READABLE)?;
                    let connection = Connection {
                        stream,
                        is_open: false,
                        partial: Vec::new(),
                    };
                    connections.insert(next, connection);
                }
                continue;
            }
            let Token(at) = event.token();
            if hear(at, &mut connections, &mut names, &mut buffer).is_err() {
                connections.remove(&at);
            }
        }
    }
}

/// Reads what is there and hands it on. An error ends the connection.
fn hear(
    at: usize,
    connections: &mut HashMap<usize, Connection>,
    names: &mut HashMap<u64, usize>,
    buffer: &mut [u8],
) -> io::Result<()> {
    loop {
        let Some(connection) = connections.get_mut(&at) else {
            return Ok(());
        };
        let begun = connection.partial.len();
        buffer[..begun].copy_from_slice(&connection.partial);
        let read = match connection.stream.read(&mut buffer[begun..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        // What does not fill the buffer was all.
        let is_all = begun + read < buffer.len();
        let bytes = &mut buffer[..begun + read];
        let mut used = 0;
        if !connection.is_open {
            if let Some(answer) = shake(bytes)? {
                connection.stream.write_all(answer.as_bytes())?;
                connection.is_open = true;
                used = bytes.len();
            }
        } else {
            while let Some((start, end)) = frame(&mut bytes[used..])? {
                let (start, end) = (used + start, used + end);
                used = end;
                let number = |from: usize| {
                    let number = bytes[..end].get(start + from..)?.first_chunk()?;
                    Some(u64::from_be_bytes(*number))
                };
                let (Some(to), Some(from)) = (number(0), number(8)) else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                if to == from {
                    names.insert(from, at);
                }
                let to = names.get(&to).and_then(|at| connections.get_mut(at));
                if let Some(to) = to {
                    // The header of the server's frame has room where that of the client's was.
                    let start = write_header(bytes, start, end);
                    let _ = to.stream.write(&bytes[start..end]);
                }
            }
        }
        let partial = bytes[used..].to_vec();
        if let Some(connection) = connections.get_mut(&at) {
            connection.partial = partial;
        }
        if is_all {
            return Ok(());
        }
    }
}

/// The answer to a handshake, once it is whole.
fn shake(bytes: &[u8]) -> io::Result<Option<String>> {
    let head = std::str::from_utf8(bytes).map_err(io::Error::other)?;
    if !head.ends_with("\r\n\r\n") {
        return Ok(None);
    }
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_key = name.eq_ignore_ascii_case("sec-websocket-key");
        is_key.then(|| value.trim())
    });
    let key = key.ok_or(io::ErrorKind::InvalidData)?;
    let accept = derive_accept_key(key.as_bytes());
    Ok(Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
    )))
}

/// Takes the mask off the first frame once that is whole, and tells where its payload is. Any but whole
/// messages of up to 64 KiB ends the connection.
fn frame(bytes: &mut [u8]) -> io::Result<Option<(usize, usize)>> {
    let (kind, len, at) = match *bytes {
        [kind, 0xfe, a, b, ..] => (kind, usize::from(u16::from_be_bytes([a, b])), 4),
        [kind, len, ..] if (0x80..0xfe).contains(&len) => (kind, usize::from(len & 0x7f), 2),
        [_, 0xfe, ..] | [_] | [] => return Ok(None),
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    if kind != 0x82 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let (start, end) = (at + 4, at + 4 + len);
    if bytes.len() < end {
        return Ok(None);
    }
    let mask = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    let mask = u64::from_ne_bytes([mask, mask].concat().try_into().unwrap_or_default());
    let (words, rest) = bytes[start..end].as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ mask).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.to_ne_bytes()) {
        *byte ^= mask;
    }
    Ok(Some((start, end)))
}

/// Puts a header before a payload, and tells where it begins.
fn write_header(bytes: &mut [u8], start: usize, end: usize) -> usize {
    match u8::try_from(end - start) {
        Ok(len) if len < 126 => {
            bytes[start - 2..start].copy_from_slice(&[0x82, len]);
            start - 2
        }
        _ => {
            let [a, b] = ((end - start) as u16).to_be_bytes();
            bytes[start - 4..start].copy_from_slice(&[0x82, 126, a, b]);
            start - 4
        }
    }
}

/// What is spoken there; each visitor calls its neighbour.
pub struct Floor;

/// A call is followed by an answer, and nothing by any other.
const KINDS: [u8; 2] = *b"ca";

fn say(me: &Me, to: u64, kind: Option<u8>, sdp: &str) -> Message {
    let mut bytes = Vec::with_capacity(HEAD + 1 + sdp.len());
    bytes.extend_from_slice(&to.to_be_bytes());
    bytes.extend_from_slice(&(me.number as u64).to_be_bytes());
    bytes.extend(kind);
    bytes.extend_from_slice(sdp.as_bytes());
    Message::binary(bytes)
}

impl Dialect for Floor {
    fn request(&self, _: &Me, host: &str) -> anyhow::Result<Request> {
        Ok(format!("ws://{host}/").into_client_request()?)
    }

    fn hello(&self, me: &Me) -> Option<Message> {
        Some(say(me, me.number as u64, None, ""))
    }

    fn beat(&self, _: &Me) -> Option<Message> {
        None
    }

    fn offer(&self, me: &Me, sdp: &str, _: usize) -> Option<Message> {
        Some(say(me, me.number as u64 ^ 1, Some(KINDS[0]), sdp))
    }

    fn answer(&self, me: &Me, to: &Caller, sdp: &str) -> Message {
        say(me, to.id.parse().unwrap_or(0), Some(KINDS[1]), sdp)
    }

    fn farewell(&self, _: &Me) -> Option<Message> {
        None
    }

    fn hear(&self, me: &mut Me, message: &Message) -> Heard {
        let Message::Binary(bytes) = message else {
            return Heard::Nothing;
        };
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
            return Heard::Nothing;
        };
        let Some((kind, sdp)) = rest.split_first() else {
            me.id = me.number.to_string();
            return Heard::Joined;
        };
        let at = sent_at(std::str::from_utf8(sdp).unwrap_or_default());
        if *kind == KINDS[1] {
            return Heard::Answer(at);
        }
        let from = head
            .last_chunk()
            .map_or(0, |from| u64::from_be_bytes(*from));
        let caller = Caller {
            id: from.to_string(),
            offer: String::new(),
        };
        Heard::Offer(caller, at)
    }
}
