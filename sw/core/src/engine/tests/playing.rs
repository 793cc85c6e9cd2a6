//! What is played: who reads it has some seconds ahead, and needs the rest as fast as it plays.

use super::*;
use crate::port::AHEAD;

/// Bytes of a film, and of the parts in which it is asked for.
const LEN: u64 = 8_000_000;
const PART: u64 = 4 << 20;
/// Bytes a millisecond that are played, and bytes that the player has ahead.
const PACE: u64 = 300;
const SECONDS: u64 = 2_000_000;

/// Visitor 1, who plays a film part by part and needs so much of it by now.
struct Player {
    began: u64,
    want: WantId,
    /// Up to where it has read, and when it stood still.
    read: u64,
    stood: u64,
}

/// Visitor 1 is to play what visitor 0 holds, who sends so many bytes a millisecond.
fn film(up: u64) -> (Swarm, Vec<u8>, ContentId) {
    film_up_to(up, group_count(LEN))
}

/// The same, and of the film it holds these first groups.
fn film_up_to(up: u64, groups: u32) -> (Swarm, Vec<u8>, ContentId) {
    let mut swarm = Swarm::new(2);
    swarm.visitors[0].up = up;
    let film = noise(LEN as usize, 1);
    let id = ContentId::of(&film);
    swarm.visitors[0].store.insert(id, film.clone());
    swarm.given.insert(id, film.clone());
    swarm.input(0, held(id, groups));
    swarm.on_page(1, &[0, 1], &[id]);
    swarm.run(1_000);
    swarm.input(1, QUICK);
    (swarm, film, id)
}

fn held(id: ContentId, groups: u32) -> Input {
    Input::Stored {
        id,
        len: LEN,
        groups: vec![(0, groups)],
    }
}

impl Player {
    fn new(swarm: &mut Swarm, id: ContentId) -> Self {
        let mut player = Self {
            began: swarm.now,
            want: 0,
            read: 0,
            stood: 0,
        };
        player.asks(swarm, id);
        player
    }

    fn asks(&mut self, swarm: &mut Swarm, id: ContentId) {
        self.want += 1;
        let (want, start) = (self.want, self.read);
        let bytes = start..LEN.min(start + PART);
        swarm.play(1, want, (id, LEN), bytes, start + AHEAD, 0);
    }

    /// Plays for so long.
    fn plays(&mut self, swarm: &mut Swarm, id: ContentId, ms: u64) {
        let end = swarm.now + ms;
        while swarm.now < end && self.read < LEN {
            swarm.run(50);
            let head = (swarm.now - self.began - self.stood) * PACE;
            let (start, got, ended) = &swarm.visitors[1].got[&self.want];
            let (there, ended) = (start + got.len() as u64, *ended);
            assert!(!matches!(ended, Some(Err(_))), "{ended:?}");
            if head > there && there < LEN {
                self.stood += 50;
            }
            self.read = self.read.max(there.min(head + SECONDS));
            let (want, to) = (self.want, self.read + AHEAD);
            swarm.input(1, Input::Credit { want, to });
            if ended.is_some() && self.read == there && self.read < LEN {
                self.asks(swarm, id);
            }
        }
    }

    /// What the network was asked for.
    fn heads(&self, swarm: &Swarm) -> usize {
        swarm.visitors[1].behind.len()
    }

    fn has_all(&self, swarm: &Swarm, film: &[u8]) -> bool {
        (1..=self.want).all(|want| {
            let (start, got, end) = &swarm.visitors[1].got[&want];
            *end == Some(Ok(())) && film[*start as usize..].starts_with(got)
        })
    }
}

#[test]
fn peers_who_keep_the_pace_are_left_alone_though_the_network_is_faster() {
    let (mut swarm, film, id) = film(2_000);
    let mut player = Player::new(&mut swarm, id);
    player.plays(&mut swarm, id, 6_000);
    let before = player.heads(&swarm);
    // From now on its peer has hardly more than is played, and the network fifteen times as much.
    swarm.visitors[0].up = PACE + PACE / 5;
    player.plays(&mut swarm, id, 60_000);
    assert!(player.has_all(&swarm, &film));
    assert_eq!(player.heads(&swarm), before);
    assert_eq!(player.stood, 0);
}

#[test]
fn who_says_how_fast_it_plays_is_not_given_it_by_the_network_as_fast_as_that_can() {
    // As fast as twice what is played, and a fourth of the network.
    let heads = |is_told: bool| {
        let (mut swarm, film, id) = film(2 * PACE);
        let mut player = Player::new(&mut swarm, id);
        if is_told {
            let rate = PACE * 1_000;
            swarm.input(1, Input::Pace { id, rate });
        }
        player.plays(&mut swarm, id, 60_000);
        assert!(player.has_all(&swarm, &film));
        assert_eq!(player.stood, 0);
        player.heads(&swarm)
    };
    assert!(heads(true) <= 1, "{}", heads(true));
    assert!(heads(false) > heads(true), "{}", heads(false));
}

#[test]
fn peers_who_do_not_keep_the_pace_are_helped_out_before_the_player_stands_still() {
    let (mut swarm, film, id) = film(2_000);
    let mut player = Player::new(&mut swarm, id);
    player.plays(&mut swarm, id, 6_000);
    let before = player.heads(&swarm);
    swarm.visitors[0].up = PACE / 2;
    player.plays(&mut swarm, id, 60_000);
    assert!(player.has_all(&swarm, &film));
    assert!(player.heads(&swarm) > before);
    assert_eq!(player.stood, 0);
    // They send what they can all the same.
    let totals = swarm.visitors[1].engine.totals();
    assert!(totals.received > LEN / 2, "{totals:?}");
}

#[test]
fn where_nobody_has_the_next_bytes_the_want_goes_on_and_peers_who_come_to_have_them_do() {
    // It holds two megabytes, as somebody would who plays it as well.
    let (first, half) = ((2 << 20) / GROUP, (5 << 20) / GROUP);
    let (mut swarm, film, id) = film_up_to(2_000, first as u32);
    let mut player = Player::new(&mut swarm, id);
    player.plays(&mut swarm, id, 5_000);
    let before = player.heads(&swarm);
    let asked = swarm.visitors[1].more.len();
    player.plays(&mut swarm, id, 3_000);
    assert!(player.heads(&swarm) > before, "the network brings them");
    assert!(
        swarm.visitors[1].more.len() > asked,
        "others are looked for"
    );
    swarm.input(0, held(id, half as u32));
    player.plays(&mut swarm, id, 2_000);
    let before = player.heads(&swarm);
    swarm.input(0, held(id, group_count(LEN)));
    player.plays(&mut swarm, id, 60_000);
    assert!(player.has_all(&swarm, &film));
    assert_eq!(
        player.heads(&swarm),
        before,
        "{:?}",
        swarm.visitors[1].behind
    );
    assert_eq!(player.stood, 0);
}

#[test]
fn player_that_has_seconds_ahead_does_not_make_others_wait() {
    let (mut swarm, _, id) = film(2_000);
    let upload = 400_000;
    let config = Config {
        upload,
        ..Config::default()
    };
    swarm.input(1, Input::Configure { config });
    let bytes = noise(6_000_000, 2);
    let other = swarm.give(1, &bytes);
    let mut player = Player::new(&mut swarm, id);
    player.plays(&mut swarm, id, 4_000);
    swarm.want(0, 1, other, 6_000_000, 0..6_000_000);
    let sent = |swarm: &Swarm| swarm.visitors[1].engine.totals().sent;
    player.plays(&mut swarm, id, 10_000);
    assert!(sent(&swarm) > 8 * upload, "{}", sent(&swarm));
    assert_eq!(player.stood, 0);
}

#[test]
fn what_follows_a_part_is_there_when_it_is_asked_for() {
    let (mut swarm, film, id) = film(2_000);
    let mut player = Player::new(&mut swarm, id);
    while player.want == 1 {
        player.plays(&mut swarm, id, 50);
    }
    let (start, got, _) = &swarm.visitors[1].got[&2];
    assert_eq!(*start, PART);
    assert!(got.len() as u64 >= AHEAD / 2 - BLOCK, "{}", got.len());
    player.plays(&mut swarm, id, 60_000);
    assert!(player.has_all(&swarm, &film));
    assert_eq!(swarm.visitors[1].engine.totals().wasted, 0);
}

#[test]
fn what_follows_is_forgotten_by_who_seeks_or_goes_away() {
    let (mut swarm, film, id) = film(2_000);
    let mut player = Player::new(&mut swarm, id);
    while swarm.visitors[1].got[&1].2.is_none() {
        player.plays(&mut swarm, id, 50);
    }
    swarm.run(500);
    assert_eq!(swarm.visitors[1].engine.wants.len(), 1);
    player.read = 6_500_000;
    player.asks(&mut swarm, id);
    swarm.run(5_000);
    assert!(film[6_500_000..].starts_with(swarm.got(1, 2).0));
    assert!(swarm.got(1, 2).1 == Some(Ok(())));
    assert!(swarm.visitors[1].engine.wants.is_empty());

    let began = swarm.now;
    (player.began, player.read) = (began, 0);
    player.asks(&mut swarm, id);
    while swarm.visitors[1].got[&3].2.is_none() {
        player.plays(&mut swarm, id, 50);
    }
    swarm.run(500);
    assert_eq!(swarm.visitors[1].engine.wants.len(), 1);
    swarm.run(31_000);
    assert!(swarm.visitors[1].engine.wants.is_empty());
}
