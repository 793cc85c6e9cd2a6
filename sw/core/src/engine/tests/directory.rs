//! The server's directory of large contents: what it is told, what it is asked, what comes of it.

use super::*;

fn told(swarm: &Swarm, who: usize, kind: &str) -> Vec<Vec<ContentId>> {
    let all = swarm.visitors[who].directory.iter();
    let of_kind = all.filter(|(_, what, _)| *what == kind);
    of_kind.map(|(.., ids)| ids.clone()).collect()
}

#[test]
fn directory_lists_what_is_large_whole_and_served() {
    let mut swarm = Swarm::new(2);
    let (large, small) = (noise(2_000_000, 1), noise(20_000, 2));
    let (id, _) = (swarm.give(0, &large), swarm.give(0, &small));
    let partial = ContentId::of(b"partial");
    let groups = vec![(0, 3)];
    let len = 5_000_000;
    swarm.input(
        0,
        Input::Stored {
            id: partial,
            len,
            groups,
        },
    );
    assert!(told(&swarm, 0, "hold").is_empty());
    swarm.run(2_000);
    assert_eq!(told(&swarm, 0, "hold"), [[id]]);
    // Entries end by themselves.
    swarm.run(600_000);
    assert_eq!(told(&swarm, 0, "hold"), [[id], [id]]);

    let nobody = Config {
        slots: 0,
        ..Config::default()
    };
    swarm.input(0, Input::Configure { config: nobody });
    swarm.run(2_000);
    assert_eq!(told(&swarm, 0, "release"), [[id]]);
    let config = Config::default();
    swarm.input(0, Input::Configure { config });
    swarm.run(2_000);
    assert_eq!(told(&swarm, 0, "hold").len(), 3);
    swarm.input(0, Input::Dropped { id });
    swarm.run(2_000);
    assert_eq!(told(&swarm, 0, "release"), [[id], [id]]);
    assert!(told(&swarm, 1, "hold").is_empty());
}

#[test]
fn one_holder_of_a_film_is_found_through_the_directory_though_all_places_are_taken() {
    // Visitor 2 is not connected to the others.
    let config = |_| Config {
        target_peers: 1,
        ..Config::default()
    };
    let mut swarm = Swarm::with(3, config);
    swarm.dials = true;
    swarm.connect(0, 1);
    swarm.run(100);
    let film = noise(2_000_000, 1);
    let id = swarm.give(2, &film);
    swarm.on_page(1, &[0, 1], &[]);
    swarm.run(100);
    swarm.want(0, 1, id, 2_000_000, 0..2_000_000);
    assert_eq!(told(&swarm, 0, "find"), [[id]]);

    let peers = vec![name(2)];
    swarm.input(0, Input::Holders { id, peers });
    swarm.run(5_000);
    // The first want may have ended before somebody was found; the page asks for the next part.
    swarm.want(0, 2, id, 2_000_000, 0..2_000_000);
    swarm.run(5_000);
    assert!(swarm.got_all(0, 2, &film));
    assert_eq!(told(&swarm, 0, "find").len(), 1, "not while it is known");

    // Nobody waits for this, so nobody is dialled.
    let dialled = swarm.visitors[1].dialled.len();
    let peers = vec![name(2)];
    swarm.input(1, Input::Holders { id, peers });
    assert_eq!(swarm.visitors[1].dialled.len(), dialled);
}

#[test]
fn visitor_without_any_peer_finds_the_holder_through_the_directory() {
    let mut swarm = Swarm::apart(2);
    swarm.dials = true;
    let film = noise(2_000_000, 1);
    let id = swarm.give(1, &film);
    swarm.on_page(1, &[0], &[]);
    swarm.run(100);
    let len = 2_000_000;
    swarm.input(0, Input::Find { id, len });
    assert_eq!(told(&swarm, 0, "find"), [[id]]);
    // The page reads on, and small things are as before.
    swarm.input(0, Input::Find { id, len });
    let small = ContentId::of(b"small");
    swarm.input(
        0,
        Input::Find {
            id: small,
            len: 20_000,
        },
    );
    assert_eq!(told(&swarm, 0, "find"), [[id]]);

    let peers = vec![name(1)];
    swarm.input(0, Input::Holders { id, peers });
    swarm.run(5_000);
    swarm.want(0, 1, id, len, 0..len);
    swarm.run(5_000);
    assert!(swarm.got_all(0, 1, &film));
    swarm.run(30_000);
    let other = ContentId::of(b"nobody is known to hold it");
    for _ in 0..3 {
        swarm.input(0, Input::Find { id: other, len });
        swarm.run(20_000);
    }
    // Once in half a minute.
    assert_eq!(told(&swarm, 0, "find"), [[id], [other], [other]]);
}

#[test]
fn directory_is_not_asked_for_what_a_peer_holds_or_what_is_small() {
    let mut swarm = Swarm::new(2);
    let (film, image) = (noise(2_000_000, 1), noise(20_000, 2));
    let (film_id, image_id) = (swarm.give(1, &film), swarm.give(1, &image));
    swarm.on_page(1, &[0, 1], &[film_id, image_id]);
    swarm.run(2_000);
    swarm.want(0, 1, film_id, 2_000_000, 0..2_000_000);
    swarm.want(0, 2, ContentId::of(b"nobody has it"), 20_000, 0..20_000);
    swarm.run(2_000);
    assert!(swarm.got_all(0, 1, &film));
    assert!(told(&swarm, 0, "find").is_empty());
}
