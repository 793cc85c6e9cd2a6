//! Who is offered to whom: room, load, bans, nearness.

use super::*;

#[test]
fn newcomer_is_told_whom_to_dial_and_the_others_nothing() {
    let mut room = Room::new();
    let first = room.join("https://a", "/", 4, None);
    assert!(first.offered.is_empty());
    let second = room.join("https://a", "/", 4, None);
    assert_eq!(second.offered, std::slice::from_ref(&first.id));
    assert!(room.heard_by(&first).is_empty());
}

#[test]
fn other_origin_is_never_offered() {
    let mut room = Room::new();
    room.join("https://a", "/", 4, None);
    assert!(room.join("https://b", "/", 4, None).offered.is_empty());
    assert!(room.join("http://a", "/", 4, None).offered.is_empty());
}

#[test]
fn load_is_spread_over_those_that_have_few_links() {
    let mut room = Room::new();
    let olds: Vec<Joined> = (0..8).map(|_| room.join("o", "/", 0, None)).collect();
    let mut offers: HashMap<String, usize> = HashMap::new();
    for _ in 0..4 {
        for id in room.join("o", "/", 2, None).offered {
            *offers.entry(id).or_default() += 1;
        }
    }
    assert!(olds.iter().all(|old| offers.get(&old.id) == Some(&1)));
}

#[test]
fn who_serves_is_offered_before_who_does_not_as_long_as_it_says_so() {
    let mut room = Room::new();
    let mut all: Vec<Joined> = (0..12).map(|_| room.join("o", "/", 0, None)).collect();
    let says = |room: &mut Room, peer: &Joined, serves| {
        let (measured, serves) = (Vec::new(), Some(serves));
        room.say(peer.conn, ToServer::Heartbeat { measured, serves });
    };
    for peer in &all[..5] {
        says(&mut room, peer, true);
    }
    let offered = |room: &mut Room, all: &[Joined], want| {
        let newcomer = room.join("o", "/", want, None);
        room.hang_up(newcomer.conn);
        let places = newcomer
            .offered
            .iter()
            .map(|id| all.iter().position(|peer| peer.id == *id));
        places.collect::<BTreeSet<_>>()
    };
    let all_of = |places: std::ops::Range<usize>| places.map(Some).collect::<BTreeSet<_>>();
    assert_eq!(offered(&mut room, &all, 5), all_of(0..5));
    // One stops, and one comes back on another page, where it does not serve yet.
    says(&mut room, &all[4], false);
    room.hang_up(all[3].conn);
    all[3] = room.join("o", "/", 0, Some(&all[3].ticket));
    assert_eq!(offered(&mut room, &all, 3), all_of(0..3));
    says(&mut room, &all[3], true);
    assert_eq!(offered(&mut room, &all, 4), all_of(0..4));
}

#[test]
fn nobody_is_offered_more_than_the_most_or_than_was_wanted() {
    let mut room = Room::new();
    for _ in 0..40 {
        room.join("o", "/", 0, None);
    }
    assert_eq!(room.join("o", "/", 3, None).offered.len(), 3);
    let greedy = room.join("o", "/", u16::MAX, None);
    assert_eq!(greedy.offered.len(), MOST_OFFERED);
}

#[test]
fn more_brings_strangers_first_and_then_those_that_were_offered_before() {
    let mut room = Room::new();
    for _ in 0..5 {
        room.join("o", "/", 0, None);
    }
    let peer = room.join("o", "/", 3, None);
    let more = room.more(&peer, 3);
    assert_eq!(more.len(), 3);
    let fresh = more.iter().filter(|id| !peer.offered.contains(id)).count();
    assert_eq!(fresh, 2);
    assert!(!peer.offered.contains(&more[0]) && !peer.offered.contains(&more[1]));
}

#[test]
fn peer_that_was_to_be_dialled_is_not_told_to_dial_back() {
    let mut room = Room::new();
    let first = room.join("o", "/", 4, None);
    let second = room.join("o", "/", 4, None);
    assert_eq!(second.offered, std::slice::from_ref(&first.id));
    assert!(room.more(&first, 4).is_empty());
}

#[test]
fn one_visitor_gets_to_know_a_bounded_number_of_others() {
    let mut room = Room::new();
    for _ in 0..(MOST_LINKS + 50) {
        room.join("o", "/", 0, None);
    }
    let curious = room.join("o", "/", 16, None);
    let mut known: BTreeSet<String> = curious.offered.iter().cloned().collect();
    for _ in 0..50 {
        known.extend(room.more(&curious, 16));
    }
    assert_eq!(known.len(), MOST_LINKS);
}

#[test]
fn thousands_join_in_a_moment() {
    let mut room = Room::new();
    let begun = std::time::Instant::now();
    let count = 10_000;
    for _ in 0..count {
        room.join("o", "/", 8, None);
    }
    assert_eq!(room.matchmaker.joined(), count);
    let most = room.matchmaker.peers.values().map(|p| p.links.len()).max();
    assert!(most.is_some_and(|most| most <= 24), "{most:?}");
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn full_peer_is_not_offered_until_one_of_its_channels_is_down() {
    let mut room = Room::new();
    let small = room.join_from(Place::default(), 0, Some(2));
    let first = room.join("o", "/", 1, None);
    assert_eq!(first.offered, std::slice::from_ref(&small.id));
    let second = room.join("o", "/", 2, None);
    assert!(second.offered.contains(&small.id));
    let third = room.join("o", "/", 9, None);
    assert!(
        !third.offered.contains(&small.id),
        "two are on their way to it"
    );
    for other in [&first, &second] {
        room.say(
            small.conn,
            ToServer::Up {
                peer: other.id.clone(),
            },
        );
    }
    assert_eq!(room.matchmaker.counts().channels, 2);
    room.now += 30_000;
    room.tick();
    assert!(!room.join("o", "/", 9, None).offered.contains(&small.id));
    room.say(
        first.conn,
        ToServer::Down {
            peer: small.id.clone(),
        },
    );
    assert_eq!(room.matchmaker.counts().channels, 1);
    assert!(room.more(&third, 9).contains(&small.id));
}

#[test]
fn room_that_was_kept_for_a_channel_that_never_opened_is_free_again() {
    let mut room = Room::new();
    let small = room.join_from(Place::default(), 0, Some(1));
    room.join("o", "/", 1, None);
    assert!(!room.join("o", "/", 9, None).offered.contains(&small.id));
    room.now += 25_000;
    room.tick();
    assert!(room.join("o", "/", 9, None).offered.contains(&small.id));
}

#[test]
fn two_who_could_not_connect_are_not_offered_to_each_other_again_for_a_while() {
    let mut room = Room::new();
    let first = room.join("o", "/", 0, None);
    let second = room.join("o", "/", 1, None);
    assert_eq!(second.offered, std::slice::from_ref(&first.id));
    let down = || ToServer::Down {
        peer: first.id.clone(),
    };
    // A page that is left while it connects closes what is not open yet, and nothing has failed.
    room.say(second.conn, down());
    assert_eq!(room.more(&second, 9), std::slice::from_ref(&first.id));
    room.now += TRIED;
    room.say(second.conn, down());
    assert!(room.more(&second, 9).is_empty());
    assert!(room.more(&first, 9).is_empty());
    room.say(second.conn, ToServer::Leave {});
    let back = room.join("o", "/next", 9, Some(&second.ticket));
    assert!(back.offered.is_empty());
    // Somebody else is not meant, and after a while it is tried again.
    let third = room.join("o", "/", 9, None);
    assert_eq!(third.offered.len(), 2);
    room.now += UNREACHABLE;
    assert!(room.more(&back, 9).contains(&first.id));
    // What was open and closed says nothing against the two.
    let up = ToServer::Up {
        peer: first.id.clone(),
    };
    room.say(back.conn, up);
    room.say(back.conn, down());
    assert!(room.more(&back, 9).contains(&first.id));
}

#[test]
fn banned_peer_is_never_offered_nor_heard_of_again_not_even_after_a_navigation() {
    let mut room = Room::new();
    let liar = room.join("o", "/", 0, None);
    let victim = room.join("o", "/", 1, None);
    assert_eq!(victim.offered, std::slice::from_ref(&liar.id));
    room.say(
        victim.conn,
        ToServer::Up {
            peer: liar.id.clone(),
        },
    );
    room.say(
        victim.conn,
        ToServer::Ban {
            peer: liar.id.clone(),
        },
    );
    assert_eq!(room.matchmaker.counts().channels, 0);
    assert!(room.more(&victim, 9).is_empty());
    assert!(room.more(&liar, 9).is_empty());
    let answer = room.signal(&liar, &victim.id);
    assert!(matches!(answer.as_slice(), [ToClient::Refused { .. }]));
    assert!(room.heard_by(&victim).is_empty());
    room.say(victim.conn, ToServer::Leave {});
    let back = room.join("o", "/next", 9, Some(&victim.ticket));
    assert!(back.offered.is_empty());
    for i in 0..200 {
        let peer = format!("{i:032x}");
        room.say(back.conn, ToServer::Ban { peer });
    }
    let id = back.id.parse().unwrap();
    assert_eq!(room.matchmaker.peers[&id].bans.len(), MOST_BANS);
}

#[test]
fn neighbour_by_prefix_city_or_map_comes_before_the_rest() {
    let place = |prefix, network, city, lat| Place {
        prefix: Some(prefix),
        network: Some(network),
        city: Some(city),
        position: Some(Position { lat, lon: 1800 }),
    };
    for (i, near) in [
        place(1, 1, 1, 1400),
        place(9, 1, 1, 1400),
        place(9, 9, 1, 1400),
        place(9, 9, 9, 1401),
    ]
    .into_iter()
    .enumerate()
    {
        let mut room = Room::new();
        for number in 0..500 {
            room.join_from(place(100 + number, 50, 50, 400), 0, None);
        }
        let neighbours = [0; 3].map(|_| room.join_from(near, 0, None).id);
        let asker = room.join_from(place(1, 1, 1, 1400), 4, None);
        assert!(
            neighbours.iter().all(|id| asker.offered.contains(id)),
            "{i}"
        );
    }
}

/// From one peer to another and back, where every fifth lives in the same town.
fn far(peers: &[Joined], i: usize, other: &str) -> u16 {
    let j = peers.iter().position(|peer| peer.id == other).unwrap();
    4 + 40 * (i % 5).abs_diff(j % 5) as u16
}

#[test]
fn measurements_bring_peers_of_one_town_together() {
    let mut room = Room::new();
    let mut peers: Vec<Joined> = Vec::new();
    for _ in 0..300 {
        let joined = room.join("o", "/", 8, None);
        peers.push(joined);
    }
    for _ in 0..12 {
        for i in 0..peers.len() {
            let id: Id = peers[i].id.parse().unwrap();
            let links: Vec<String> = names(
                &room.matchmaker.peers[&id]
                    .links
                    .keys()
                    .copied()
                    .collect::<Vec<_>>(),
            );
            let mut measured = Vec::new();
            for other in links.into_iter().take(20) {
                room.say(
                    peers[i].conn,
                    ToServer::Up {
                        peer: other.clone(),
                    },
                );
                let rtt = far(&peers, i, &other);
                measured.push(Measured { peer: other, rtt });
            }
            room.say(
                peers[i].conn,
                ToServer::Heartbeat {
                    measured,
                    serves: None,
                },
            );
        }
        room.now += 20_000;
    }
    let mut same = 0;
    for i in 0..100 {
        let offered = room.more(&peers[i], 4);
        for other in offered {
            same += usize::from(far(&peers, i, &other) < 40);
        }
    }
    // Three of four are near, one from anywhere; by lot it would be one of five.
    assert!(same > 200, "{same} of 400");
}

#[test]
fn not_everybody_is_offered_the_same_few() {
    let mut room = Room::new();
    for _ in 0..400 {
        room.join("o", "/", 0, None);
    }
    let mut offers: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..100 {
        for id in room.join("o", "/", 8, None).offered {
            *offers.entry(id).or_default() += 1;
        }
    }
    assert!(offers.len() > 250, "{}", offers.len());
    assert!(offers.values().all(|count| *count < 12), "{offers:?}");
}

#[test]
fn nobody_is_told_of_a_visitor_who_has_no_company() {
    let mut room = Room::new();
    room.matchmaker.set_rules(Rules {
        threshold: 3,
        ..Rules::default()
    });
    let first = room.join("o", "/quiet", 4, None);
    let second = room.join("o", "/quiet", 4, None);
    let elsewhere = room.join("o", "/other", 4, None);
    for joined in [&first, &second, &elsewhere] {
        assert_eq!(joined.offered, [""; 0]);
    }
    // The third one makes it a crowd, and those who came before find each other.
    let third = room.join("o", "/quiet", 4, None);
    assert_eq!(third.offered.len(), 2);
    assert!(!room.more(&first, 4).is_empty());
    assert_eq!(room.more(&elsewhere, 4), [""; 0]);
    assert!(!third.offered.contains(&elsewhere.id));
    // And is none without it.
    room.hang_up(third.conn);
    assert_eq!(room.join("o", "/other", 4, None).offered, [""; 0]);
}

#[test]
fn who_asks_for_more_is_offered_first_who_came_to_the_page_before() {
    let mut room = Room::new();
    let before: Vec<_> = (0..12).map(|_| room.join("o", "/", 0, None)).collect();
    room.now += 1;
    let asks = room.join("o", "/", 0, None);
    room.now += 1;
    let _after: Vec<_> = (0..12).map(|_| room.join("o", "/", 0, None)).collect();
    let answer = room.say(
        asks.conn,
        ToServer::More {
            want: 4,
            page: None,
        },
    );
    let [ToClient::Offered { peers }] = answer.as_slice() else {
        panic!("{answer:?}");
    };
    assert_eq!(peers.len(), 4);
    let came_before = |peer: &&String| before.iter().any(|joined| joined.id == **peer);
    assert_eq!(peers.iter().filter(came_before).count(), 4);
    // Where nobody came before, the others are as good as any.
    let first = room.say(
        before[0].conn,
        ToServer::More {
            want: 4,
            page: None,
        },
    );
    assert!(matches!(first.as_slice(), [ToClient::Offered { peers }] if peers.len() == 4));
}

#[test]
fn who_was_banned_by_those_who_were_connected_to_it_is_offered_after_all_others() {
    let mut room = Room::new();
    let liar = room.join("o", "/", 0, None);
    let others: Vec<Joined> = (0..8).map(|_| room.join("o", "/", 0, None)).collect();
    let mut connected = 0;
    for victim in others.iter().take(3) {
        let offered = room.more(victim, 16);
        assert!(offered.contains(&liar.id));
        let peer = liar.id.clone();
        room.say(victim.conn, ToServer::Up { peer });
        let peer = liar.id.clone();
        room.say(victim.conn, ToServer::Ban { peer });
        connected += 1;
    }
    let banned_by = |room: &Room, joined: &Joined| {
        let id = joined.id.parse().unwrap();
        room.matchmaker.peers[&id].banned_by
    };
    assert_eq!(banned_by(&room, &liar), connected);
    for _ in 0..20 {
        let newcomer = room.join("o", "/", 4, None);
        assert!(!newcomer.offered.contains(&liar.id));
        room.hang_up(newcomer.conn);
    }
    // It is not shut out, and takes with it what is said of it.
    let back = room.join("o", "/next", 0, Some(&liar.ticket));
    assert_eq!(banned_by(&room, &back), connected);
    let newcomer = room.join("o", "/next", 16, None);
    assert!(newcomer.offered.contains(&liar.id));
}

#[test]
fn who_bans_strangers_or_everybody_is_not_believed() {
    let mut room = Room::new();
    let victims: Vec<Joined> = (0..40).map(|_| room.join("o", "/", 0, None)).collect();
    let banned_by = |room: &Room, joined: &Joined| {
        let id = joined.id.parse().unwrap();
        room.matchmaker.peers[&id].banned_by
    };
    // Nobody it was connected to.
    let slanderer = room.join("o", "/", 0, None);
    let peer = victims[0].id.clone();
    room.say(slanderer.conn, ToServer::Ban { peer });
    assert_eq!(banned_by(&room, &victims[0]), 0);
    // The same one twice counts once, and so many in all.
    let accuser = room.join("o", "/", 0, None);
    let mut known = BTreeSet::new();
    for _ in 0..4 {
        known.extend(room.more(&accuser, 16));
    }
    assert!(known.len() > 30);
    for peer in &known {
        for _ in 0..2 {
            let up = ToServer::Up { peer: peer.clone() };
            room.say(accuser.conn, up);
            let ban = ToServer::Ban { peer: peer.clone() };
            room.say(accuser.conn, ban);
        }
    }
    let all = victims.iter().chain([&slanderer]);
    let said: u16 = all.map(|victim| banned_by(&room, victim)).sum();
    assert_eq!(said, 24);
}
