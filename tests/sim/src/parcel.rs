//! Messages on their way. A group frame that holds what the site holds is kept as where that is, so
//! that gigabytes in flight cost no memory; it arrives byte for byte as it was sent.

use std::ops::Range;

use fugitive_core::wire::{self, Incoming, Message as Control};

use crate::site::{Content, Site};

/// A message of a data channel on its way.
pub enum Message {
    /// As it is.
    Whole(Vec<u8>),
    /// A group frame of this content.
    Groups {
        /// Everything before the groups.
        head: Vec<u8>,
        /// Whose groups.
        content: Content,
        /// Which.
        run: Range<u32>,
    },
}

impl Message {
    /// Takes the bytes out of a group frame if they are those of this content.
    pub fn pack(bytes: Vec<u8>, content: Option<Content>, site: &Site) -> Self {
        let Some(content) = content else {
            return Self::Whole(bytes);
        };
        let packed = match wire::decode(&bytes) {
            Ok(Incoming::Groups(frame)) => {
                let count = frame.groups.len() as u32;
                let run = frame.first..frame.first + count;
                let total: usize = frame.groups.iter().map(|(group, _)| group.len()).sum();
                let resource = site.content(content);
                let held = (run.end <= resource.groups()).then(|| resource.run(run.clone()));
                let plain = frame.groups.iter().all(|(_, deflated)| !deflated);
                let head = bytes.len() - total;
                (plain && held == Some(&bytes[head..])).then(|| Self::Groups {
                    head: bytes[..head].to_vec(),
                    content,
                    run,
                })
            }
            _ => None,
        };
        packed.unwrap_or(Self::Whole(bytes))
    }

    /// As it was sent.
    pub fn unpack(self, site: &Site) -> Vec<u8> {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Groups {
                mut head,
                content,
                run,
            } => {
                head.extend_from_slice(site.content(content).run(run));
                head
            }
        }
    }
}

/// What a message says, if it is a control message.
pub fn control(bytes: &[u8]) -> Option<Control> {
    match wire::decode(bytes) {
        Ok(Incoming::Control(message)) => Some(message),
        _ => None,
    }
}

/// Whether it may be a pull: most messages are none, and need not be read to know it.
pub fn may_be_pull(bytes: &[u8]) -> bool {
    let mut begins = bytes.windows(4).take(8);
    begins.any(|word| word == b"pull")
}

/// How many bytes of groups a message carries.
pub fn content_bytes(bytes: &[u8]) -> u64 {
    if bytes.first() != Some(&wire::GROUPS) {
        return 0;
    }
    match wire::decode(bytes) {
        Ok(Incoming::Groups(frame)) => frame
            .groups
            .iter()
            .map(|(group, _)| group.len() as u64)
            .sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use fugitive_core::deflate::Kept;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::workload::Workload;

    #[test]
    fn frame_arrives_as_it_was_sent_whether_right_or_wrong() {
        let workload = Workload::load("shop").unwrap();
        let site = Site::new(&workload.site, &mut ChaCha8Rng::seed_from_u64(1));
        let resource = site.content(70);
        let kept = Kept {
            bytes: resource.run(0..1).to_vec(),
            deflated: false,
        };
        let proof = resource.outboard().proof(0..1);
        let right = wire::encode_frame(7, 0, &[kept], &proof);
        let packed = Message::pack(right.clone(), Some(70), &site);
        assert!(matches!(packed, Message::Groups { .. }));
        assert_eq!(packed.unpack(&site), right);
        let mut wrong = right.clone();
        *wrong.last_mut().unwrap() ^= 1;
        let packed = Message::pack(wrong.clone(), Some(70), &site);
        assert!(matches!(packed, Message::Whole(_)));
        assert_eq!(packed.unpack(&site), wrong);
    }
}
