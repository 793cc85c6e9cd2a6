//! The serving side: slots, turns, limits, and who comes first when there is not enough.

use super::*;

/// Visitor 0 serves all others, over a way up of so many bytes a millisecond; they look for nobody
/// else.
fn server(count: usize, up: u64, change: impl Fn(&mut Config)) -> Swarm {
    let mut swarm = Swarm::with(count, |who| {
        let mut config = Config {
            target_peers: if who == 0 { count - 1 } else { 1 },
            ..Config::default()
        };
        if who == 0 {
            change(&mut config);
        }
        config
    });
    swarm.visitors[0].up = up;
    for who in 1..count {
        swarm.connect(0, who);
    }
    swarm.run(100);
    swarm
}

#[test]
fn who_finds_no_slot_is_told_when_to_come_and_is_served_then() {
    let mut swarm = server(5, 1_000, |config| config.slots = 1);
    let bytes = noise(600_000, 1);
    let id = swarm.give(0, &bytes);
    for who in 1..5 {
        swarm.want(who, 1, id, 600_000, 0..600_000);
    }
    swarm.run(400);
    assert!(swarm.said(0, "busy") + swarm.said(0, "later") > 0);
    swarm.run(20_000);
    let served = (1..5).filter(|who| swarm.got_all(*who, 1, &bytes)).count();
    assert!(served >= 2, "{served}");
    // Whoever was not served knows why.
    for who in 1..5 {
        assert!(matches!(
            swarm.got(who, 1).1,
            Some(Ok(()) | Err(FailReason::Busy | FailReason::Lost))
        ));
    }
    let engine = &swarm.visitors[0].engine;
    assert!(engine.peers.iter().all(|peer| peer.serving.is_idle()));
}

#[test]
fn over_a_new_connection_the_first_group_comes_before_the_others() {
    // 16 KiB take some hundred milliseconds.
    let mut swarm = server(2, 160, |_| {});
    let bytes = noise(100_000, 1);
    let id = swarm.give(0, &bytes);
    swarm.want(1, 1, id, 100_000, 0..100_000);
    swarm.run(220);
    let got = swarm.got(1, 1).0.len() as u64;
    assert_eq!(got, GROUP);
    swarm.run(2_000);
    assert!(swarm.got_all(1, 1, &bytes));
    // When it has carried some more, frames are as large as ever.
    let bytes = noise(1_000_000, 2);
    let id = swarm.give(0, &bytes);
    swarm.want(1, 2, id, 1_000_000, 0..1_000_000);
    swarm.run(20_000);
    assert!(swarm.got_all(1, 2, &bytes));
    let bytes = noise(100_000, 3);
    let id = swarm.give(0, &bytes);
    swarm.want(1, 3, id, 100_000, 0..100_000);
    swarm.run(220);
    assert!(swarm.got(1, 3).0.is_empty());
}

#[test]
fn those_who_are_served_take_turns() {
    let mut swarm = server(4, 1_000, |_| {});
    let bytes = noise(3_000_000, 1);
    let id = swarm.give(0, &bytes);
    for who in 1..4 {
        swarm.want(who, 1, id, 3_000_000, 0..3_000_000);
    }
    swarm.run(5_000);
    let got: Vec<_> = (1..4).map(|who| swarm.got(who, 1).0.len()).collect();
    let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
    assert!(*least * 3 > *most * 2, "{got:?}");
}

#[test]
fn small_thing_does_not_wait_behind_a_deep_queue() {
    let mut swarm = server(3, 500, |_| {});
    let (large, small) = (noise(8_000_000, 1), noise(20_000, 2));
    let (large_id, small_id) = (swarm.give(0, &large), swarm.give(0, &small));
    swarm.want(1, 1, large_id, 8_000_000, 0..8_000_000);
    swarm.run(3_000);
    swarm.want(2, 1, small_id, 20_000, 0..20_000);
    // Before the answer, and again before the bytes, lies a quarter of a second's worth of the other
    // one's, and not a megabyte.
    swarm.run(900);
    assert!(swarm.got_all(2, 1, &small));
}

#[test]
fn image_that_would_be_late_is_sent_before_what_was_pulled_earlier() {
    let mut swarm = server(2, 500, |_| {});
    for n in 1..=2u8 {
        let film = swarm.give(0, &noise(4_000_000, n));
        swarm.want(1, n.into(), film, 4_000_000, 0..4_000_000);
    }
    swarm.run(2_000);
    let image = noise(40_000, 3);
    let id = swarm.give(0, &image);
    swarm.want_spared(1, 3, id, 40_000, 800);
    swarm.run(800);
    assert!(swarm.got_all(1, 3, &image[..]));
}

#[test]
fn rate_limit_is_kept() {
    let mut swarm = server(3, 0, |config| config.upload = 100_000);
    let bytes = noise(3_000_000, 1);
    let id = swarm.give(0, &bytes);
    for who in [1, 2] {
        swarm.want(who, 1, id, 3_000_000, 0..3_000_000);
    }
    swarm.run(10_000);
    let sent = swarm.visitors[0].engine.totals().sent;
    assert!((800_000..=1_300_000).contains(&sent), "{sent}");
}

#[test]
fn store_is_read_block_by_block_where_the_limit_allows_more_than_is_carried() {
    let largest = |upload| {
        let mut swarm = server(2, 10_000, |config| config.upload = upload);
        let id = swarm.give(0, &noise(8_000_000, 1));
        swarm.want(1, 1, id, 8_000_000, 0..8_000_000);
        swarm.run(3_000);
        swarm.visitors[0].largest_read
    };
    assert_eq!(largest(0), GROUPS_PER_BLOCK);
    assert_eq!(largest(100_000_000), GROUPS_PER_BLOCK);
    assert_eq!(largest(1_000_000), wire::FRAME_GROUPS);
}

#[test]
fn while_the_page_itself_waits_others_get_a_quarter() {
    let mut swarm = server(3, 0, |config| config.upload = 400_000);
    let bytes = noise(6_000_000, 1);
    let id = swarm.give(0, &bytes);
    // It has this from somebody slow.
    swarm.visitors[2].up = 100;
    let wanted = noise(3_000_000, 2);
    let wanted = swarm.give(2, &wanted);
    swarm.want(0, 7, wanted, 3_000_000, 0..3_000_000);
    swarm.want(1, 1, id, 6_000_000, 0..6_000_000);
    swarm.run(10_000);
    let sent = |swarm: &Swarm| swarm.visitors[0].engine.totals().sent;
    let yielding = sent(&swarm);
    assert!((800_000..=1_300_000).contains(&yielding), "{yielding}");
    swarm.input(0, Input::Cancel { want: 7 });
    swarm.run(10_000);
    assert!(sent(&swarm) - yielding > 3_000_000, "{}", sent(&swarm));
}

#[test]
fn who_stops_serving_in_the_middle_says_so_and_sends_no_more() {
    let mut swarm = server(3, 500, |_| {});
    let bytes = noise(8_000_000, 1);
    let id = swarm.give(0, &bytes);
    swarm.want(1, 1, id, 8_000_000, 0..8_000_000);
    swarm.run(3_000);
    let serves_none = Config {
        slots: 0,
        ..Config::default()
    };
    swarm.input(
        0,
        Input::Configure {
            config: serves_none,
        },
    );
    let sent = swarm.visitors[0].frames_sent;
    assert!(sent > 0 && !swarm.got_all(1, 1, &bytes));
    swarm.run(5_000);
    assert_eq!(swarm.visitors[0].frames_sent, sent);
    assert!(swarm.said(0, "gone") > 0);
    assert!(matches!(swarm.got(1, 1).1, Some(Err(_))));
    assert!(swarm.visitors[1].dropped.is_empty());

    // And begins again.
    let config = Config::default();
    swarm.input(0, Input::Configure { config });
    swarm.want(2, 2, id, 8_000_000, 0..1_000_000);
    swarm.run(10_000);
    assert!(swarm.got_all(2, 2, &bytes[..1_000_000]));
}

#[test]
fn who_is_to_finish_sends_what_was_asked_for_and_takes_on_nothing() {
    let mut swarm = server(3, 500, |_| {});
    let bytes = noise(3_000_000, 1);
    let id = swarm.give(0, &bytes);
    swarm.want(1, 1, id, 3_000_000, 0..3_000_000);
    swarm.run(3_000);
    assert!(swarm.visitors[0].frames_sent > 0 && !swarm.got_all(1, 1, &bytes));
    let finishes = Config {
        slots: 0,
        finishes: true,
        ..Config::default()
    };
    swarm.input(0, Input::Configure { config: finishes });
    swarm.want(2, 2, id, 3_000_000, 0..3_000_000);
    swarm.run(20_000);
    assert!(swarm.got_all(1, 1, &bytes));
    assert!(swarm.got(2, 2).0.is_empty());
    let sent = swarm.visitors[0].frames_sent;
    // Nor from who was served before.
    swarm.want(1, 3, id, 3_000_000, 0..3_000_000);
    swarm.run(5_000);
    assert_eq!(swarm.visitors[0].frames_sent, sent);
}

#[test]
fn who_serves_nobody_says_so_and_is_not_claimed_to_hold_anything() {
    let mut swarm = server(2, 0, |config| config.slots = 0);
    let bytes = noise(20_000, 1);
    let id = swarm.give(0, &bytes);
    swarm.on_page(1, &[0, 1], &[id]);
    swarm.run(1_000);
    swarm.want(1, 1, id, 20_000, 0..20_000);
    swarm.run(1_000);
    assert_eq!(swarm.got(1, 1).1, Some(Err(FailReason::NobodyHas)));
    assert_eq!(swarm.visitors[0].frames_sent, 0);
}

#[test]
fn slow_reader_is_cut_off() {
    let mut swarm = server(3, 0, |_| {});
    let bytes = noise(8_000_000, 1);
    let id = swarm.give(0, &bytes);
    // It does not mind that it hears nothing.
    let config = Config {
        quiet: 1_000_000,
        ..Config::default()
    };
    swarm.input(1, Input::Configure { config });
    swarm.want(1, 1, id, 8_000_000, 0..8_000_000);
    swarm.run(35);
    swarm.visitors[1].deaf = true;
    swarm.run(100);
    // It lives: it goes on asking, and reads nothing.
    for _ in 0..30 {
        swarm.says(1, 0, &Message::Ping { nonce: 1 });
        swarm.run(1_000);
    }
    let dropped = &swarm.visitors[0].dropped;
    assert_eq!(dropped[..], [(name(1), DropReason::SlowReader)]);
    swarm.want(2, 1, id, 8_000_000, 0..8_000_000);
    swarm.run(5_000);
    assert!(swarm.got_all(2, 1, &bytes));
}

#[test]
fn who_served_us_comes_first_and_a_newcomer_is_not_starved() {
    let mut swarm = server(4, 1_000, |config| config.slots = 1);
    let theirs = noise(3_000_000, 9);
    let ours = noise(6_000_000, 1);
    let small = noise(100_000, 2);
    let their_id = swarm.give(2, &theirs);
    let (our_id, small_id) = (swarm.give(0, &ours), swarm.give(0, &small));
    // Visitor 1 only takes; visitor 2 has given; visitor 3 is new.
    swarm.want(0, 1, their_id, 3_000_000, 0..3_000_000);
    swarm.run(3_000);
    swarm.want(1, 1, our_id, 6_000_000, 0..6_000_000);
    swarm.run(3_000);
    swarm.want(2, 2, our_id, 6_000_000, 0..6_000_000);
    swarm.run(300);
    swarm.want(3, 3, small_id, 100_000, 0..100_000);
    swarm.run(2_500);
    let got = |who, want| swarm.got(who, want).0.len();
    assert!(got(2, 2) > 500_000, "{}", got(2, 2));
    assert!(swarm.got_all(3, 3, &small));
}

#[test]
fn who_is_sent_away_in_the_middle_of_a_pull_does_not_take_what_left_before_for_a_lie() {
    let mut swarm = server(4, 300, |config| config.slots = 1);
    let theirs = noise(3_000_000, 9);
    let ours = noise(6_000_000, 1);
    let their_id = swarm.give(2, &theirs);
    let our_id = swarm.give(0, &ours);
    swarm.want(0, 1, their_id, 3_000_000, 0..3_000_000);
    swarm.run(3_000);
    for round in 0..10 {
        swarm.want(1, 10 + round, our_id, 6_000_000, 0..6_000_000);
        swarm.run(700 + u64::from(round) * 37);
        // It has given, so the other one has to go.
        swarm.want(2, 10 + round, our_id, 6_000_000, 0..6_000_000);
        swarm.run(1_500);
        swarm.input(2, Input::Cancel { want: 10 + round });
    }
    assert!(swarm.said(0, "later") > 0);
    assert!(
        swarm.visitors[1].dropped.is_empty(),
        "{:?}",
        swarm.visitors[1].dropped
    );
}

#[test]
fn slow_holder_is_relieved_of_the_last_part_by_a_fast_one() {
    let mut swarm = Swarm::new(3);
    let bytes = noise(4_000_000, 1);
    swarm.give(0, &bytes);
    let id = swarm.give(1, &bytes);
    swarm.visitors[0].up = 100;
    swarm.visitors[1].up = 4_000;
    swarm.want(2, 1, id, 4_000_000, 0..4_000_000);
    swarm.run(2_500);
    assert!(swarm.got_all(2, 1, &bytes), "{}", swarm.got(2, 1).0.len());
    let totals = swarm.visitors[2].engine.totals();
    assert!(totals.wasted * 100 <= totals.received * 10, "{totals:?}");
}

#[test]
fn several_senders_are_used_by_what_they_can_send() {
    let mut swarm = Swarm::new(4);
    let bytes = noise(12_000_000, 1);
    for (who, up) in [(0, 500), (1, 1_000), (2, 2_000)] {
        swarm.give(who, &bytes);
        swarm.visitors[who].up = up;
    }
    let id = ContentId::of(&bytes);
    swarm.want(3, 1, id, 12_000_000, 0..12_000_000);
    swarm.run(5_000);
    assert!(swarm.got_all(3, 1, &bytes), "{}", swarm.got(3, 1).0.len());
    let totals = swarm.visitors[3].engine.totals();
    assert!(totals.wasted * 100 <= totals.received * 3, "{totals:?}");
}

#[test]
fn behind_what_is_urgent_the_rarest_comes_first() {
    let mut swarm = Swarm::new(5);
    let bytes = noise(16_000_000, 1);
    let (id, len) = (ContentId::of(&bytes), 16_000_000);
    for who in 0..4 {
        swarm.visitors[who].store.insert(id, bytes.clone());
        swarm.given.insert(id, bytes.clone());
        swarm.visitors[who].up = 2_000;
        // The last megabytes are held by visitor 2 alone.
        let end = if who == 2 { group_count(len) } else { 700 };
        let groups = vec![(0, end)];
        swarm.input(who, Input::Stored { id, len, groups });
    }
    swarm.want(4, 1, id, len, 0..len);
    swarm.run(500);
    let want = &swarm.visitors[4].engine.wants[0];
    let rare = want.have.iter().filter(|run| run.start >= 700);
    assert!(rare.count() > 0, "{:?}", want.have);
    assert!(want.at > 500_000, "{}", want.at);
    swarm.run(5_000);
    assert!(swarm.got_all(4, 1, &bytes));
}

#[test]
fn peers_who_stay_behind_are_helped_by_a_network_that_would_not() {
    for (rate, is_helped) in [(10_000_000, true), (150_000, false)] {
        let mut swarm = server(2, 100, |_| {});
        let bytes = noise(2_000_000, 1);
        let id = swarm.give(0, &bytes);
        let first_byte = 200;
        swarm.input(1, Input::Origin { first_byte, rate });
        swarm.want(1, 1, id, 2_000_000, 0..2_000_000);
        swarm.run(5_000);
        assert_eq!(swarm.got_all(1, 1, &bytes), is_helped);
        // The first of it comes from there in any case.
        assert_eq!(swarm.visitors[1].behind.len() > 1, is_helped);
    }
}

/// A page that plays a film of four million bytes, of which peers may be so many ahead.
fn plays(credit: u64) -> (Swarm, Vec<u8>) {
    let mut swarm = server(2, 400, |_| {});
    let bytes = noise(4_000_000, 1);
    let id = swarm.give(0, &bytes);
    let (first_byte, rate) = (200, 10_000_000);
    swarm.input(1, Input::Origin { first_byte, rate });
    swarm.visitors[1].got.insert(1, (0, Vec::new(), None));
    let len = bytes.len() as u64;
    let input = Input::Want {
        want: 1,
        id,
        len,
        bytes: 0..len,
        credit,
        patience: 0,
        plays: false,
    };
    swarm.input(1, input);
    (swarm, bytes)
}

#[test]
fn who_keeps_level_with_a_page_that_plays_is_fast_enough() {
    let (mut swarm, bytes) = plays(300_000);
    for played in 1..40 {
        swarm.run(500);
        let to = 300_000 + played * 100_000;
        swarm.input(1, Input::Credit { want: 1, to });
    }
    swarm.run(2_000);
    assert!(swarm.got_all(1, 1, &bytes));
}

#[test]
fn who_gains_on_a_page_that_plays_is_fast_enough() {
    // The page may be a megabyte behind what came; it reads half as fast as that comes.
    let (mut swarm, _) = plays(1_000_000);
    for tenth in 1..45 {
        swarm.run(100);
        let to = tenth * 20_000 + 1_000_000;
        swarm.input(1, Input::Credit { want: 1, to });
    }
    assert_eq!(swarm.got(1, 1).1, None);
}

fn prefetch(swarm: &mut Swarm, want: WantId, id: ContentId, len: u64) {
    swarm.fetch_ahead(1, want, id, len, 0..len);
}

#[test]
fn prefetch_waits_while_anything_is_wanted() {
    let mut swarm = server(2, 1_000, |_| {});
    let (urgent, later) = (noise(2_000_000, 1), noise(300_000, 2));
    let (urgent_id, later_id) = (swarm.give(0, &urgent), swarm.give(0, &later));
    swarm.want(1, 1, urgent_id, 2_000_000, 0..2_000_000);
    prefetch(&mut swarm, 2, later_id, 300_000);
    swarm.run(1_500);
    assert!(swarm.got(1, 1).1.is_none() && swarm.got(1, 2).0.is_empty());
    swarm.run(3_000);
    assert!(swarm.got_all(1, 1, &urgent) && swarm.got_all(1, 2, &later));
}

#[test]
fn what_is_being_fetched_ahead_when_the_page_wants_it_is_sent_once() {
    let mut swarm = server(2, 1_000, |_| {});
    let bytes = noise(300_000, 1);
    let id = swarm.give(0, &bytes);
    prefetch(&mut swarm, 1, id, 300_000);
    swarm.run(200);
    assert!(swarm.visitors[1].engine.totals().received > 0);
    swarm.want(1, 2, id, 300_000, 0..300_000);
    assert_eq!(swarm.got(1, 1).1, Some(Err(FailReason::Wanted)));
    swarm.run(2_000);
    assert!(swarm.got_all(1, 2, &bytes));
    let totals = swarm.visitors[0].engine.totals();
    assert!(totals.sent < 300_000 + GROUP, "{totals:?}");
    assert_eq!(swarm.visitors[1].engine.totals().wasted, 0);
}

#[test]
fn page_does_not_wait_for_a_peer_that_is_good_enough_only_for_what_nobody_waits_for() {
    // Two milliseconds a kilobyte: far slower than this network.
    let mut swarm = server(2, 50, |_| {});
    let (before, bytes) = (noise(20_000, 1), noise(300_000, 2));
    let (first, id) = (swarm.give(0, &before), swarm.give(0, &bytes));
    let origin = Input::Origin {
        first_byte: 100,
        rate: 5_000_000,
    };
    swarm.input(1, origin);
    // It has sent before, so it is no stranger.
    prefetch(&mut swarm, 1, first, 20_000);
    swarm.run(2_000);
    assert!(swarm.got_all(1, 1, &before));
    prefetch(&mut swarm, 2, id, 300_000);
    swarm.run(100);
    swarm.want(1, 3, id, 300_000, 0..300_000);
    assert_eq!(swarm.visitors[1].unsure, [3]);
}

#[test]
fn slow_peer_is_relieved_only_of_what_somebody_waits_for() {
    let fetch_ahead = |then: fn(&mut Swarm, ContentId)| {
        let mut swarm = Swarm::new(3);
        let bytes = noise(300_000, 1);
        let id = swarm.give(0, &bytes);
        swarm.give(2, &bytes);
        // The slow one is near, and so the first to answer.
        swarm.visitors[0].up = 50;
        swarm.delay.insert((1, 2), 60);
        swarm.delay.insert((2, 1), 60);
        prefetch(&mut swarm, 1, id, 300_000);
        swarm.run(500);
        assert!(swarm.got(1, 1).1.is_none());
        then(&mut swarm, id);
        (swarm, bytes)
    };
    let (mut swarm, bytes) = fetch_ahead(|_, _| {});
    swarm.run(8_000);
    assert!(swarm.got_all(1, 1, &bytes));
    let totals = |swarm: &Swarm, who: usize| swarm.visitors[who].engine.totals();
    assert!(totals(&swarm, 0).sent + totals(&swarm, 2).sent < 300_000 + GROUP);
    // The page wants it before it is there: it does not wait for the slow one.
    let (mut swarm, bytes) = fetch_ahead(|swarm, id| swarm.want(1, 2, id, 300_000, 0..300_000));
    swarm.run(1_500);
    assert!(swarm.got_all(1, 2, &bytes), "{}", swarm.got(1, 2).0.len());
}
