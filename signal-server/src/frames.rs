//! WebSocket frames (RFC 6455) as a server reads and writes them. Not for sockets: bytes in, bytes
//! out.
//!
//! Read in place, in a buffer that all connections of a thread share, so that one that is silent
//! needs none of its own. That is why the codec of a library, which has its buffers within, is not
//! used; its headers are.

use std::{io::Cursor, ops::ControlFlow};

use tokio_tungstenite::tungstenite::{
    self,
    protocol::frame::{
        FrameHeader,
        coding::{Control, Data, OpCode},
    },
};

/// The most bytes before a payload.
const HEADER: usize = 14;
/// The longest payload of a control frame, in bytes.
const CONTROL: usize = 125;
/// Fragments of one message; who sends more sends next to nothing in each.
const FRAGMENTS: usize = 256;

/// What a client sent.
#[derive(Debug, PartialEq)]
pub enum Frame<'a> {
    /// A message, whole.
    Binary(&'a [u8]),
    /// A message of a kind that is not spoken here.
    Text,
    /// To be answered with the same bytes.
    Ping(&'a [u8]),
    /// A sign of life.
    Pong,
    /// The last one.
    Close,
}

/// Not what a client may send.
#[derive(Debug, thiserror::Error)]
pub enum BadFrame {
    /// Not a header.
    #[error("{0}")]
    Header(#[from] tungstenite::Error),
    /// Longer than a message may be, in bytes.
    #[error("a message of {0} bytes")]
    TooLong(u64),
    /// Clients must mask what they send.
    #[error("a frame without a mask")]
    Unmasked,
    /// There are no extensions here that would use them.
    #[error("reserved bits")]
    Reserved,
    /// Too long, or in fragments.
    #[error("a control frame that cannot be")]
    Control,
    /// A continuation of nothing, or a new message within another.
    #[error("fragments that do not belong together")]
    Fragment,
    /// … of a message that could have come in one.
    #[error("a message in more than {FRAGMENTS} fragments")]
    Crumbs,
}

/// What is left of a stream of frames between two reads.
#[derive(Default)]
pub struct Frames {
    /// The beginning of a message that comes in fragments.
    begun: Option<Begun>,
}

struct Begun {
    is_binary: bool,
    bytes: Vec<u8>,
    fragments: usize,
}

impl Frames {
    /// Whether a message has begun and not ended.
    pub fn is_within(&self) -> bool {
        self.begun.is_some()
    }

    /// Gives the frames at the beginning of these bytes to `each`, until it breaks, and tells how
    /// many bytes they took. No message is longer than `most`.
    pub fn read(
        &mut self,
        bytes: &mut [u8],
        most: usize,
        mut each: impl FnMut(Frame<'_>) -> ControlFlow<()>,
    ) -> Result<usize, BadFrame> {
        let mut used = 0;
        loop {
            let rest = &mut bytes[used..];
            let mut cursor = Cursor::new(&*rest);
            let Some((header, length)) = FrameHeader::parse(&mut cursor)? else {
                return Ok(used);
            };
            let start = cursor.position() as usize;
            if header.rsv1 || header.rsv2 || header.rsv3 {
                return Err(BadFrame::Reserved);
            }
            let mask = header.mask.ok_or(BadFrame::Unmasked)?;
            let before = self.begun.as_ref().map_or(0, |begun| begun.bytes.len());
            if length > most.saturating_sub(before) as u64 {
                return Err(BadFrame::TooLong(length.saturating_add(before as u64)));
            }
            let end = start + length as usize;
            let Some(payload) = rest.get_mut(start..end) else {
                return Ok(used);
            };
            unmask(payload, mask);
            used += end;
            let frame = match header.opcode {
                OpCode::Control(control) => {
                    if !header.is_final || payload.len() > CONTROL {
                        return Err(BadFrame::Control);
                    }
                    Some(match control {
                        Control::Close => Frame::Close,
                        Control::Ping => Frame::Ping(payload),
                        Control::Pong | Control::Reserved(_) => Frame::Pong,
                    })
                }
                OpCode::Data(data) => self.data(data, header.is_final, payload)?,
            };
            let Some(frame) = frame else { continue };
            let is_whole = matches!(frame, Frame::Binary(_) | Frame::Text);
            let flow = each(frame);
            if is_whole {
                self.begun = None;
            }
            if flow.is_break() {
                return Ok(used);
            }
        }
    }

    fn data<'a>(
        &'a mut self,
        data: Data,
        is_final: bool,
        payload: &'a [u8],
    ) -> Result<Option<Frame<'a>>, BadFrame> {
        let is_binary = match (data, &mut self.begun) {
            (Data::Continue, Some(begun)) => {
                if begun.fragments == FRAGMENTS {
                    return Err(BadFrame::Crumbs);
                }
                begun.fragments += 1;
                begun.bytes.extend_from_slice(payload);
                None
            }
            (Data::Binary, None) => Some(true),
            (Data::Text, None) => Some(false),
            _ => return Err(BadFrame::Fragment),
        };
        Ok(match (is_final, is_binary) {
            (true, Some(true)) => Some(Frame::Binary(payload)),
            (true, Some(false)) => Some(Frame::Text),
            (false, Some(is_binary)) => {
                self.begun = Some(Begun {
                    is_binary,
                    bytes: payload.to_vec(),
                    fragments: 1,
                });
                None
            }
            (true, None) => match &self.begun {
                Some(begun) if begun.is_binary => Some(Frame::Binary(&begun.bytes)),
                _ => Some(Frame::Text),
            },
            (false, None) => None,
        })
    }
}

/// XORs with the mask, eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Writes a binary message, made of these parts, behind what `out` holds.
pub fn binary(parts: &[&[u8]], out: &mut Vec<u8>) {
    write(OpCode::Data(Data::Binary), parts, out);
}

/// Writes a ping.
pub fn ping(out: &mut Vec<u8>) {
    write(OpCode::Control(Control::Ping), &[], out);
}

/// Writes the answer to a ping.
pub fn pong(data: &[u8], out: &mut Vec<u8>) {
    write(OpCode::Control(Control::Pong), &[data], out);
}

/// Writes the last frame, with the reason as a number.
pub fn close(code: u16, out: &mut Vec<u8>) {
    write(OpCode::Control(Control::Close), &[&code.to_be_bytes()], out);
}

fn write(opcode: OpCode, parts: &[&[u8]], out: &mut Vec<u8>) {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    out.reserve_exact(HEADER + length);
    // Fails only if the buffer does, and this one is memory.
    let _ = header.format(length as u64, out);
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::{
        Message,
        protocol::{Role, WebSocket, frame},
    };

    use super::*;

    const MOST: usize = 100_000;

    /// What a client's library puts on the wire.
    fn sent(messages: &[Message]) -> Vec<u8> {
        let mut client = WebSocket::from_raw_socket(Cursor::new(Vec::new()), Role::Client, None);
        for message in messages {
            client.send(message.clone()).unwrap();
        }
        client.get_ref().get_ref().clone()
    }

    fn fragment(opcode: Data, is_final: bool, payload: &'static [u8]) -> Message {
        let frame = frame::Frame::message(payload, OpCode::Data(opcode), is_final);
        Message::Frame(frame)
    }

    /// What is read if the bytes come in pieces of this length.
    fn read(bytes: &[u8], piece: usize) -> Result<Vec<String>, BadFrame> {
        let (mut frames, mut buffer, mut read) = (Frames::default(), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            buffer.extend_from_slice(piece);
            // A frame that is not whole yet must not be touched: it will be read again.
            let used = frames.read(&mut buffer, MOST, |frame| {
                read.push(match frame {
                    Frame::Binary(bytes) => format!("binary {}", bytes.len()),
                    Frame::Ping(bytes) => format!("ping {bytes:?}"),
                    other => format!("{other:?}"),
                });
                ControlFlow::Continue(())
            })?;
            buffer.drain(..used);
        }
        assert!(buffer.is_empty());
        Ok(read)
    }

    #[test]
    fn frames_of_a_library_are_read_however_they_are_cut() {
        let bytes = sent(&[
            Message::binary(vec![7; 3]),
            Message::Ping(vec![1, 2].into()),
            fragment(Data::Binary, false, b"be"),
            Message::Pong(Vec::new().into()),
            fragment(Data::Continue, false, b""),
            fragment(Data::Continue, true, b"gun"),
            Message::binary(vec![9; 70_000]),
            Message::binary(Vec::new()),
            Message::text("hello"),
            Message::Close(None),
        ]);
        let expected = [
            "binary 3",
            "ping [1, 2]",
            "Pong",
            "binary 5",
            "binary 70000",
            "binary 0",
            "Text",
            "Close",
        ];
        for piece in [1, 2, 3, 7, 1000, usize::MAX] {
            assert_eq!(read(&bytes, piece).unwrap(), expected, "{piece}");
        }
    }

    #[test]
    fn payload_is_what_was_sent_whatever_its_length() {
        for length in 0..40_u8 {
            let payload: Vec<u8> = (0..length).collect();
            let mut bytes = sent(&[Message::binary(payload.clone())]);
            let mut read = Vec::new();
            Frames::default()
                .read(&mut bytes, MOST, |frame| {
                    if let Frame::Binary(bytes) = frame {
                        read = bytes.to_vec();
                    }
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(read, payload);
        }
    }

    #[test]
    fn what_a_client_must_not_send_is_an_error() {
        let long = vec![0; MOST + 1];
        let too_long_in_pieces = [
            fragment(Data::Binary, false, &[0; MOST - 1]),
            fragment(Data::Continue, true, &[0; 2]),
        ];
        let mut crumbs = vec![fragment(Data::Continue, false, b""); FRAGMENTS];
        crumbs.insert(0, fragment(Data::Binary, false, b"x"));
        for bad in [
            sent(&[Message::binary(long)]),
            sent(&too_long_in_pieces),
            sent(&crumbs),
            sent(&[fragment(Data::Continue, true, b"x")]),
            sent(&[
                fragment(Data::Binary, false, b"x"),
                Message::binary(vec![1]),
            ]),
            // No mask; reserved bits; reserved opcode; a ping in fragments; a length of 2^63.
            vec![0x82, 1, 0],
            vec![0xc2, 0x81, 0, 0, 0, 0, 0],
            vec![0x83, 0x80, 0, 0, 0, 0],
            vec![0x09, 0x80, 0, 0, 0, 0],
            vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(read(&bad, 1000).is_err(), "{:?}", &bad[..6]);
        }
    }

    #[test]
    fn reading_stops_where_it_is_told_to() {
        let mut bytes = sent(&[Message::binary(vec![1; 10]), Message::binary(vec![2; 10])]);
        let half = bytes.len() / 2;
        let mut seen = 0;
        let used = Frames::default().read(&mut bytes, MOST, |_| {
            seen += 1;
            ControlFlow::Break(())
        });
        assert_eq!((used.unwrap(), seen), (half, 1));
    }

    #[test]
    fn library_reads_what_is_written() {
        let mut bytes = Vec::new();
        binary(&[b"a", &[5; 70_000]], &mut bytes);
        pong(b"p", &mut bytes);
        close(1008, &mut bytes);
        let mut client = WebSocket::from_raw_socket(Cursor::new(bytes), Role::Client, None);
        assert_eq!(client.read().unwrap().len(), 70_001);
        assert_eq!(client.read().unwrap(), Message::Pong(b"p".to_vec().into()));
        assert!(
            matches!(client.read(), Ok(Message::Close(Some(frame))) if frame.code == 1008.into())
        );
    }
}
