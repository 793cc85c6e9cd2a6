//! The engine as a whole: peers send anything, and nothing wrong comes out.

use std::{ops::Range, rc::Rc};

use fugitive_core::{
    content::{ContentId, group_bytes, group_count},
    deflate::Kept,
    engine::{Config, Engine, Input, Output, PeerId, Read},
    port::WantId,
    tree::Outboard,
    wire::{self, Incoming, Message},
};

const WANT: WantId = 1;

/// Messages of two peers, one after the other. Each begins with a byte: who sends it and what comes
/// before it (the lowest bits), and two bytes of its length. A message that is `\0` is made into the
/// right answer to the last pull, and one that has two bytes more into a wrong one, with a byte
/// changed at the place that they say, so that a fuzzer gets past the checks of numbers.
pub fn engine(bytes: &[u8]) {
    delivered(bytes);
}

/// How much of what is wanted came out.
fn delivered(bytes: &[u8]) -> u64 {
    let content: Vec<u8> = (0..90_000_u32).map(|i| (i * 31 + i / 253) as u8).collect();
    let outboard = Rc::new(Outboard::of(&content));
    let mut driver = Driver::new(content, outboard);
    let mut rest = bytes;
    for _ in 0..64 {
        let Some(([flags, low, high], after)) = rest.split_first_chunk() else {
            break;
        };
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        let (message, after) = after.split_at(len);
        rest = after;
        driver.step(*flags, message);
    }
    // It always comes to an end.
    for _ in 0..200 {
        driver.now += 500;
        driver.input(Input::Tick);
    }
    driver.input(Input::Cancel { want: WANT });
    driver.at
}

struct Driver {
    engine: Engine,
    now: u64,
    content: Vec<u8>,
    outboard: Rc<Outboard>,
    /// The last pull of each peer: its number and groups.
    pulls: [Option<(u32, Range<u32>)>; 2],
    at: u64,
}

fn peers() -> [PeerId; 2] {
    ["a", "b"].map(PeerId::from)
}

impl Driver {
    fn new(content: Vec<u8>, outboard: Rc<Outboard>) -> Self {
        let mut driver = Self {
            engine: Engine::new(Config::default(), 0),
            now: 0,
            content,
            outboard,
            pulls: [None, None],
            at: 0,
        };
        let me = PeerId::from("me");
        driver.input(Input::Welcome {
            me,
            hold_over: Some(0),
        });
        let offered = peers().to_vec();
        driver.input(Input::Offered { peers: offered });
        for peer in peers() {
            driver.input(Input::Opened { peer });
        }
        let (id, len) = (driver.id(), driver.len());
        let other = ContentId::of(b"other");
        driver.input(Input::Context {
            page: 7,
            ids: vec![id, other],
        });
        driver.input(Input::Stored {
            id: other,
            len,
            groups: vec![(0, group_count(len))],
        });
        driver.input(Input::Want {
            want: WANT,
            id,
            len,
            bytes: 0..len,
            credit: len,
            patience: 0,
            plays: false,
        });
        driver
    }

    fn id(&self) -> ContentId {
        self.outboard.id()
    }

    fn len(&self) -> u64 {
        self.content.len() as u64
    }

    fn step(&mut self, flags: u8, message: &[u8]) {
        let peer = usize::from(flags & 1);
        self.now += u64::from(flags >> 4) * 20;
        let from = peers()[peer].clone();
        match flags >> 1 & 7 {
            1 => self.input(Input::Tick),
            2 => self.input(Input::Buffered {
                peer: from.clone(),
                bytes: message.len() as u64 * 999,
            }),
            3 => self.input(Input::Closed { peer: from.clone() }),
            4 => self.input(Input::Opened { peer: from.clone() }),
            _ => {}
        }
        let bytes = match (message, self.pulls[peer].clone()) {
            ([0, flip @ ..], Some((pull, run))) if !run.is_empty() && flip.len() < 3 => {
                let part = run.start..run.end.min(run.start + 4);
                self.pulls[peer] = Some((pull, part.end..run.end));
                let mut frame = self.answer(pull, part);
                if let [low, high] = flip
                    && let Some(byte) =
                        frame.get_mut(usize::from(u16::from_le_bytes([*low, *high])))
                {
                    *byte ^= 1;
                }
                frame
            }
            _ => message.to_vec(),
        };
        self.input(Input::Frame { peer: from, bytes });
    }

    /// What an honest peer would send.
    fn answer(&self, pull: u32, run: Range<u32>) -> Vec<u8> {
        let group = |group: u32| {
            let at = group_bytes(group..group + 1, self.len());
            Kept {
                bytes: self.content[at.start as usize..at.end as usize].to_vec(),
                deflated: false,
            }
        };
        let groups: Vec<Kept> = run.clone().map(group).collect();
        wire::encode_frame(pull, run.start, &groups, &self.outboard.proof(run))
    }

    fn input(&mut self, input: Input) {
        self.engine.handle(input, self.now);
        for _ in 0..10_000 {
            let Some(output) = self.engine.poll() else {
                return;
            };
            self.act(output);
        }
        panic!("the engine never ends");
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Send { peer, bytes } => {
                let index = usize::from(peer != peers()[0]);
                if let Ok(Incoming::Control(Message::Pull {
                    pull, first, count, ..
                })) = wire::decode(&bytes)
                {
                    self.pulls[index] = Some((pull, first..first + count));
                }
            }
            Output::Deliver {
                want,
                offset,
                bytes,
                ..
            } => {
                assert_eq!((want, offset), (WANT, self.at), "out of order");
                let end = self.at as usize + bytes.len();
                assert!(self.content[self.at as usize..end] == bytes, "wrong bytes");
                self.at = end as u64;
            }
            Output::End { .. } => assert_eq!(self.at, self.len()),
            Output::Read { ticket, groups, .. } => {
                let kept = |_| Kept {
                    bytes: vec![1; 16],
                    deflated: false,
                };
                let read = Read {
                    groups: groups.map(kept).collect(),
                    outboard: self.outboard.clone(),
                };
                let read = Some(read);
                self.engine.handle(Input::Read { ticket, read }, self.now);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_corpus_calls_honest_is_delivered_and_what_it_calls_a_liar_is_not_all() {
        let all = delivered(include_bytes!("../corpus/engine/honest"));
        assert_eq!(all, 90_000);
        let some = delivered(include_bytes!("../corpus/engine/liar"));
        assert!(some < all, "{some}");
    }
}
