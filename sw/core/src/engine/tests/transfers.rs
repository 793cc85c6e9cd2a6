//! Bytes from peers: whole, in parts, from several, from those who fail.

use super::*;

#[test]
fn second_visitor_gets_from_the_first_what_it_holds() {
    let mut swarm = Swarm::new(2);
    for (want, len) in [(1, 1), (2, 50_000), (3, BLOCK as usize), (4, 3_000_001)] {
        let bytes = noise(len, want as u8);
        let id = swarm.give(0, &bytes);
        swarm.want(1, want, id, len as u64, 0..len as u64);
        swarm.run(2_000);
        assert!(swarm.got_all(1, want, &bytes[..]), "{len}");
    }
    assert_eq!(swarm.visitors[1].engine.totals().wasted, 0);
}

#[test]
fn range_is_delivered_to_the_byte() {
    let mut swarm = Swarm::new(2);
    let bytes = noise(1_000_000, 1);
    let id = swarm.give(0, &bytes);
    for (want, range) in [
        (1, 0..1),
        (2, 16_383..16_385),
        (3, 500_000..999_999),
        (4, 999_999..1_000_000),
    ] {
        swarm.want(1, want, id, 1_000_000, range.clone());
        swarm.run(1_000);
        let expected = &bytes[range.start as usize..range.end as usize];
        assert!(swarm.got_all(1, want, expected), "{range:?}");
    }
}

#[test]
fn bytes_that_deflate_are_sent_deflated_and_arrive_as_they_were() {
    let mut swarm = Swarm::new(2);
    let bytes = b"<svg xmlns='http://www.w3.org/2000/svg'/>".repeat(5_000);
    let id = swarm.give(0, &bytes);
    swarm.want(1, 1, id, bytes.len() as u64, 0..bytes.len() as u64);
    swarm.run(1_000);
    assert!(swarm.got_all(1, 1, &bytes[..]));
}

#[test]
fn nothing_goes_beyond_the_credit() {
    let mut swarm = Swarm::new(2);
    let bytes = noise(4_000_000, 1);
    let id = swarm.give(0, &bytes);
    swarm.visitors[1].got.insert(1, (0, Vec::new(), None));
    let input = Input::Want {
        want: 1,
        id,
        len: 4_000_000,
        bytes: 0..4_000_000,
        credit: 100_000,
        patience: 0,
        plays: false,
    };
    swarm.input(1, input);
    swarm.run(2_000);
    let (got, end) = swarm.got(1, 1);
    assert!(got.len() as u64 >= 100_000 && (got.len() as u64) < 100_000 + BLOCK);
    assert_eq!(end, None);
    let to = 4_000_000;
    swarm.input(1, Input::Credit { want: 1, to });
    swarm.run(2_000);
    assert!(swarm.got_all(1, 1, &bytes[..]));
}

#[test]
fn large_resource_comes_from_several_peers_at_once() {
    let mut swarm = Swarm::new(4);
    let bytes = noise(6_000_000, 1);
    for who in 0..3 {
        swarm.give(who, &bytes);
    }
    swarm.want(3, 1, ContentId::of(&bytes), 6_000_000, 0..6_000_000);
    swarm.run(3_000);
    assert!(swarm.got_all(3, 1, &bytes[..]));
    assert!((0..3).all(|who| swarm.visitors[who].frames_sent > 0));
}

#[test]
fn small_want_does_not_wait_for_a_large_one() {
    let mut swarm = Swarm::new(2);
    let large = noise(8_000_000, 1);
    let small = noise(40_000, 2);
    let (large_id, small_id) = (swarm.give(0, &large), swarm.give(0, &small));
    swarm.want(1, 1, large_id, 8_000_000, 0..8_000_000);
    swarm.run(45);
    swarm.want(1, 2, small_id, 40_000, 0..40_000);
    swarm.run(45);
    assert!(swarm.got_all(1, 2, &small));
    assert!(swarm.got(1, 1).1.is_none());
    swarm.run(3_000);
    assert!(swarm.got_all(1, 1, &large));
}

#[test]
fn nobody_has_it_is_said_after_one_round_trip_and_a_search_and_then_at_once() {
    let mut swarm = Swarm::new(3);
    let id = ContentId::of(b"nowhere");
    swarm.want(0, 1, id, 7, 0..7);
    // Ours are asked, then ours ask theirs, and all messages take 10 ms.
    swarm.run(21);
    assert_eq!(swarm.got(0, 1).1, None);
    swarm.run(40);
    assert_eq!(swarm.got(0, 1).1, Some(Err(FailReason::NobodyHas)));
    swarm.want(0, 2, id, 7, 0..7);
    assert_eq!(swarm.got(0, 2).1, Some(Err(FailReason::NobodyHas)));
}

#[test]
fn without_peers_a_want_fails_at_once_but_waits_while_some_are_coming() {
    let mut swarm = Swarm::new(1);
    swarm.want(0, 1, ContentId::of(b"x"), 1, 0..1);
    assert_eq!(swarm.got(0, 1).1, Some(Err(FailReason::NoPeers)));

    swarm.visitors[0].engine = Engine::new(Config::default(), 0);
    swarm.want(0, 2, ContentId::of(b"x"), 1, 0..1);
    assert_eq!(swarm.got(0, 2).1, None);
    swarm.input(0, Input::ServerLost);
    assert_eq!(swarm.got(0, 2).1, Some(Err(FailReason::NoPeers)));
}

#[test]
fn want_that_waited_for_a_dialled_peer_is_served_when_it_opens() {
    let mut swarm = Swarm::new(2);
    let bytes = noise(40_000, 1);
    let id = swarm.give(0, &bytes);
    swarm.close(0, 1);
    swarm.input(
        1,
        Input::Offered {
            peers: vec![name(0)],
        },
    );
    swarm.want(1, 1, id, 40_000, 0..40_000);
    swarm.run(50);
    assert_eq!(swarm.got(1, 1).1, None);
    swarm.input(0, Input::Opened { peer: name(1) });
    swarm.input(1, Input::Opened { peer: name(0) });
    swarm.run(500);
    assert!(swarm.got_all(1, 1, &bytes[..]));
}

/// Flips the last byte of every group frame.
pub(super) fn lie(mut message: Vec<u8>) -> Vec<u8> {
    if message[0] == wire::GROUPS {
        *message.last_mut().unwrap() ^= 1;
    }
    message
}

#[test]
fn peer_that_lies_is_dropped_and_another_one_serves() {
    let mut swarm = Swarm::new(3);
    let bytes = noise(2_000_000, 1);
    swarm.give(0, &bytes);
    let id = swarm.give(1, &bytes);
    swarm.visitors[0].meddle = Some(lie);
    swarm.want(2, 1, id, 2_000_000, 0..2_000_000);
    swarm.run(3_000);
    assert!(swarm.got_all(2, 1, &bytes[..]));
    assert_eq!(swarm.visitors[2].dropped, [(name(0), DropReason::Lied)]);
    swarm.input(2, Input::Opened { peer: name(0) });
    assert_eq!(swarm.visitors[2].dropped[1], (name(0), DropReason::Banned));
}

#[test]
fn want_fails_when_the_only_holder_lies_and_nothing_of_it_is_delivered() {
    let mut swarm = Swarm::new(2);
    let bytes = noise(200_000, 1);
    let id = swarm.give(0, &bytes);
    swarm.visitors[0].meddle = Some(lie);
    swarm.want(1, 1, id, 200_000, 0..200_000);
    swarm.run(1_000);
    let (got, end) = swarm.got(1, 1);
    assert!(got.is_empty());
    assert!(matches!(end, Some(Err(_))));
}

#[test]
fn garbage_truncated_oversized_and_unasked_messages_end_the_connection() {
    let frame = wire::encode_frame(
        77,
        0,
        &[Kept {
            bytes: vec![1],
            deflated: false,
        }],
        &[],
    );
    let truncated = frame[..frame.len() - 1].to_vec();
    let mut oversized = vec![0; wire::MAX_FRAME + 1];
    oversized[0] = wire::GROUPS;
    for (bytes, why) in [
        (vec![9, 9, 9], DropReason::Message(BadMessage::Shape(9))),
        (vec![], DropReason::Message(BadMessage::Empty)),
        (truncated, DropReason::Message(BadMessage::Frame)),
        (
            oversized,
            DropReason::Message(BadMessage::TooLong(wire::MAX_FRAME + 1)),
        ),
        (frame, DropReason::Unasked),
        (
            vec![wire::CONTROL, 0xc1],
            DropReason::Message(BadMessage::Control),
        ),
    ] {
        let mut swarm = Swarm::new(2);
        let peer = name(0);
        swarm.input(1, Input::Frame { peer, bytes });
        assert_eq!(swarm.visitors[1].dropped, [(name(0), why)]);
    }
}

#[test]
fn peer_whose_message_is_not_even_bytes_is_banned() {
    let mut swarm = Swarm::new(2);
    swarm.input(1, Input::Unreadable { peer: name(0) });
    swarm.input(1, Input::Opened { peer: name(0) });
    let expected = [DropReason::Unreadable, DropReason::Banned].map(|why| (name(0), why));
    assert_eq!(swarm.visitors[1].dropped, expected);
}

#[test]
fn peer_that_goes_away_in_the_middle_is_replaced() {
    let mut swarm = Swarm::new(3);
    let bytes = noise(8_000_000, 1);
    swarm.give(0, &bytes);
    let id = swarm.give(1, &bytes);
    swarm.want(2, 1, id, 8_000_000, 0..8_000_000);
    swarm.run(45);
    assert!(!swarm.got(2, 1).0.is_empty() && swarm.got(2, 1).1.is_none());
    swarm.close(2, 0);
    swarm.run(3_000);
    assert!(swarm.got_all(2, 1, &bytes[..]));
}

#[test]
fn what_came_before_the_last_holder_left_stands_and_the_rest_is_said_to_fail() {
    let mut swarm = Swarm::new(2);
    let bytes = noise(8_000_000, 1);
    let id = swarm.give(0, &bytes);
    swarm.want(1, 1, id, 8_000_000, 0..8_000_000);
    swarm.run(45);
    swarm.close(0, 1);
    let (got, end) = swarm.got(1, 1);
    assert!(!got.is_empty() && bytes.starts_with(got));
    assert!(matches!(
        end,
        Some(Err(FailReason::Lost | FailReason::NoPeers))
    ));
}

#[test]
fn silent_peer_costs_a_timeout_and_another_one_serves() {
    let mut swarm = Swarm::new(3);
    let bytes = noise(300_000, 1);
    swarm.give(0, &bytes);
    let id = swarm.give(1, &bytes);
    swarm.silent.push(0);
    swarm.want(2, 1, id, 300_000, 0..300_000);
    swarm.run(5_000);
    assert!(swarm.got_all(2, 1, &bytes[..]));

    swarm.want(2, 2, id, 300_000, 0..300_000);
    swarm.silent.push(1);
    swarm.run(5_000);
    assert!(matches!(swarm.got(2, 2).1, Some(Err(FailReason::Lost))));
}

#[test]
fn what_waited_for_room_goes_on_when_what_had_it_is_cancelled() {
    let mut swarm = Swarm::new(2);
    // Next to nothing comes of it.
    swarm.visitors[0].up = 1;
    swarm.run(100);
    for want in 1..=4u32 {
        let bytes = noise(2_000_000, want as u8);
        let id = swarm.give(0, &bytes);
        swarm.want(1, want, id, 2_000_000, 0..2_000_000);
        swarm.run(10);
    }
    let small = swarm.give(0, &noise(20_000, 5));
    swarm.want(1, 5, small, 20_000, 0..20_000);
    swarm.run(200);
    let is_pulled = |swarm: &Swarm| {
        let peers = swarm.visitors[1].engine.peers.iter();
        peers
            .flat_map(|peer| &peer.pulls)
            .any(|pull| pull.want == 5)
    };
    assert!(!is_pulled(&swarm));
    for want in 1..=4u32 {
        swarm.input(1, Input::Cancel { want });
    }
    assert!(is_pulled(&swarm));
}

#[test]
fn what_waits_for_room_behind_others_ends_when_it_would_come_too_late() {
    let mut swarm = Swarm::new(2);
    swarm.visitors[0].up = 34;
    let bytes = noise(1_000_000, 1);
    let id = swarm.give(0, &bytes);
    swarm.run(100);
    for want in 1..=4 {
        swarm.want(1, want, id, 1_000_000, 0..1_000_000);
    }
    swarm.run(20);
    let (first_byte, rate) = (0, 17_000);
    swarm.input(1, Input::Origin { first_byte, rate });
    swarm.run(200_000);
    for want in 1..=4 {
        assert!(swarm.got(1, want).1.is_some(), "{want} does not end");
    }
}

#[test]
fn cancel_stops_the_sender_within_its_window() {
    let mut swarm = Swarm::new(2);
    let bytes = noise(40_000_000, 1);
    let id = swarm.give(0, &bytes);
    swarm.want(1, 1, id, 40_000_000, 0..40_000_000);
    swarm.run(45);
    swarm.input(1, Input::Cancel { want: 1 });
    swarm.run(10);
    let sent = swarm.visitors[0].engine.totals().sent;
    swarm.run(5_000);
    assert_eq!(swarm.visitors[0].engine.totals().sent, sent);
    let window = u64::from(Config::default().window) * GROUP;
    assert!(swarm.visitors[1].engine.totals().wasted <= window);
    assert!(swarm.visitors[1].dropped.is_empty());
}

#[test]
fn content_dropped_from_the_store_is_gone_and_not_a_lie() {
    let mut swarm = Swarm::new(2);
    let bytes = noise(300_000, 1);
    let id = swarm.give(0, &bytes);
    swarm.visitors[0].store.clear();
    swarm.want(1, 1, id, 300_000, 0..300_000);
    swarm.run(500);
    assert!(matches!(swarm.got(1, 1).1, Some(Err(_))));
    assert!(swarm.visitors[1].dropped.is_empty());
}

#[test]
fn partial_holder_serves_the_part_that_it_holds() {
    let mut swarm = Swarm::new(2);
    let bytes = noise(2_000_000, 1);
    let id = swarm.give(0, &bytes);
    let groups = vec![(32, 64)];
    let len = 2_000_000;
    swarm.input(0, Input::Stored { id, len, groups });
    swarm.want(1, 1, id, len, 32 * GROUP..64 * GROUP);
    swarm.want(1, 2, id, len, 0..GROUP);
    swarm.run(1_000);
    let expected = &bytes[32 * GROUP as usize..64 * GROUP as usize];
    assert!(swarm.got_all(1, 1, expected));
    assert_eq!(swarm.got(1, 2).1, Some(Err(FailReason::NobodyHas)));
}

#[test]
fn peer_that_pulls_more_than_anybody_needs_is_dropped() {
    let mut swarm = Swarm::new(2);
    let id = swarm.give(0, &noise(100_000, 1));
    let pull = Message::Pull {
        pull: 1,
        id,
        first: 0,
        count: 17,
        urgent: false,
    };
    let (peer, bytes) = (name(1), wire::encode(&pull));
    swarm.input(0, Input::Frame { peer, bytes });
    assert_eq!(swarm.visitors[0].dropped, [(name(1), DropReason::Greedy)]);
}

#[test]
fn dialled_peer_that_never_opens_is_given_up_and_more_are_asked_for() {
    let mut engine = Engine::new(Config::default(), 0);
    engine.handle(
        Input::Welcome {
            me: name(0),
            hold_over: None,
        },
        0,
    );
    engine.handle(
        Input::Offered {
            peers: vec![name(0), name(1), name(1)],
        },
        0,
    );
    let dialled = std::iter::from_fn(|| engine.poll())
        .filter(|output| matches!(output, Output::Dial { .. }))
        .count();
    assert_eq!(dialled, 1, "neither ourselves nor anybody twice");
    let at = 20_000;
    engine.handle(Input::Tick, at);
    let outputs: Vec<_> = std::iter::from_fn(|| engine.poll()).collect();
    assert!(outputs.iter().any(|o| matches!(
        o,
        Output::Drop {
            why: DropReason::NeverOpened,
            ..
        }
    )));
    assert!(
        outputs
            .iter()
            .any(|o| matches!(o, Output::MorePeers { want: 8, .. }))
    );
}

#[test]
fn images_behind_others_begin_before_the_network_would_be_asked() {
    const PATIENCE: u32 = 1_500;
    let mut swarm = Swarm::new(6);
    let len = |n: u8| if n < 11 { 430_000 } else { 1_200_000 };
    let images: Vec<_> = (1..=11).map(|n| noise(len(n), n)).collect();
    for who in 0..5 {
        for image in &images {
            swarm.give(who, image);
        }
        // 2.8 megabits a second.
        swarm.visitors[who].up = 350;
        for way in [(who, 5), (5, who)] {
            swarm.delay.insert(way, 25);
        }
    }
    let ids: Vec<_> = images.iter().map(|image| ContentId::of(image)).collect();
    swarm.on_page(1, &[0, 1, 2, 3, 4, 5], &ids);
    swarm.run(500);
    for (want, id) in (1..).zip(&ids) {
        let len = images[want as usize - 1].len() as u64;
        swarm.want_spared(5, want, *id, len, PATIENCE);
    }
    let all = |swarm: &Swarm, want| swarm.got_all(5, want, &images[want as usize - 1]);
    swarm.run(700);
    assert!(all(&swarm, 1), "whoever is first is not held up");
    swarm.run(u64::from(PATIENCE) - 700);
    for want in 1..=11 {
        assert!(!swarm.got(5, want).0.is_empty(), "{want} has nothing yet");
    }
    assert!(swarm.visitors[5].behind.is_empty());
    swarm.run(2_200);
    for want in 1..=11 {
        assert!(all(&swarm, want), "{want} is not there");
    }
}
