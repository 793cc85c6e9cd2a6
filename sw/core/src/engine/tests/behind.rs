//! Peers who are behind the network with something large: it fetches the next bytes, they what follows.

use super::*;

const LEN: u64 = 4_000_000;

/// As a driver says it: with a credit, and patience.
fn wants(swarm: &mut Swarm, id: ContentId, credit: u64, patience: u32) {
    swarm.visitors[1].got.insert(1, (0, Vec::new(), None));
    let input = Input::Want {
        want: 1,
        id,
        len: LEN,
        bytes: 0..LEN,
        credit,
        patience,
        plays: false,
    };
    swarm.input(1, input);
}

/// What of it came from peers.
fn from_peers(swarm: &Swarm, who: usize) -> u64 {
    swarm.visitors[who].engine.totals().received
}

#[test]
fn network_has_the_first_bytes_where_nobody_proved_himself_and_peers_go_on_behind_them() {
    let (mut swarm, film, id) = Swarm::film(LEN, 5_000);
    swarm.want(1, 1, id, LEN, 0..LEN);
    swarm.run(5);
    let began = swarm.now - 5;
    let heads = &swarm.visitors[1].behind;
    assert!(heads.len() == 1 && heads[0].0 == began, "{heads:?}");
    assert_eq!(heads[0].2, BLOCK);
    swarm.run(3_000);
    assert!(swarm.got_all(1, 1, &film));
    // Nothing came twice, and nothing was pulled that the network had.
    assert_eq!(from_peers(&swarm, 1), LEN - BLOCK);
    assert_eq!(swarm.visitors[1].engine.totals().wasted, 0);
    assert_eq!(swarm.visitors[1].behind.len(), 1);

    // Who proved himself has the next ones, too.
    let other = noise(LEN as usize, 2);
    let id = swarm.give(0, &other);
    swarm.on_page(1, &[0, 1], &[id]);
    swarm.run(1_000);
    swarm.want(1, 2, id, LEN, 0..LEN);
    swarm.run(3_000);
    assert!(swarm.got_all(1, 2, &other));
    assert_eq!(swarm.visitors[1].behind.len(), 1);
}

#[test]
fn slow_peers_and_the_network_fill_different_ranges_and_the_page_is_hardly_later() {
    let (mut swarm, film, id) = Swarm::film(LEN, 300);
    let began = swarm.now;
    swarm.want(1, 1, id, LEN, 0..LEN);
    while !swarm.got_all(1, 1, &film) {
        swarm.run(10);
        assert!(swarm.now < began + 10_000);
    }
    // In this harness the network delivers at once, so that the peer's part is what takes its time.
    let network = swarm.visitors[1].behind.len();
    assert!(network > 1);
    let peers = from_peers(&swarm, 1);
    assert!(peers > 0 && peers < LEN / 2, "{peers}");
    let wasted = swarm.visitors[1].engine.totals().wasted;
    assert!(wasted < LEN / 8, "{wasted}");
    let alone = 200 + LEN / 5_000;
    assert!(
        swarm.now - began < alone + 400 + 500,
        "{}",
        swarm.now - began
    );
}

#[test]
fn network_fetches_ever_more_of_what_silent_peers_do_not_bring() {
    let (mut swarm, film, id) = Swarm::film(LEN, 0);
    swarm.silent.push(0);
    swarm.want(1, 1, id, LEN, 0..LEN);
    swarm.run(5_000);
    let mut at = 0;
    let heads = swarm.visitors[1].behind.iter();
    let heads: Vec<_> = heads
        .map(|(.., to)| *to - std::mem::replace(&mut at, *to))
        .collect();
    let doubled = heads.windows(2).all(|two| two[1] >= two[0].min(LEN - at));
    assert!(doubled && heads.len() <= 6, "{heads:?}");
    assert!(film.starts_with(swarm.got(1, 1).0));
}

#[test]
fn page_that_plays_and_has_some_unread_is_not_waiting() {
    let (mut swarm, film, id) = Swarm::film(LEN, 1_000);
    let ahead = crate::port::AHEAD;
    wants(&mut swarm, id, ahead, 0);
    // It reads a third of what its peer could send.
    for tenth in 1..130 {
        swarm.run(100);
        let to = tenth * 33_000 + ahead;
        swarm.input(1, Input::Credit { want: 1, to });
    }
    assert!(swarm.got_all(1, 1, &film));
    assert_eq!(swarm.visitors[1].behind.len(), 1, "only at the start");
}

#[test]
fn where_the_network_does_not_answer_peers_bring_what_they_have() {
    let (mut swarm, film, id) = Swarm::film(LEN, 300);
    wants(&mut swarm, id, LEN, u32::MAX);
    swarm.run(20_000);
    assert!(swarm.got_all(1, 1, &film));
    assert!(swarm.visitors[1].behind.is_empty());
}

#[test]
fn site_that_spares_its_origin_waits_as_long_as_it_says() {
    for (up, is_asked) in [(3_000, false), (300, true)] {
        let (mut swarm, film, id) = Swarm::film(LEN, up);
        let began = swarm.now;
        wants(&mut swarm, id, LEN, 800);
        swarm.run(20_000);
        assert!(swarm.got_all(1, 1, &film));
        let heads = &swarm.visitors[1].behind;
        assert_eq!(heads.is_empty(), !is_asked, "{heads:?}");
        assert!(heads.iter().all(|(at, ..)| *at >= began + 800), "{heads:?}");
    }
}

#[test]
fn of_something_small_the_network_fetches_all_or_nothing() {
    let (mut swarm, ..) = Swarm::film(LEN, 50);
    let small = noise(500_000, 2);
    let id = swarm.give(0, &small);
    swarm.want(1, 1, id, 500_000, 0..500_000);
    swarm.run(20_000);
    assert!(swarm.visitors[1].behind.is_empty());
}

#[test]
fn slow_peer_is_left_in_peace_while_the_page_has_what_it_reads() {
    let mut swarm = Swarm::new(3);
    swarm.visitors[0].up = 100;
    swarm.visitors[2].up = 1_000;
    let film = noise(LEN as usize, 1);
    let id = swarm.give(2, &film);
    swarm.on_page(1, &[0, 1, 2], &[id]);
    swarm.run(1_000);
    // It reads nothing as yet, and the slow one comes when a part of what it may is there.
    let ahead = crate::port::AHEAD;
    wants(&mut swarm, id, ahead, u32::MAX);
    swarm.run(400);
    swarm.give(0, &film);
    swarm.run(12_000);
    assert_eq!(swarm.got(1, 1).0.len() as u64, ahead);
    let totals = |who: usize| swarm.visitors[who].engine.totals();
    assert!(totals(0).sent > 0);
    assert_eq!(totals(1).wasted, 0);
    assert_eq!(totals(0).sent + totals(2).sent, ahead);
}
