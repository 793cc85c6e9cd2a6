//! Who is found on which page.

use super::*;

#[test]
fn who_was_on_a_page_is_found_there_also_after_it_went_on() {
    let mut room = Room::new();
    let walker = room.join("o", "/one", 0, None);
    room.hang_up(walker.conn);
    let walker = room.join("o", "/two", 0, Some(&walker.ticket));
    for _ in 0..40 {
        room.join("o", "/elsewhere", 0, None);
    }
    let newcomer = room.join("o", "/one", 1, None);
    assert_eq!(newcomer.offered, std::slice::from_ref(&walker.id));
    let newcomer = room.join("o", "/two", 2, None);
    assert!(newcomer.offered.contains(&walker.id));
    // The pages of who leaves for good are nobody's any more.
    let pages = room.matchmaker.counts().pages;
    room.hang_up(walker.conn);
    assert_eq!(room.matchmaker.counts().pages, pages);
    let newcomer = room.join("o", "/one", 4, None);
    assert!(!newcomer.offered.contains(&walker.id));
}

#[test]
fn page_that_is_turned_to_in_another_tab_is_the_one_that_counts() {
    let mut room = Room::new();
    let first = room.join("o", "/one", 0, None);
    let there = room.join("o", "/two", 0, None);
    for _ in 0..40 {
        room.join("o", "/elsewhere", 0, None);
    }
    let page = String::from("/two");
    assert_eq!(room.say(first.conn, ToServer::Page { page }), []);
    assert_eq!(room.more(&first, 1), std::slice::from_ref(&there.id));
    // It is found on both.
    let newcomer = room.join("o", "/one", 1, None);
    assert_eq!(newcomer.offered, std::slice::from_ref(&first.id));
    let newcomer = room.join("o", "/two", 2, None);
    assert!(newcomer.offered.contains(&first.id) && newcomer.offered.contains(&there.id));
}

#[test]
fn who_is_on_a_page_to_come_is_offered_before_it_is_turned_to() {
    let mut room = Room::new();
    let first = room.join("o", "/one", 0, None);
    let there = room.join("o", "/two", 0, None);
    for _ in 0..40 {
        room.join("o", "/elsewhere", 0, None);
    }
    let mut more = |page: &str, want| {
        let page = Some(page.into());
        let answer = room.say(first.conn, ToServer::More { want, page });
        match answer.as_slice() {
            [ToClient::Offered { peers }] => peers.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(more("/two", 1), std::slice::from_ref(&there.id));
    assert!(more("/where-nobody-was", 1).is_empty());
    // Until it is there it is not found there.
    let newcomer = room.join("o", "/two", 1, None);
    assert_eq!(newcomer.offered, std::slice::from_ref(&there.id));
    assert_eq!(room.matchmaker.counts().pages, 3);
}

#[test]
fn of_a_page_to_come_with_few_visitors_nobody_is_told() {
    let mut room = Room::new();
    room.matchmaker.set_rules(Rules {
        threshold: 3,
        ..Rules::default()
    });
    let [asks, ..] = [0; 3].map(|_| room.join("o", "/one", 0, None));
    let mut there = vec![room.join("o", "/two", 0, None)];
    for count in 1..4 {
        let page = Some("/two".into());
        let answer = room.say(asks.conn, ToServer::More { want: 4, page });
        let [ToClient::Offered { peers }] = answer.as_slice() else {
            panic!("{answer:?}");
        };
        let told = there.iter().filter(|other| peers.contains(&other.id));
        let told = told.count();
        // Who asks would be one of them, but is not one yet for those who are there.
        assert_eq!(told > 0, count > 2, "{count}");
        there.push(room.join("o", "/two", 0, None));
    }
}

#[test]
fn who_was_on_a_page_in_an_earlier_visit_is_found_there_if_it_says_so() {
    let mut room = Room::new();
    let back = room.join("o", "/two", 0, None);
    for _ in 0..40 {
        room.join("o", "/elsewhere", 0, None);
    }
    let pages = vec!["/one".into(), "/two".into(), "/one".into()];
    assert_eq!(room.say(back.conn, ToServer::Been { pages }), []);
    assert_eq!(room.matchmaker.counts().pages, 3);
    let newcomer = room.join("o", "/one", 1, None);
    assert_eq!(newcomer.offered, std::slice::from_ref(&back.id));
    // Where it is now it is offered whom it finds there, as before.
    let there = room.join("o", "/two", 0, None);
    assert_eq!(room.more(&back, 1), std::slice::from_ref(&there.id));
    // It can't be everywhere, nor push out where it is.
    let pages = (0..500).map(|page| format!("/{page}"));
    let long = "x".repeat(LONGEST_PAGE + 1);
    let pages = std::iter::once(long).chain(pages).collect();
    assert_eq!(room.say(back.conn, ToServer::Been { pages }), []);
    assert!(room.matchmaker.counts().pages <= 2 + MOST_BEEN);
    room.hang_up(there.conn);
    room.hang_up(newcomer.conn);
    room.hang_up(back.conn);
    assert_eq!(room.matchmaker.counts().pages, 1);
}

#[test]
fn one_visitor_is_found_on_a_bounded_number_of_pages() {
    let mut room = Room::new();
    let walker = room.join("o", "/", 0, None);
    for page in 0..500 {
        let page = format!("/{}", page % 300);
        room.say(walker.conn, ToServer::Page { page });
    }
    assert_eq!(room.matchmaker.counts().pages, 1 + MOST_BEEN);
    let page = "x".repeat(LONGEST_PAGE + 1);
    let answer = room.say(walker.conn, ToServer::Page { page });
    assert!(matches!(answer.as_slice(), [ToClient::Refused { .. }]));
    room.hang_up(walker.conn);
    assert_eq!(room.matchmaker.counts().pages, 0);
}

#[test]
fn whom_one_knew_takes_one_place_in_four_where_others_are_on_the_page() {
    let mut room = Room::new();
    let knew = [0; 8].map(|_| room.join("o", "/one", 0, None).id);
    let walker = room.join("o", "/one", 8, None);
    assert_eq!(walker.offered.len(), 8);
    for _ in 0..20 {
        room.join("o", "/two", 0, None);
    }
    room.hang_up(walker.conn);
    let walker = room.join("o", "/two", 8, Some(&walker.ticket));
    let again = walker.offered.iter().filter(|id| knew.contains(id));
    assert_eq!((walker.offered.len(), again.count()), (8, 2));
}

#[test]
fn same_page_comes_first_and_then_the_same_site() {
    let mut room = Room::new();
    let elsewhere = room.join("o", "/other", 0, None);
    let here = [0; 3].map(|_| room.join("o", "/page", 0, None).id);
    let newcomer = room.join("o", "/page", 4, None);
    assert_eq!(newcomer.offered.len(), 4);
    assert!(here.iter().all(|id| newcomer.offered[..3].contains(id)));
    assert_eq!(newcomer.offered[3], elsewhere.id);
}
