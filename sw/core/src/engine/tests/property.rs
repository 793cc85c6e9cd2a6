//! Whatever happens, in whichever order.

use proptest::prelude::*;

use super::{transfers::lie, *};

/// What may happen to the visitors in the middle.
#[derive(Clone, Copy, Debug)]
enum Chance {
    Close(usize, usize),
    Connect(usize, usize),
    Silent(usize),
    Loud,
    Forget(usize),
    Cancel,
    Credit,
    Prefetch,
    /// Of the film this half.
    Begin(bool),
    Lower(usize),
    /// A message that is on its way is lost.
    Lose(usize),
    /// Or comes twice.
    Repeat(usize),
    /// Or later than others.
    Late(usize, u64),
    ServerLost,
    /// How quick the network is.
    Network(u32, u64),
    Answered(usize, u8),
}

fn chance() -> impl Strategy<Value = Chance> {
    let who = || 0usize..5;
    prop_oneof![
        (who(), who()).prop_map(|(a, b)| Chance::Close(a, b)),
        (who(), who()).prop_map(|(a, b)| Chance::Connect(a, b)),
        who().prop_map(Chance::Silent),
        Just(Chance::Loud),
        who().prop_map(Chance::Forget),
        Just(Chance::Cancel),
        Just(Chance::Credit),
        Just(Chance::Prefetch),
        any::<bool>().prop_map(Chance::Begin),
        who().prop_map(Chance::Lower),
        any::<usize>().prop_map(Chance::Lose),
        any::<usize>().prop_map(Chance::Repeat),
        (any::<usize>(), 0u64..300).prop_map(|(n, by)| Chance::Late(n, by)),
        Just(Chance::ServerLost),
        (0u32..1_000, 0u64..9_000_000).prop_map(|(first, rate)| Chance::Network(first, rate)),
        (who(), any::<u8>()).prop_map(|(who, kind)| Chance::Answered(who, kind)),
    ]
}

impl Swarm {
    /// A message that is on its way, chosen by a number.
    fn message(&mut self, nth: usize) -> Option<usize> {
        let is_message = |(_, event): &(u64, Event)| matches!(event, Event::Message(..));
        let messages: Vec<_> = (0..self.on_way.len())
            .filter(|at| is_message(&self.on_way[*at]))
            .collect();
        (!messages.is_empty()).then(|| messages[nth % messages.len()])
    }

    fn chance(&mut self, chance: Chance) {
        match chance {
            Chance::Close(a, b) if a != b => self.close(a, b),
            Chance::Connect(a, b) if a != b => self.connect(a, b),
            Chance::Silent(who) => self.silent.push(who),
            Chance::Loud => self.silent.clear(),
            Chance::Forget(who) => self.visitors[who].store.clear(),
            Chance::Cancel => self.input(4, Input::Cancel { want: 2 }),
            Chance::Credit => self.input(
                4,
                Input::Credit {
                    want: 3,
                    to: u64::MAX,
                },
            ),
            Chance::Prefetch => {
                let want = self.visitors[4].got.len() as u32 + 10;
                self.fetch_ahead(4, want, ContentId([7; 32]), 9, 0..9);
            }
            Chance::Begin(second) => {
                let want = self.visitors[4].got.len() as u32 + 10;
                let id = self.visitors[4].asked[&1];
                let len = self.given[&id].len() as u64;
                let bytes = if second { len / 2..len } else { 0..len / 2 };
                self.fetch_ahead(4, want, id, len, bytes);
            }
            Chance::Lower(who) => {
                let config = Config {
                    slots: 1,
                    max_peers: 2,
                    upload: 300_000,
                    ..Config::default()
                };
                self.input(who, Input::Configure { config });
            }
            Chance::Lose(nth) => {
                if let Some(at) = self.message(nth) {
                    self.on_way.remove(at);
                }
            }
            Chance::Repeat(nth) => {
                if let Some(at) = self.message(nth)
                    && let (when, Event::Message(from, to, bytes)) = &self.on_way[at]
                {
                    let event = Event::Message(*from, *to, bytes.clone());
                    self.on_way.push((*when + 5, event));
                }
            }
            Chance::Late(nth, by) => {
                if let Some(at) = self.message(nth) {
                    self.on_way[at].0 += by;
                }
            }
            Chance::ServerLost => self.input(4, Input::ServerLost),
            Chance::Network(first_byte, rate) => {
                self.input(4, Input::Origin { first_byte, rate });
            }
            // What nobody asked for, with numbers that may be those of something.
            Chance::Answered(who, kind) if who != 4 => {
                let number = u32::from(kind);
                let message = match kind % 9 {
                    0 => Message::Have {
                        ask: number,
                        groups: vec![(5, 2), (0, 9)],
                    },
                    1 => Message::Lack { ask: number },
                    2 => Message::Busy {
                        ask: number,
                        retry: u32::MAX,
                    },
                    3 => Message::Gone { pull: number },
                    4 => Message::Later {
                        pull: number,
                        retry: 0,
                    },
                    5 => Message::Found {
                        ask: number,
                        peer: Some("3".into()),
                    },
                    6 => Message::Found {
                        ask: number,
                        peer: None,
                    },
                    7 => Message::These {
                        ask: number,
                        held: vec![0, 9],
                        part: vec![1],
                        near: vec![wire::Near {
                            peer: "2".into(),
                            held: vec![0, 1, 7],
                        }],
                    },
                    _ => Message::Stop { pull: number },
                };
                self.says(who, 4, &message);
            }
            Chance::Close(..) | Chance::Connect(..) | Chance::Answered(..) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Every want ends, what it got is a right beginning, in order and once (the harness checks
    /// that), and nothing stays assigned or occupied anywhere.
    #[test]
    fn every_want_ends_with_right_bytes_whatever_happens(
        holders in 1usize..4,
        liars in prop::collection::vec(prop::bool::weighted(0.2), 3),
        ups in prop::collection::vec(prop_oneof![Just(0u64), 20u64..2_000], 5),
        same_page: bool,
        plays: bool,
        events in prop::collection::vec((1u64..300, chance()), 0..30),
        len in 1usize..3_000_000,
    ) {
        let mut swarm = Swarm::new(5);
        let bytes = noise(len, 1);
        for (who, lies) in liars.into_iter().enumerate().take(holders) {
            swarm.give(who, &bytes);
            if lies {
                swarm.visitors[who].meddle = Some(lie);
            }
        }
        for (who, up) in ups.into_iter().enumerate() {
            swarm.visitors[who].up = up;
        }
        let id = ContentId::of(&bytes);
        if same_page {
            swarm.on_page(1, &[0, 1, 2, 3, 4], &[id]);
            swarm.run(500);
        }
        let (len, half) = (len as u64, len as u64 / 2);
        swarm.want(4, 1, id, len, 0..len);
        swarm.want(4, 2, id, len, half..len);
        swarm.visitors[4].got.insert(3, (0, Vec::new(), None));
        swarm.input(4, Input::Want { want: 3, id, len, bytes: 0..len, credit: half, patience: 0, plays });
        // What follows this one is fetched before it is wanted, and may be wanted or not.
        swarm.visitors[4].got.insert(4, (0, Vec::new(), None));
        swarm.input(4, Input::Want { want: 4, id, len, bytes: 0..half, credit: half, patience: 0, plays });
        for (wait, event) in events {
            swarm.run(wait);
            swarm.chance(event);
        }
        let to = len + if plays { crate::port::AHEAD } else { 0 };
        swarm.input(4, Input::Credit { want: 3, to });
        let goes_on = plays && half > 0;
        if goes_on {
            swarm.visitors[4].got.insert(5, (half, Vec::new(), None));
            swarm.input(4, Input::Want { want: 5, id, len, bytes: half..len, credit: len, patience: 0, plays });
        }
        swarm.run(400_000);
        for (want, start, to) in [(1, 0, len), (2, half, len), (3, 0, len), (4, 0, half), (5, half, len)] {
            if want == 5 && !goes_on || want == 4 && half == 0 {
                continue;
            }
            let (got, end) = swarm.got(4, want);
            prop_assert!(end.is_some() || want == 2, "{want} does not end");
            prop_assert!(bytes[start as usize..].starts_with(got), "{want} got something else");
            prop_assert_eq!(end == Some(Ok(())), got.len() as u64 == to - start);
        }
        // What a page lacks is asked for again now and then; each of these questions ends as well.
        let asks = |visitor: &Visitor| !visitor.engine.inquiries.is_empty();
        for _ in 0..5_000 {
            if !swarm.visitors.iter().any(asks) {
                break;
            }
            swarm.run(1);
        }
        prop_assert!(!swarm.visitors.iter().any(asks), "a question does not end");
        for visitor in &swarm.visitors {
            let engine = &visitor.engine;
            prop_assert!(engine.wants.is_empty() && engine.errands.is_empty());
            for peer in &engine.peers {
                prop_assert!(peer.pulls.is_empty());
                prop_assert!(peer.serving.is_idle());
            }
        }
    }
}
