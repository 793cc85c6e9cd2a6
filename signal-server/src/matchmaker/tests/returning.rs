//! Coming back in time: what a navigation spares the server and the others, and that it spares them
//! nothing that they need.

use rand::RngExt;

use super::{
    away::{NAVIGATES, REMEMBERED},
    *,
};

/// What a join or a return made the matchmaker do.
#[derive(Debug, Default)]
struct Work {
    to_others: usize,
    list_changes: usize,
    looked_at: usize,
}

/// A site where everybody has channels to those it was offered, and a stranger's place.
struct Site {
    room: Room,
    peers: Vec<Joined>,
}

fn place(network: u32) -> Place {
    Place {
        prefix: Some(u64::from(network)),
        network: Some(network % 5),
        city: Some(network % 7),
        position: None,
    }
}

impl Site {
    fn new() -> Self {
        let mut site = Self {
            room: Room::new(),
            peers: Vec::new(),
        };
        for i in 0..200_u32 {
            let peer = site.enter("/", i, None);
            site.peers.push(peer);
        }
        site
    }

    fn enter(&mut self, page: &str, from: u32, ticket: Option<&str>) -> Joined {
        let conn = self.room.open("o");
        self.room.matchmaker.locate(conn, place(from));
        let peer = self.room.join_on(conn, page, 8, None, ticket);
        for other in &peer.offered {
            let peer_id = other.clone();
            self.room.say(conn, ToServer::Up { peer: peer_id });
        }
        peer
    }

    fn index_work(&self) -> [usize; 2] {
        let site = self.room.matchmaker.sites.get("o").unwrap();
        site.index.work.get()
    }

    /// One goes, and comes to another page, with its ticket or without; what that took.
    fn navigate(&mut self, who: usize, page: &str, with_ticket: bool) -> Work {
        self.room.said.clear();
        let before = self.index_work();
        let (conn, ticket) = (self.peers[who].conn, self.peers[who].ticket.clone());
        self.room.say(conn, ToServer::Leave {});
        self.room.now += 400;
        let ticket = with_ticket.then_some(&*ticket);
        let conn = self.room.open("o");
        self.room.matchmaker.locate(conn, place(who as u32));
        let back = self.room.join_on(conn, page, 8, None, ticket);
        // What was put off is work, too.
        self.room.now += NAVIGATES;
        for peer in &self.peers {
            let mut out = Vec::new();
            self.room
                .matchmaker
                .heard(peer.conn, self.room.now, &mut out);
        }
        self.room.tick();
        let after = self.index_work();
        let work = Work {
            to_others: self.room.said.values().map(Vec::len).sum(),
            list_changes: after[0] - before[0],
            looked_at: after[1] - before[1],
        };
        assert_eq!(back.offered.len(), 8);
        for peer in back.offered.clone() {
            self.room.say(conn, ToServer::Up { peer });
        }
        self.peers[who] = back;
        work
    }
}

#[test]
fn return_takes_less_work_than_a_join_and_says_less_to_others() {
    let mut site = Site::new();
    let mut sums = [Work::default(), Work::default()];
    let mut lots = StdRng::seed_from_u64(5);
    for step in 0..900_u32 {
        let who = lots.random_range(0..site.peers.len());
        let with_ticket = step % 2 == 1;
        let id = site.peers[who].id.clone();
        let page = ["/", "/next"][lots.random_range(0..2)];
        let work = site.navigate(who, page, with_ticket);
        assert_eq!(site.peers[who].id == id, with_ticket);
        // At first everybody still has the links of who came first or last.
        if step >= 500 {
            let sum = &mut sums[usize::from(with_ticket)];
            sum.to_others += work.to_others;
            sum.list_changes += work.list_changes;
            sum.looked_at += work.looked_at;
        }
    }
    let [join, back] = sums;
    println!("of 200 each: {join:?}, {back:?}");
    assert!(back.to_others * 10 <= join.to_others * 7);
    assert!(back.list_changes * 10 <= join.list_changes * 7);
    assert!(back.looked_at * 2 <= join.looked_at);
}

#[test]
fn who_was_dialled_and_whose_channel_stood_hears_of_a_navigation_nothing() {
    let mut room = Room::new();
    let neighbour = room.join("o", "/", 0, None);
    let peer = room.join("o", "/", 1, None);
    let id = neighbour.id.clone();
    room.say(peer.conn, ToServer::Up { peer: id });
    room.hang_up(peer.conn);
    assert_eq!(room.matchmaker.counts().channels, 0);
    assert_eq!(room.matchmaker.joined(), 1);
    room.now += NAVIGATES - 1;
    room.tick();
    let back = room.join("o", "/next", 1, Some(&peer.ticket));
    assert_eq!(
        (back.id, back.ticket),
        (peer.id.clone(), peer.ticket.clone())
    );
    assert_eq!(back.offered, std::slice::from_ref(&neighbour.id));
    room.now += NAVIGATES;
    room.tick();
    assert!(room.heard_by(&neighbour).is_empty());
    assert!(room.signal(&neighbour, &peer.id).is_empty());
}

#[test]
fn who_does_not_come_back_in_time_is_gone_once_for_all_who_knew() {
    let mut room = Room::new();
    let dialled = room.join("o", "/", 0, None);
    let peer = room.join("o", "/", 1, None);
    let id = dialled.id.clone();
    room.say(peer.conn, ToServer::Up { peer: id });
    let dials = room.join("o", "/", 9, None);
    let id = peer.id.clone();
    room.say(dials.conn, ToServer::Up { peer: id });
    room.say(peer.conn, ToServer::Leave {});
    // It would dial again at once.
    assert_eq!(room.heard_by(&dials), [gone(&peer)]);
    assert!(room.heard_by(&dialled).is_empty());
    let newcomer = room.join("o", "/", 9, None);
    assert!(!newcomer.offered.contains(&peer.id), "it is not there");
    room.now += NAVIGATES;
    room.tick();
    room.tick();
    assert_eq!(room.heard_by(&dialled), [gone(&peer)]);
    let back = room.join("o", "/", 1, Some(&peer.ticket));
    assert_eq!(back.id, peer.id);
    room.now += NAVIGATES;
    room.tick();
    assert!(room.heard_by(&dialled).is_empty());
}

#[test]
fn who_says_something_to_one_that_is_away_hears_that_it_went_and_only_then() {
    let mut room = Room::new();
    let neighbour = room.join("o", "/", 0, None);
    let peer = room.join("o", "/", 1, None);
    let id = neighbour.id.clone();
    room.say(peer.conn, ToServer::Up { peer: id });
    room.hang_up(peer.conn);
    assert_eq!(room.signal(&neighbour, &peer.id), [gone(&peer)]);
    let again = room.signal(&neighbour, &peer.id);
    assert!(matches!(again.as_slice(), [ToClient::Refused { .. }]));
    // Channels to who is not there do not count.
    let id = peer.id.clone();
    room.say(neighbour.conn, ToServer::Up { peer: id });
    assert_eq!(room.matchmaker.counts().channels, 0);
    room.now += NAVIGATES;
    room.tick();
    assert!(room.heard_by(&neighbour).is_empty());
}

#[test]
fn whom_one_banned_or_who_left_meanwhile_is_not_met_again() {
    let mut room = Room::new();
    let first = room.join("o", "/", 0, None);
    let second = room.join("o", "/", 0, None);
    let peer = room.join("o", "/", 2, None);
    for id in [&first.id, &second.id] {
        let peer_id = id.clone();
        room.say(peer.conn, ToServer::Up { peer: peer_id });
    }
    room.hang_up(peer.conn);
    let id = peer.id.clone();
    room.say(first.conn, ToServer::Ban { peer: id });
    room.hang_up(second.conn);
    let back = room.join("o", "/", 4, Some(&peer.ticket));
    assert!(back.offered.is_empty());
    for id in [&first.id, &second.id] {
        let answer = room.signal(&back, id);
        assert!(matches!(answer.as_slice(), [ToClient::Refused { .. }]));
    }
    assert!(room.heard_by(&first).is_empty());
    // Both were away at once: they are offered to each other as old acquaintances.
    let back = room.join("o", "/", 4, Some(&second.ticket));
    assert!(back.offered.contains(&peer.id));
}

#[test]
fn who_comes_and_goes_for_long_leaves_nothing_behind() {
    let mut room = Room::new();
    let mut peers: Vec<Joined> = (0..40)
        .map(|i| room.join("o", &format!("/{}", i % 3), 6, None))
        .collect();
    for step in 0..2000_usize {
        let who = step * 7 % peers.len();
        let id = peers[who].offered.first().cloned();
        if let Some(peer) = id.filter(|_| step % 3 == 0) {
            room.say(peers[who].conn, ToServer::Up { peer });
        }
        // Some come back before their old page is gone, some in time, some too late.
        if step % 5 > 0 {
            room.hang_up(peers[who].conn);
        }
        room.now += [0, 300, 900, NAVIGATES + 1000, REMEMBERED + 1000][step % 11 / 2 % 5];
        for peer in &peers {
            room.say(
                peer.conn,
                ToServer::Heartbeat {
                    measured: Vec::new(),
                    serves: None,
                },
            );
        }
        room.tick();
        let page = format!("/{}", step % 5);
        let ticket = peers[who].ticket.clone();
        peers[who] = room.join("o", &page, 6, Some(&ticket));
        assert_eq!(room.matchmaker.joined(), peers.len());
        let found = room.join("o", &page, 1, None);
        room.hang_up(found.conn);
        assert_eq!(found.offered.len(), 1);
    }
    assert!(room.matchmaker.counts().channels <= room.matchmaker.joined() * 6);
    for peer in &peers {
        room.hang_up(peer.conn);
    }
    assert_eq!(room.matchmaker.counts(), Counts::default());
    room.now += NAVIGATES;
    room.tick();
    assert!(room.matchmaker.sites.is_empty());
    room.now += REMEMBERED;
    room.tick();
    assert!(room.matchmaker.formers.is_empty() && room.matchmaker.absent.is_empty());
}
