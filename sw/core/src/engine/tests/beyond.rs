//! Peers of peers: found, passed on, introduced.

use super::*;

/// Visitors in a row: each knows the next.
fn row(count: usize) -> Swarm {
    let mut swarm = Swarm::apart(count);
    for who in 1..count {
        swarm.connect(who - 1, who);
    }
    swarm.run(100);
    swarm
}

#[test]
fn small_thing_that_a_peer_of_a_peer_holds_is_passed_on() {
    let mut swarm = row(3);
    let bytes = noise(100_000, 1);
    let id = swarm.give(2, &bytes);
    swarm.want(0, 1, id, 100_000, 0..100_000);
    swarm.run(1_000);
    assert!(swarm.got_all(0, 1, &bytes));
    assert!(swarm.visitors[0].tiers.iter().all(|tier| *tier == 2));
    assert_eq!(swarm.visitors[1].engine.totals().relayed, 7 * GROUP);
    let engine = &swarm.visitors[1].engine;
    assert!(engine.wants.is_empty() && engine.errands.is_empty());
}

#[test]
fn lie_is_found_out_at_the_first_hop() {
    let mut swarm = row(3);
    let bytes = noise(100_000, 1);
    let id = swarm.give(2, &bytes);
    swarm.visitors[2].meddle = Some(transfers::lie);
    swarm.want(0, 1, id, 100_000, 0..100_000);
    swarm.run(2_000);
    assert!(swarm.got(0, 1).0.is_empty());
    assert!(
        swarm.visitors[0].dropped.is_empty(),
        "who passes on did not lie"
    );
    assert_eq!(swarm.visitors[1].dropped, [(name(2), DropReason::Lied)]);
}

#[test]
fn relay_that_lies_is_found_out_at_the_second_hop() {
    let mut swarm = row(3);
    let bytes = noise(100_000, 1);
    let id = swarm.give(2, &bytes);
    swarm.visitors[1].meddle = Some(transfers::lie);
    swarm.want(0, 1, id, 100_000, 0..100_000);
    swarm.run(2_000);
    assert!(swarm.got(0, 1).0.is_empty());
    assert_eq!(swarm.visitors[0].dropped, [(name(1), DropReason::Lied)]);
}

#[test]
fn large_thing_leads_to_an_introduction_without_the_server() {
    let mut swarm = row(3);
    let bytes = noise(3_000_000, 1);
    let id = swarm.give(2, &bytes);
    swarm.input(0, Input::ServerLost);
    swarm.want(0, 1, id, 3_000_000, 0..3_000_000);
    swarm.run(3_000);
    assert!(swarm.got_all(0, 1, &bytes));
    assert!(swarm.visitors[0].tiers.iter().all(|tier| *tier == 1));
    let (_, peer, via) = &swarm.visitors[0].dialled[0];
    assert_eq!((peer, via.as_ref()), (&name(2), Some(&name(1))));
    for who in 0..3 {
        assert!(swarm.visitors[who].signals.is_empty());
    }
    assert_eq!(swarm.visitors[1].engine.totals().relayed, 0);
}

#[test]
fn search_goes_one_step_further_and_not_in_circles() {
    let mut swarm = Swarm::new(8);
    let id = ContentId::of(b"nowhere");
    let asked = |swarm: &Swarm| -> usize { (0..8).map(|who| swarm.said(who, "ask")).sum() };
    swarm.want(0, 1, id, 7, 0..7);
    swarm.run(3_000);
    assert_eq!(swarm.got(0, 1).1, Some(Err(FailReason::NobodyHas)));
    // Ours, and at most three each by the two that search.
    assert!(asked(&swarm) <= 7 + 2 * 3, "{}", asked(&swarm));
    let seeks: usize = (0..8).map(|who| swarm.said(who, "seek")).sum();
    assert_eq!(seeks, 2);
    // What was sought in vain is not sought again at once.
    swarm.run(3_000);
    swarm.want(0, 2, id, 7, 0..7);
    swarm.run(3_000);
    let again: usize = (0..8).map(|who| swarm.said(who, "seek")).sum();
    assert_eq!(again, 2);
    // And in a row of four nobody is found three steps away.
    let mut swarm = row(4);
    let id = swarm.give(3, b"far");
    swarm.want(0, 1, id, 3, 0..3);
    swarm.run(3_000);
    assert_eq!(swarm.got(0, 1).1, Some(Err(FailReason::NobodyHas)));
}

#[test]
fn searches_for_one_peer_are_limited() {
    let mut swarm = row(3);
    for ask in 0..100 {
        let id = ContentId::of(&[ask as u8]);
        let seek = Message::Seek {
            ask,
            id,
            len: 7,
            group: None,
        };
        swarm.says(0, 1, &seek);
    }
    assert_eq!(swarm.said(1, "ask"), 8);
    swarm.run(3_000);
    assert!(swarm.visitors[1].engine.errands.is_empty());
    assert_eq!(swarm.said(1, "lack"), 100);
}

#[test]
fn search_that_would_come_too_late_is_not_made() {
    let mut swarm = row(3);
    let bytes = noise(20_000, 1);
    let id = swarm.give(2, &bytes);
    let (first_byte, rate) = (40, 10_000_000);
    swarm.input(0, Input::Origin { first_byte, rate });
    swarm.want(0, 1, id, 20_000, 0..20_000);
    swarm.run(40);
    assert!(matches!(swarm.got(0, 1).1, Some(Err(_))));
    assert_eq!(swarm.said(0, "seek"), 0);
}

#[test]
fn introductions_fill_the_target_when_the_server_is_away() {
    let mut swarm = Swarm::apart(6);
    for who in 2..6 {
        swarm.connect(1, who);
    }
    swarm.connect(0, 1);
    swarm.input(0, Input::ServerLost);
    swarm.run(60_000);
    assert_eq!(swarm.visitors[0].open, 5);
    assert!(swarm.visitors[0].signals.is_empty());
    let dialled = &swarm.visitors[0].dialled;
    assert!(dialled.iter().all(|(_, _, via)| *via == Some(name(1))));
}

#[test]
fn signals_are_relayed_between_our_own_peers_only_and_not_without_end() {
    let mut swarm = row(3);
    let message = |to: &str, len| Message::Signal {
        to: to.into(),
        signal: vec![0; len],
    };
    swarm.says(0, 1, &message("2", 100));
    assert_eq!(swarm.said(1, "signalled"), 1);
    swarm.says(0, 1, &message("0", 100));
    swarm.says(0, 1, &message("5", 100));
    swarm.says(0, 1, &message("2", 13_000));
    assert_eq!(swarm.said(1, "signalled"), 1);
    for _ in 0..200 {
        swarm.says(0, 1, &message("2", 100));
    }
    assert!(swarm.said(1, "signalled") <= 64);
}

#[test]
fn peer_that_goes_in_the_middle_of_passing_on_costs_the_want_and_nothing_stays() {
    let mut swarm = row(3);
    let bytes = noise(100_000, 1);
    let id = swarm.give(2, &bytes);
    swarm.visitors[2].up = 50;
    swarm.want(0, 1, id, 100_000, 0..100_000);
    swarm.run(120);
    assert!(!swarm.visitors[1].engine.wants.is_empty());
    swarm.close(0, 1);
    swarm.run(3_000);
    assert!(matches!(swarm.got(0, 1).1, Some(Err(_))));
    let engine = &swarm.visitors[1].engine;
    assert!(engine.wants.is_empty() && engine.errands.is_empty());
    assert!(engine.peers.iter().all(|peer| peer.pulls.is_empty()));
}
