//! Who holds what: filters over the page that both are on, and what they give away.

use super::*;

/// The page's images: the first `held` of them are held by visitor 0.
fn page(swarm: &mut Swarm, count: u8, held: u8, who: &[usize]) -> Vec<(ContentId, Vec<u8>)> {
    let images: Vec<_> = (0..count)
        .map(|n| noise(20_000, n))
        .map(|bytes| (ContentId::of(&bytes), bytes))
        .collect();
    for (_, bytes) in &images[..usize::from(held)] {
        swarm.give(0, bytes);
    }
    let ids: Vec<_> = images.iter().map(|(id, _)| *id).collect();
    swarm.on_page(1, who, &ids);
    swarm.run(1_000);
    images
}

#[test]
fn on_the_same_page_holdings_are_known_without_a_question() {
    let mut swarm = Swarm::new(2);
    let images = page(&mut swarm, 40, 20, &[0, 1]);
    for (want, (id, bytes)) in (0..20).zip(&images) {
        swarm.want(1, want, *id, 20_000, 0..20_000);
        swarm.run(100);
        assert!(swarm.got_all(1, want, bytes));
    }
    assert_eq!(swarm.said(1, "ask"), 0);
    assert_eq!(swarm.said(1, "pull"), 20);
}

#[test]
fn how_many_hold_what_we_hold_of_the_page_is_known_from_what_they_say() {
    let mut swarm = Swarm::new(3);
    let near = |swarm: &Swarm, who: usize, most| swarm.visitors[who].engine.near(most);
    let images = page(&mut swarm, 40, 20, &[0, 1, 2]);
    swarm.give(1, &images[0].1);
    swarm.give(1, &images[30].1);
    swarm.give(2, &images[0].1);
    swarm.run(1_000);
    let mut expected = vec![(images[0].0, 2), (images[30].0, 0)];
    expected.sort();
    assert_eq!(near(&swarm, 1, 99), expected);
    let of_first = near(&swarm, 0, 99);
    assert_eq!(of_first.len(), 20);
    for (id, holders) in of_first {
        assert_eq!(holders, if id == images[0].0 { 2 } else { 0 });
    }
    assert_eq!(near(&swarm, 0, 5).len(), 5);
    // Who is gone is not counted, and nothing is known of a page of which nobody has said anything.
    swarm.close(1, 2);
    assert!(near(&swarm, 1, 99).contains(&(images[0].0, 1)));
    swarm.on_page(2, &[1], &[]);
    assert_eq!(near(&swarm, 1, 99), []);
}

#[test]
fn nobody_has_it_costs_no_question_on_the_same_page() {
    let mut swarm = Swarm::new(2);
    let images = page(&mut swarm, 40, 20, &[0, 1]);
    // The origin answers sooner than a search would.
    let (first_byte, rate) = (30, 10_000_000);
    swarm.input(1, Input::Origin { first_byte, rate });
    let before: usize = swarm.visitors[1].said.values().sum();
    let mut false_claims = 0;
    for (want, (id, _)) in (0..20).zip(&images[20..]) {
        swarm.want(1, want, *id, 20_000, 0..20_000);
        match swarm.got(1, want).1 {
            Some(Err(FailReason::NobodyHas)) => {}
            _ => false_claims += 1,
        }
    }
    let after: usize = swarm.visitors[1].said.values().sum();
    assert_eq!((after - before, false_claims), (0, 0));
}

#[test]
fn what_is_stored_later_is_told_by_a_small_change() {
    let mut swarm = Swarm::new(2);
    let images = page(&mut swarm, 40, 20, &[0, 1]);
    let (filters, flips) = (swarm.said(0, "filter"), swarm.said(0, "flips"));
    swarm.give(0, &images[30].1);
    swarm.run(500);
    assert_eq!(swarm.said(0, "filter"), filters);
    assert_eq!(swarm.said(0, "flips"), flips + 1);
    swarm.want(1, 1, images[30].0, 20_000, 0..20_000);
    swarm.run(100);
    assert!(swarm.got_all(1, 1, &images[30].1));
    assert_eq!(swarm.said(1, "ask"), 0);
    // And what is dropped is told as well.
    swarm.input(0, Input::Dropped { id: images[30].0 });
    swarm.run(500);
    assert_eq!(swarm.said(0, "flips"), flips + 2);
}

#[test]
fn on_another_page_a_peer_gets_no_filter_and_has_to_ask() {
    let mut swarm = Swarm::new(2);
    let images = page(&mut swarm, 40, 20, &[0]);
    swarm.on_page(2, &[1], &[]);
    swarm.run(1_000);
    assert_eq!(swarm.said(0, "filter") + swarm.said(1, "filter"), 0);
    swarm.want(1, 1, images[0].0, 20_000, 0..20_000);
    swarm.run(200);
    assert!(swarm.got_all(1, 1, &images[0].1));
    assert_eq!(swarm.said(1, "ask"), 1);
}

#[test]
fn what_a_page_will_need_is_asked_for_at_once_and_before_it_is_wanted() {
    let mut swarm = Swarm::new(2);
    let images = page(&mut swarm, 40, 20, &[0]);
    let ids: Vec<_> = images.iter().map(|(id, _)| *id).collect();
    swarm.on_page(2, &[1], &ids);
    swarm.run(1_000);
    assert_eq!((swarm.said(1, "which"), swarm.said(0, "these")), (1, 1));
    // Once the peer has proved itself it is not raced against the origin.
    swarm.want(1, 99, images[0].0, 20_000, 0..20_000);
    swarm.run(200);
    assert!(swarm.got_all(1, 99, &images[0].1));
    let (first_byte, rate) = (30, 10_000_000);
    swarm.input(1, Input::Origin { first_byte, rate });
    for (want, (id, bytes)) in (0..).zip(&images) {
        swarm.want(1, want, *id, 20_000, 0..20_000);
        swarm.run(50);
        match want {
            0..20 => assert!(swarm.got_all(1, want, bytes)),
            _ => assert_eq!(swarm.got(1, want).1, Some(Err(FailReason::NobodyHas))),
        }
    }
    assert_eq!(swarm.said(1, "ask"), 0);
    assert_eq!(swarm.visitors[1].unsure, [99]);
}

#[test]
fn peer_that_never_sent_anything_races_the_origin_and_only_where_that_is_far() {
    for (first_byte, races) in [(200, true), (30, false)] {
        let mut swarm = Swarm::new(2);
        let images = page(&mut swarm, 4, 4, &[0, 1]);
        let rate = 10_000_000;
        swarm.input(1, Input::Origin { first_byte, rate });
        for (want, (id, bytes)) in (0..2).zip(&images) {
            swarm.want(1, want, *id, 20_000, 0..20_000);
            swarm.run(100);
            if races {
                assert!(swarm.got_all(1, want, bytes));
            } else {
                assert_eq!(swarm.got(1, want).1, Some(Err(FailReason::Slower)));
            }
        }
        // The second want is of one that has sent.
        let raced: &[WantId] = if races { &[0] } else { &[] };
        assert_eq!(swarm.visitors[1].unsure, raced);
    }
}

#[test]
fn who_holds_what_the_page_needs_is_met_through_a_peer() {
    let mut swarm = Swarm::apart(4);
    for (a, b) in [(1, 2), (1, 3), (0, 1)] {
        swarm.connect(a, b);
    }
    let images: Vec<_> = (0..10).map(|n| noise(20_000, n)).collect();
    let ids: Vec<_> = images.iter().map(|bytes| swarm.give(2, bytes)).collect();
    swarm.input(0, Input::ServerLost);
    swarm.on_page(7, &[0], &ids);
    // Before introductions are asked for, for want of peers.
    swarm.run(2_000);
    // Visitor 3, who holds nothing of it, is of no interest.
    let met: Vec<_> = swarm.visitors[0]
        .dialled
        .iter()
        .map(|(_, who, _)| who)
        .collect();
    assert_eq!(met, [&name(2)]);
    assert!(swarm.visitors[0].signals.is_empty());
    swarm.want(0, 1, ids[3], 20_000, 0..20_000);
    swarm.run(100);
    assert!(swarm.got_all(0, 1, &images[3]));
    let tiers = &swarm.visitors[0].tiers;
    assert!(!tiers.is_empty() && tiers.iter().all(|tier| *tier == 1));
    for who in 0..4 {
        assert!(swarm.visitors[who].engine.inquiries.is_empty());
    }
}

#[test]
fn what_a_peer_holds_it_says_before_it_has_asked_its_own() {
    let mut swarm = Swarm::apart(3);
    swarm.connect(0, 1);
    swarm.connect(1, 2);
    let images: Vec<_> = (0..4).map(|n| noise(20_000, n)).collect();
    let ids: Vec<_> = images.iter().map(|bytes| ContentId::of(bytes)).collect();
    swarm.give(1, &images[0]);
    swarm.run(100);
    // Who is asked in turn never answers.
    swarm.silent.push(2);
    swarm.on_page(7, &[0], &ids);
    swarm.run(100);
    assert_eq!(swarm.said(1, "these"), 1);
    swarm.want(0, 1, ids[0], 20_000, 0..20_000);
    swarm.run(100);
    assert!(swarm.got_all(0, 1, &images[0]));
    assert_eq!(swarm.said(0, "ask"), 0);
    // Nor is it told that nobody answered.
    swarm.run(1_000);
    assert_eq!(swarm.said(1, "these"), 1);
    assert!(swarm.visitors[1].engine.inquiries.is_empty());
}

/// A peer that is 30 ms away opens, and at once the page wants what it may hold.
fn opens_and_wants(is_held: bool, first_byte: u32) -> (Swarm, Vec<u8>) {
    let mut swarm = Swarm::apart(2);
    let bytes = noise(20_000, 1);
    let id = ContentId::of(&bytes);
    if is_held {
        swarm.give(1, &bytes);
    }
    swarm.on_page(1, &[0, 1], &[id]);
    let rate = 10_000_000;
    swarm.input(0, Input::Origin { first_byte, rate });
    swarm.delay.extend([((0, 1), 30), ((1, 0), 30)]);
    swarm.run(500);
    swarm.connect(0, 1);
    swarm.want(0, 1, id, 20_000, 0..20_000);
    (swarm, bytes)
}

#[test]
fn while_a_peer_is_about_to_say_what_it_holds_the_network_is_asked_and_the_peer_may_still_win() {
    let (mut swarm, bytes) = opens_and_wants(true, 300);
    // It is too far for a question, and an answer that it gives unasked comes in time.
    assert_eq!((swarm.said(0, "ask"), swarm.got(0, 1).1), (0, None));
    assert_eq!(swarm.visitors[0].unsure, [1]);
    swarm.run(250);
    assert!(swarm.got_all(0, 1, &bytes));
    assert_eq!(swarm.said(0, "ask"), 0);
    // Who lacks it is not waited for any longer than it takes to say so.
    let (mut swarm, _) = opens_and_wants(false, 300);
    assert_eq!(swarm.got(0, 1).1, None);
    swarm.run(2_000);
    assert_eq!(swarm.got(0, 1).1, Some(Err(FailReason::NobodyHas)));
    // Where the network is too near for that nobody is.
    let (mut swarm, _) = opens_and_wants(true, 60);
    assert!(matches!(swarm.got(0, 1).1, Some(Err(_))));
    swarm.run(2_000);
    assert_eq!(swarm.said(0, "pull"), 0);
}

#[test]
fn question_of_too_many_is_not_answered() {
    let mut swarm = Swarm::new(2);
    let ids = vec![0; 8 * 129];
    let deep = true;
    swarm.says(1, 0, &Message::Which { ask: 1, ids, deep });
    assert_eq!((swarm.said(0, "busy"), swarm.said(0, "these")), (1, 0));
    for ask in 0..10 {
        let ids = vec![0; 8 * 100];
        swarm.says(1, 0, &Message::Which { ask, ids, deep });
    }
    // Each of its contents counts as a question.
    assert_eq!((swarm.said(0, "busy"), swarm.said(0, "these")), (9, 2));
}

#[test]
fn driver_is_told_when_nobody_is_known_to_hold_it() {
    let mut swarm = Swarm::new(2);
    let bytes = noise(20_000, 1);
    let id = swarm.give(0, &bytes);
    // As long as nothing is known of the network, it may be near.
    swarm.want(1, 1, id, 20_000, 0..20_000);
    swarm.run(100);
    assert_eq!(swarm.visitors[1].unsure, [1]);
    let (first_byte, rate) = (200, 10_000_000);
    swarm.input(1, Input::Origin { first_byte, rate });
    let bytes = noise(20_000, 2);
    let id = swarm.give(0, &bytes);
    swarm.want(1, 2, id, 20_000, 0..20_000);
    assert_eq!(swarm.visitors[1].unsure, [1, 2]);
    swarm.run(100);
    assert!(swarm.got_all(1, 2, &bytes));
}

#[test]
fn proof_of_a_page_is_of_no_use_to_another_peer() {
    let mut swarm = Swarm::new(3);
    page(&mut swarm, 40, 20, &[0, 2]);
    assert_eq!(swarm.said(0, "filter"), 1);
    // Visitor 1 is elsewhere and repeats what it was told by each of the two.
    for (from, to) in [(0, 1), (2, 1), (1, 0), (1, 2), (0, 2), (2, 0)] {
        let context = &swarm.visitors[from].engine.context;
        let tag = filter::tag(context.page.unwrap_or(9), &name(from), &name(to));
        swarm.says(1, 0, &Message::Page { tag });
    }
    swarm.run(1_000);
    assert_eq!(swarm.said(0, "filter"), 1);
}

/// A tester who has the manifest and a peer on its own page learns what that page holds, within one
/// in a hundred, and nothing of the visitor's other pages.
#[test]
fn who_tests_the_whole_manifest_learns_the_page_and_not_the_history() {
    let mut swarm = Swarm::new(2);
    for n in 100..200 {
        swarm.give(0, &noise(1_000, n));
    }
    let images = page(&mut swarm, 40, 20, &[0, 1]);
    let says = |id: &ContentId| {
        let peer = &swarm.visitors[1].engine.peers[0];
        peer.claims(id)
    };
    // A hundred contents of the history, and ten thousand of the manifest that were never seen.
    let history = (100..200).map(|n| ContentId::of(&noise(1_000, n)));
    let never = (0..10_000_u32).map(|n| ContentId::of(&n.to_le_bytes()));
    let held = |id: &ContentId| says(id) == filter::Claim::Held;
    let of_history = history.filter(held).count();
    let of_never = never.filter(held).count();
    assert!(
        of_never < 100,
        "{of_never} of 10,000 are claimed and not held"
    );
    assert!(of_history <= 5, "{of_history} of 100 tell of the history");
    for (n, (id, _)) in images.iter().enumerate() {
        let expected = [filter::Claim::Lacked, filter::Claim::Held][usize::from(n < 20)];
        assert_eq!(says(id), expected);
    }
    let words = swarm.visitors[0].engine.context.told.len();
    assert_eq!(words * 8, 80, "bytes for up to 64 resources");
}

#[test]
fn questions_are_answered_at_a_limited_rate() {
    let mut swarm = Swarm::new(2);
    let id = swarm.give(0, &noise(100, 1));
    for ask in 0..1_000 {
        swarm.says(1, 0, &Message::Ask { ask, id });
    }
    assert_eq!((swarm.said(0, "have"), swarm.said(0, "busy")), (256, 744));
    swarm.run(1_000);
    for ask in 0..1_000 {
        swarm.says(1, 0, &Message::Ask { ask, id });
    }
    assert_eq!(swarm.said(0, "have"), 272);
}

#[test]
fn filter_that_is_wrong_costs_one_message_and_another_peer_serves() {
    let mut swarm = Swarm::new(3);
    let bytes = noise(20_000, 1);
    let id = swarm.give(0, &bytes);
    swarm.on_page(1, &[0, 1, 2], &[id]);
    swarm.run(1_000);
    // Gone from the store, but the filter still says that it is there.
    swarm.visitors[0].engine.holdings = Holdings::default();
    swarm.give(1, &bytes);
    swarm.run(1_000);
    swarm.want(2, 1, id, 20_000, 0..20_000);
    swarm.run(1_000);
    assert!(swarm.got_all(2, 1, &bytes));
    assert!(swarm.visitors[2].dropped.is_empty());
}

#[test]
fn who_has_a_part_tells_who_asked_when_it_has_more() {
    let mut swarm = Swarm::new(2);
    let bytes = noise(2_000_000, 1);
    let (id, len) = (ContentId::of(&bytes), 2_000_000);
    swarm.visitors[0].store.insert(id, bytes.clone());
    swarm.given.insert(id, bytes.clone());
    let groups = vec![(0, 32)];
    swarm.input(0, Input::Stored { id, len, groups });
    swarm.visitors[1].got.insert(1, (0, Vec::new(), None));
    let input = Input::Want {
        want: 1,
        id,
        len,
        bytes: 0..len,
        credit: 32 * GROUP,
        patience: 0,
        plays: false,
    };
    swarm.input(1, input);
    swarm.run(1_000);
    assert_eq!(swarm.got(1, 1).0.len() as u64, 32 * GROUP);
    let groups = vec![(0, group_count(len))];
    swarm.input(0, Input::Stored { id, len, groups });
    swarm.run(50);
    swarm.input(1, Input::Credit { want: 1, to: len });
    swarm.run(2_000);
    assert!(swarm.got_all(1, 1, &bytes));
    assert_eq!(swarm.said(1, "ask"), 1);
}

#[test]
fn filters_that_make_no_sense_end_the_connection() {
    for bits in [vec![], vec![1; 9], vec![0; 1_000_000 / 64]] {
        let mut swarm = Swarm::new(2);
        let is_long = bits.len() > 9_000;
        swarm.says(0, 1, &Message::Filter { bits });
        let why = swarm.visitors[1].dropped[0].1;
        assert!(matches!(why, DropReason::Message(_)), "{why:?} {is_long}");
    }
    let mut swarm = Swarm::new(2);
    let bits = vec![0; 40];
    swarm.says(0, 1, &Message::Filter { bits });
    let bits = vec![320];
    swarm.says(0, 1, &Message::Flips { bits });
    assert_eq!(swarm.visitors[1].dropped.len(), 1);
}

#[test]
fn who_reads_on_in_something_large_asks_before_it_races_and_who_seeks_does_not_wait() {
    let mut swarm = Swarm::new(2);
    let (first_byte, rate) = (200, 10_000_000);
    swarm.input(1, Input::Origin { first_byte, rate });
    let (id, len) = (ContentId::of(b"nobody has it"), 20_000_000);
    let parts = [0..1_000_000, 1_000_000..2_000_000, 9_000_000..9_500_000];
    for (want, bytes) in (1..).zip(parts) {
        swarm.want(1, want, id, len, bytes);
        // By then it may be held.
        swarm.run(3_000);
        assert_eq!(swarm.got(1, want).1, Some(Err(FailReason::NobodyHas)));
    }
    let heads = swarm.visitors[1].behind.iter().map(|(_, want, _)| *want);
    assert_eq!(heads.collect::<Vec<_>>(), [1, 3]);
}
