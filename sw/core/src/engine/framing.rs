//! Frames: what was read goes to a peer, with what proves it.

use super::{Engine, Output, PeerId, Read, serving::LOW_WATER};
use crate::{
    content::group_bytes,
    wire::{self, FRAME_GROUPS},
};

/// What a connection has carried before it carries much at once, in bytes.
const NEW_WAY: u64 = 256 << 10;

impl Engine {
    pub(super) fn send_frames(
        &mut self,
        to: &PeerId,
        pull: u32,
        mut first: u32,
        read: &Read,
        is_small: bool,
    ) {
        // A new connection carries little at once: of what is small the first group goes on its own, to be
        // verified and used while the others are on their way.
        let peer = self.peers.iter().find(|peer| peer.id == *to);
        let is_new = is_small && peer.is_some_and(|peer| peer.pulse.gave < NEW_WAY);
        let (head, rest) = read
            .groups
            .split_at(usize::from(is_new && !read.groups.is_empty()));
        for groups in head.chunks(1).chain(rest.chunks(FRAME_GROUPS as usize)) {
            let end = first + groups.len() as u32;
            let proof = read.outboard.proof(first..end);
            let bytes = wire::encode_frame(pull, first, groups, &proof);
            let content = group_bytes(first..end, u64::MAX);
            let content = content.end - content.start;
            self.totals.sent += content;
            let now = self.now;
            if let Some(peer) = self.peer(to) {
                peer.pulse.gave += content;
                if peer.serving.buffered <= LOW_WATER {
                    peer.serving.moved_at = now;
                }
                peer.serving.buffered += bytes.len() as u64;
            }
            self.out.push_back(Output::Send {
                peer: to.clone(),
                bytes,
            });
            first = end;
        }
    }
}
