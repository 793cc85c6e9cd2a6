//! What is fetched ahead of something large: its beginning, which the page has when it wants the rest.

use super::*;
use crate::port::AHEAD;

const LEN: u64 = 8_000_000;
const BEGINNING: u64 = 1 << 20;
const SLOW: Input = Input::Origin {
    first_byte: 200,
    rate: 1_000_000,
};

/// Visitor 1 plays it from here, up to there.
fn play(swarm: &mut Swarm, want: WantId, id: ContentId, bytes: Range<u64>) {
    let credit = bytes.start + AHEAD;
    swarm.play(1, want, (id, LEN), bytes, credit, 0);
}

/// That it was sent once, up to a group.
fn came_once(swarm: &Swarm, bytes: u64) {
    let sent = swarm.visitors[0].engine.totals().sent;
    assert!(sent < bytes + GROUP, "{sent}");
    assert_eq!(swarm.visitors[1].engine.totals().wasted, 0);
}

#[test]
fn beginning_of_a_film_is_fetched_and_no_more() {
    let (mut swarm, film, id) = Swarm::film(LEN, 2_000);
    swarm.fetch_ahead(1, 1, id, LEN, 0..BEGINNING);
    swarm.run(3_000);
    assert!(swarm.got_all(1, 1, &film[..BEGINNING as usize]));
    came_once(&swarm, BEGINNING);
    // What is held of it is not asked for.
    swarm.fetch_ahead(1, 2, id, LEN, BEGINNING..2 * BEGINNING);
    swarm.run(3_000);
    assert!(swarm.got_all(1, 2, &film[BEGINNING as usize..2 * BEGINNING as usize]));
    came_once(&swarm, 2 * BEGINNING);
}

#[test]
fn who_has_the_beginning_reads_on_and_the_network_is_not_asked() {
    let plays = |has_beginning: bool| {
        let (mut swarm, film, id) = Swarm::film(LEN, 2_000);
        if has_beginning {
            swarm.fetch_ahead(1, 1, id, LEN, 0..BEGINNING);
            swarm.run(3_000);
        }
        // Who sends has become too slow to be as quick as the network with the first bytes.
        swarm.visitors[0].up = 500;
        play(&mut swarm, 2, id, BEGINNING..2 * BEGINNING);
        swarm.run(8_000);
        let all = &film[BEGINNING as usize..2 * BEGINNING as usize];
        assert!(swarm.got_all(1, 2, all));
        let behind = &swarm.visitors[1].behind;
        behind.first().map(|(at, ..)| *at)
    };
    assert!(plays(false).is_some());
    assert_eq!(plays(true), None);
}

#[test]
fn who_seeks_behind_the_beginning_does_not_read_on() {
    let (mut swarm, _, id) = Swarm::film(LEN, 2_000);
    swarm.fetch_ahead(1, 1, id, LEN, 0..BEGINNING);
    swarm.run(3_000);
    play(&mut swarm, 2, id, 3 * BEGINNING..4 * BEGINNING);
    let reads_on = |swarm: &Swarm| swarm.visitors[1].engine.wants[0].reads_on;
    assert!(!reads_on(&swarm));
    swarm.input(1, Input::Cancel { want: 2 });
    swarm.fetch_ahead(1, 3, id, LEN, BEGINNING - GROUP..BEGINNING);
    swarm.run(1_000);
    play(&mut swarm, 4, id, BEGINNING..2 * BEGINNING);
    assert!(reads_on(&swarm));
}

#[test]
fn what_came_ahead_of_a_film_is_the_pages_when_it_is_wanted_and_nothing_comes_twice() {
    let (mut swarm, film, id) = Swarm::film(LEN, 500);
    swarm.fetch_ahead(1, 1, id, LEN, 0..BEGINNING);
    swarm.run(1_200);
    let received = swarm.visitors[1].engine.totals().received;
    assert!((GROUP..BEGINNING).contains(&received), "{received}");
    assert!(swarm.got(1, 1).0.is_empty(), "it is kept until it is there");
    // Now it sends more quickly than the network would.
    swarm.visitors[0].up = 2_000;
    swarm.input(1, SLOW);
    swarm.want(1, 2, id, LEN, 0..2 * BEGINNING);
    assert_eq!(swarm.got(1, 1).1, Some(Err(FailReason::Wanted)));
    assert_eq!(
        swarm.got(1, 2).0.len() as u64,
        received,
        "all of it at once"
    );
    swarm.run(10_000);
    let behind: Vec<_> = swarm.visitors[1].behind.clone();
    assert!(swarm.got_all(1, 2, &film[..2 * BEGINNING as usize]));
    // What the network was to fetch peers did not send.
    let received = swarm.visitors[1].engine.totals().received;
    assert!(
        behind.is_empty() && received == 2 * BEGINNING,
        "{received} {behind:?}"
    );
    came_once(&swarm, 2 * BEGINNING);
}

#[test]
fn of_what_is_fetched_ahead_only_what_the_page_wants_goes_on() {
    let (mut swarm, film, id) = Swarm::film(LEN, 500);
    swarm.fetch_ahead(1, 1, id, LEN, 0..BEGINNING);
    swarm.run(700);
    // It holds the first half already, and a bit; the other half was not sent yet.
    let start = BEGINNING / 2 + 5;
    swarm.want(1, 2, id, LEN, start..BEGINNING);
    assert_eq!(swarm.got(1, 1).1, Some(Err(FailReason::Wanted)));
    swarm.run(5_000);
    assert!(swarm.got_all(1, 2, &film[start as usize..BEGINNING as usize]));
    let sent = swarm.visitors[0].engine.totals().sent;
    assert!(sent <= BEGINNING, "{sent}");
    let engine = &swarm.visitors[1].engine;
    assert!(engine.wants.is_empty() && engine.peers[0].pulls.is_empty());
}

#[test]
fn what_is_fetched_ahead_stays_when_the_page_wants_another_part() {
    let (mut swarm, film, id) = Swarm::film(LEN, 2_000);
    swarm.fetch_ahead(1, 1, id, LEN, 0..BEGINNING);
    swarm.run(100);
    swarm.want(1, 2, id, LEN, 4 * BEGINNING..5 * BEGINNING);
    swarm.run(5_000);
    let part = &film[4 * BEGINNING as usize..5 * BEGINNING as usize];
    assert!(swarm.got_all(1, 2, part) && swarm.got_all(1, 1, &film[..BEGINNING as usize]));
}

#[test]
fn who_does_not_want_the_beginning_any_more_is_sent_no_more_of_it() {
    let (mut swarm, _, id) = Swarm::film(LEN, 500);
    swarm.fetch_ahead(1, 1, id, LEN, 0..BEGINNING);
    swarm.run(500);
    swarm.input(1, Input::Cancel { want: 1 });
    swarm.run(1_000);
    let sent = swarm.visitors[0].engine.totals().sent;
    assert!(sent < BEGINNING / 2 + 4 * BLOCK, "{sent}");
    let [ours, theirs] = [1, 0].map(|who: usize| &swarm.visitors[who].engine);
    assert!(ours.wants.is_empty() && ours.beginnings.is_empty());
    assert!(ours.peers[0].pulls.is_empty() && theirs.peers[0].serving.is_idle());
}
