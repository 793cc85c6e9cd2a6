//! A part of a film that no peer of ours has, and one of theirs does.

use super::*;

/// Bytes of a film, and groups of it.
const LEN: u64 = 40_000_000;
const HALF: u32 = 1_200;

/// Three, of whom the one in the middle knows the others; nobody looks for more.
fn row() -> Swarm {
    let mut swarm = Swarm::with(3, |_| Config {
        target_peers: 1,
        ..Config::default()
    });
    swarm.dials = true;
    swarm.connect(0, 1);
    swarm.connect(1, 2);
    swarm
}

/// A film of which these visitors hold the groups up to here; all are on its page.
fn film(swarm: &mut Swarm, held: &[(usize, u32)]) -> (Vec<u8>, ContentId) {
    let film = noise(LEN as usize, 1);
    let id = ContentId::of(&film);
    swarm.given.insert(id, film.clone());
    for (who, end) in held {
        swarm.visitors[*who].store.insert(id, film.clone());
        let groups = vec![(0, *end)];
        let input = Input::Stored {
            id,
            len: LEN,
            groups,
        };
        swarm.input(*who, input);
    }
    (film, id)
}

/// Plays four groups from here on, and the network is slow to help.
fn play(swarm: &mut Swarm, who: usize, want: WantId, id: ContentId, group: u32) {
    let start = u64::from(group) * GROUP;
    let bytes = start..start + 4 * GROUP;
    let credit = bytes.end;
    swarm.play(who, want, (id, LEN), bytes, credit, 20_000);
}

#[test]
fn who_has_the_next_part_is_met_by_way_of_a_peer_who_has_only_what_came_before() {
    let mut swarm = row();
    let (film, id) = film(&mut swarm, &[(0, HALF), (1, HALF), (2, group_count(LEN))]);
    swarm.run(500);
    play(&mut swarm, 0, 1, id, HALF);
    swarm.run(8_000);
    let (_, peer, via) = &swarm.visitors[0].dialled[0];
    assert_eq!((peer, via.as_ref()), (&name(2), Some(&name(1))));
    let start = u64::from(HALF) as usize * GROUP as usize;
    let part = &film[start..start + 4 * GROUP as usize];
    assert!(swarm.got_all(0, 1, part));
}

#[test]
fn nobody_is_met_who_does_not_have_the_part() {
    let mut swarm = row();
    let (_, id) = film(&mut swarm, &[(0, HALF), (1, HALF), (2, HALF)]);
    swarm.run(500);
    for want in 0..20 {
        play(&mut swarm, 0, want, id, HALF + 4 * want);
        swarm.run(500);
    }
    assert!(swarm.visitors[0].dialled.is_empty());
    // It is searched for ever less often.
    let seeks = swarm.said(0, "seek");
    assert!((3..=5).contains(&seeks), "{seeks}");
}
