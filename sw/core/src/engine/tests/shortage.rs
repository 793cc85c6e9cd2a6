//! A page of which nobody here holds something: more peers of it are asked for.

use super::*;

/// Visitor 0 is on a page that needs ten images, and has eight peers of which `holders` hold them.
fn page(holders: Range<usize>) -> (Swarm, Vec<Vec<u8>>) {
    let mut swarm = Swarm::apart(30);
    swarm.dials = true;
    let images: Vec<_> = (0..10).map(|n| noise(20_000, n)).collect();
    for who in holders {
        for bytes in &images {
            swarm.give(who, bytes);
        }
    }
    let ids: Vec<_> = images.iter().map(|bytes| ContentId::of(bytes)).collect();
    swarm.on_page(1, &[0], &ids);
    let peers = (1..9).map(name).collect();
    swarm.input(0, Input::Offered { peers });
    (swarm, images)
}

/// When; a single one is to take the place of one that goes now and then.
fn asked(swarm: &Swarm) -> Vec<u64> {
    let more = swarm.visitors[0].more.iter().filter(|(_, want)| *want > 1);
    more.map(|(at, _)| *at).collect()
}

#[test]
fn page_that_somebody_holds_asks_for_nobody_more() {
    let (mut swarm, _) = page(3..4);
    swarm.run(30_000);
    assert!(asked(&swarm).is_empty());
}

#[test]
fn page_that_nobody_holds_asks_for_more_ever_less_often_and_takes_them_beyond_the_target() {
    let (mut swarm, images) = page(20..21);
    swarm.run(2_000);
    assert_eq!(asked(&swarm).len(), 1);
    let peers = (18..22).map(name).collect();
    swarm.input(0, Input::Offered { peers });
    swarm.run(1_000);
    assert_eq!(swarm.visitors[0].open, 12);
    let id = ContentId::of(&images[0]);
    swarm.want(0, 1, id, 20_000, 0..20_000);
    swarm.run(200);
    assert!(swarm.got_all(0, 1, &images[0]));
    // What it lacks is held by somebody now.
    let before = asked(&swarm);
    swarm.run(60_000);
    assert_eq!(asked(&swarm), before);

    let (mut swarm, _) = page(0..0);
    swarm.run(600_000);
    let waits: Vec<_> = asked(&swarm)
        .windows(2)
        .map(|two| two[1] - two[0])
        .collect();
    assert!(waits.is_sorted() && waits[0] >= 2_000, "{waits:?}");
    assert!(waits.len() < 20, "{waits:?}");
}

#[test]
fn who_met_a_liar_asks_for_twice_as_many() {
    let most = |swarm: &Swarm| swarm.visitors[0].more.iter().map(|(_, want)| *want).max();
    let (mut swarm, _) = page(20..21);
    swarm.run(2_000);
    assert_eq!(most(&swarm), Some(4));
    let (mut swarm, _) = page(20..21);
    swarm.run(300);
    swarm.input(0, Input::Unreadable { peer: name(8) });
    swarm.run(2_000);
    assert_eq!(most(&swarm), Some(7), "all for which there is room");
}

#[test]
fn where_one_has_lied_those_who_never_sent_anything_are_not_relied_on() {
    let (mut swarm, images) = page(3..5);
    swarm.run(300);
    swarm.input(0, Input::Unreadable { peer: name(8) });
    swarm.run(2_000);
    assert_eq!(asked(&swarm).len(), 1);
    // One of them has by now.
    let id = ContentId::of(&images[0]);
    swarm.want(0, 1, id, 20_000, 0..20_000);
    swarm.run(200);
    assert!(swarm.got_all(0, 1, &images[0]));
    swarm.run(60_000);
    assert_eq!(asked(&swarm).len(), 1);
}

#[test]
fn page_that_is_turned_to_asks_for_who_is_there_before_it_knows_what_its_peers_hold() {
    let (mut swarm, _) = page(1..9);
    swarm.run(10_000);
    assert!(asked(&swarm).is_empty());
    let other = noise(20_000, 99);
    let id = swarm.give(3, &other);
    let turned = swarm.now;
    swarm.on_page(2, &[0], &[id]);
    swarm.run(1_000);
    let asked = asked(&swarm);
    assert!(asked.len() == 1 && asked[0] <= turned + 200, "{asked:?}");
}

#[test]
fn who_is_on_a_page_to_come_is_met_before_it_is_turned_to() {
    let (mut swarm, images) = page(1..9);
    swarm.run(10_000);
    swarm.input(0, Input::Turns { page: 1 });
    assert!(asked(&swarm).is_empty(), "that is where it is");
    let pressed = swarm.now;
    swarm.input(0, Input::Turns { page: 2 });
    swarm.run(100);
    swarm.input(0, Input::Turns { page: 2 });
    swarm.input(0, Input::Turns { page: 3 });
    assert_eq!(asked(&swarm), [pressed]);
    assert_eq!(swarm.visitors[0].to_come, 1);
    // They are taken beyond the target, and what this page still asks for comes as before.
    let peers = (18..22).map(name).collect();
    swarm.input(0, Input::Offered { peers });
    swarm.run(400);
    assert_eq!(swarm.visitors[0].open, 12);
    swarm.want(0, 1, ContentId::of(&images[0]), 20_000, 0..20_000);
    swarm.run(300);
    assert!(swarm.got_all(0, 1, &images[0]));
    let other = noise(20_000, 99);
    let id = swarm.give(19, &other);
    swarm.on_page(2, &[0], &[id]);
    swarm.want(0, 2, id, 20_000, 0..20_000);
    swarm.run(1_000);
    assert!(swarm.got_all(0, 2, &other));
    swarm.run(10_000);
    assert_eq!(asked(&swarm), [pressed], "they were asked for already");
}

#[test]
fn page_that_was_to_come_and_of_which_nobody_came_asks_for_more_in_time() {
    let (mut swarm, _) = page(1..9);
    swarm.run(10_000);
    let pressed = swarm.now;
    swarm.input(0, Input::Turns { page: 2 });
    swarm.run(500);
    swarm.on_page(2, &[0], &[ContentId::of(&noise(20_000, 99))]);
    swarm.run(2_000);
    let asked = asked(&swarm);
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[1] >= pressed + 2_000, "{asked:?}");
    assert_eq!(swarm.visitors[0].to_come, 1);
}

#[test]
fn where_there_is_no_room_who_holds_nothing_of_the_page_makes_some() {
    let (mut swarm, images) = page(1..2);
    swarm.run(1_000);
    for who in 9..17 {
        swarm.connect(who, 0);
    }
    assert_eq!(swarm.visitors[0].open, 16);
    // One more image, which only a stranger holds.
    let bytes = noise(20_000, 99);
    let id = swarm.give(25, &bytes);
    swarm.on_page(1, &[0], &[id]);
    swarm.run(8_000);
    assert!(!swarm.visitors[0].more.is_empty());
    let peers = (24..26).map(name).collect();
    swarm.input(0, Input::Offered { peers });
    swarm.run(1_000);
    swarm.want(0, 1, id, 20_000, 0..20_000);
    swarm.run(500);
    assert!(swarm.got_all(0, 1, &bytes));
    // Who holds what the page needs was not the one to go.
    swarm.want(0, 2, ContentId::of(&images[0]), 20_000, 0..20_000);
    swarm.run(500);
    assert!(swarm.got_all(0, 2, &images[0]));
    assert!(swarm.visitors[0].open <= 16);
}

#[test]
fn on_another_page_what_the_last_one_asked_for_is_not_told() {
    let mut swarm = Swarm::new(2);
    let bytes = noise(20_000, 1);
    let id = swarm.give(0, &bytes);
    swarm.on_page(1, &[0], &[id]);
    swarm.run(500);
    swarm.on_page(2, &[0, 1], &[]);
    swarm.run(1_000);
    // Visitor 1 has the filter of page 2, which says nothing of the image: it has to ask.
    assert_eq!(swarm.said(0, "filter"), 1);
    swarm.want(1, 1, id, 20_000, 0..20_000);
    swarm.run(300);
    assert!(swarm.got_all(1, 1, &bytes));
    assert_eq!(swarm.said(1, "ask"), 1);
}

#[test]
fn where_all_peers_are_behind_in_a_film_somebody_is_looked_for_who_is_not() {
    let mut swarm = Swarm::with(2, |_| Config {
        target_peers: 1,
        ..Config::default()
    });
    swarm.connect(0, 1);
    let film = noise(8_000_000, 1);
    let id = ContentId::of(&film);
    swarm.visitors[1].store.insert(id, film.clone());
    swarm.given.insert(id, film.clone());
    let (len, groups) = (8_000_000, vec![(0, 64)]);
    swarm.input(1, Input::Stored { id, len, groups });
    swarm.on_page(1, &[0, 1], &[id]);
    swarm.run(1_000);
    swarm.want(0, 1, id, len, 0..1_000_000);
    swarm.run(3_000);
    assert!(swarm.got_all(0, 1, &film[..1_000_000]));
    let before = asked(&swarm).len();
    swarm.run(10_000);
    assert_eq!(asked(&swarm).len(), before);
    let ahead = 4_000_000..5_000_000;
    swarm.want(0, 2, id, len, ahead);
    swarm.run(1_000);
    assert_eq!(swarm.got(0, 2).1, Some(Err(FailReason::NobodyHas)));
    assert_eq!(asked(&swarm).len(), before + 1);
}

#[test]
fn who_was_behind_in_a_film_is_asked_again_when_the_next_part_is_wanted() {
    let mut swarm = Swarm::new(2);
    let film = noise(8_000_000, 1);
    let id = ContentId::of(&film);
    swarm.visitors[1].store.insert(id, film.clone());
    swarm.given.insert(id, film.clone());
    let len = 8_000_000;
    let groups = vec![(0, 64)];
    swarm.input(1, Input::Stored { id, len, groups });
    swarm.want(0, 1, id, len, 0..1_000_000);
    swarm.run(3_000);
    assert!(swarm.got_all(0, 1, &film[..1_000_000]));
    // It plays on while we wait for nothing.
    let groups = vec![(0, 200)];
    swarm.input(1, Input::Stored { id, len, groups });
    swarm.run(1_000);
    swarm.want(0, 2, id, len, 2_000_000..3_000_000);
    swarm.run(3_000);
    assert!(swarm.got_all(0, 2, &film[2_000_000..3_000_000]));
}
