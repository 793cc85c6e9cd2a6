//! Peers that were dialled and could not be reached: who is introduced by others is not dialled again
//! and again. The signal server remembers such pairs itself; peers do not.

use std::collections::VecDeque;

use super::PeerId;

/// For how long, in milliseconds: a visitor may come home, or the network may be mended.
const REMEMBERED_FOR: u64 = 600_000;
/// The oldest make room.
const MOST: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Unreached(VecDeque<(PeerId, u64)>);

impl Unreached {
    pub(super) fn add(&mut self, id: PeerId, now: u64) {
        self.forget(&id);
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((id, now + REMEMBERED_FOR));
    }

    pub(super) fn has(&mut self, id: &PeerId, now: u64) -> bool {
        self.0.retain(|(_, until)| *until > now);
        self.0.iter().any(|(other, _)| other == id)
    }

    pub(super) fn forget(&mut self, id: &PeerId) {
        self.0.retain(|(other, _)| other != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_for_a_while() {
        let mut unreached = Unreached::default();
        let name = |n: u64| PeerId::from(&*n.to_string());
        for n in 0..200 {
            unreached.add(name(n), n);
            unreached.add(name(n), n);
        }
        assert_eq!(unreached.0.len(), MOST);
        assert!(!unreached.has(&name(100), 200) && unreached.has(&name(199), 200));
        unreached.forget(&name(199));
        assert!(!unreached.has(&name(199), 200) && unreached.has(&name(198), 200));
        assert!(!unreached.has(&name(198), 198 + REMEMBERED_FOR));
        assert!(unreached.0.is_empty());
    }
}
