//! Who has been silent for too long, without a look at everybody.
//!
//! Each connection stands once in a heap, at the time when there may be something to do about it. When
//! that has come it is looked at, and stands at another time. What is heard of it meanwhile changes
//! nothing here: in a round of heartbeats each is looked at once or twice, however often a tick is.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{Conn, Connection, Matchmaker, Output, QUIET, UNJOINED};

/// When to look at whom.
#[derive(Default)]
pub(super) struct Silence(BinaryHeap<Reverse<(u64, Conn)>>);

impl Silence {
    /// Once it is that late, in milliseconds.
    pub(super) fn look_at(&mut self, conn: Conn, at: u64) {
        self.0.push(Reverse((at, conn)));
    }

    /// The next who is due.
    fn next(&mut self, now: u64) -> Option<Conn> {
        let Reverse((at, conn)) = *self.0.peek()?;
        (at <= now).then(|| {
            self.0.pop();
            conn
        })
    }

    /// How many are looked at some time; those who left meanwhile among them.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<Conn> for Silence {
    /// All of them at once.
    fn from_iter<I: IntoIterator<Item = Conn>>(conns: I) -> Self {
        Self(conns.into_iter().map(|conn| Reverse((0, conn))).collect())
    }
}

/// How long a client may say nothing before it is asked, in milliseconds; nobody is looked at more seldom.
pub(super) fn quiet(silence: u64) -> u64 {
    QUIET.min(silence / 2)
}

/// What there is to do about a connection.
enum Due {
    /// Close it.
    Late(&'static str),
    /// Ask whether it is there, and look again then.
    Quiet(u64),
    /// Nothing before then.
    Later(u64),
}

impl Connection {
    fn due(&self, silence: u64, now: u64) -> Due {
        let silent = now.saturating_sub(self.heard);
        let quiet = quiet(silence);
        match self.peer {
            Some(_) if silent >= silence => Due::Late("nothing heard for too long"),
            None if silent >= UNJOINED => Due::Late("no join"),
            None => Due::Later((self.heard + UNJOINED).min(now + quiet)),
            Some(_) if self.asked => Due::Later((self.heard + silence).min(now + quiet)),
            Some(_) if silent >= quiet => Due::Quiet((self.heard + silence).min(now + quiet)),
            Some(_) => Due::Later(self.heard + quiet),
        }
    }
}

impl Matchmaker {
    /// Asks those who have been silent, closes those who have been so for too long, and gives up
    /// waiting for channels. Call it every second or so: it takes as long as there is to do.
    pub fn tick(&mut self, now: u64, out: &mut Vec<Output>) {
        let mut late: Vec<(Conn, &'static str)> = Vec::new();
        let mut quiet = Vec::new();
        while let Some(conn) = self.silence.next(now) {
            // It may have left.
            let Some(connection) = self.connections.get_mut(&conn) else {
                continue;
            };
            let again = match connection.due(self.rules.silence, now) {
                Due::Late(why) => {
                    late.push((conn, why));
                    continue;
                }
                Due::Quiet(again) => {
                    connection.asked = true;
                    quiet.push(conn);
                    again
                }
                Due::Later(again) => again,
            };
            // Not in this tick, whatever the rules are.
            self.silence.look_at(conn, again.max(now + 1));
        }
        quiet.sort_unstable();
        out.extend(quiet.into_iter().map(|to| Output::Ping { to }));
        late.sort_unstable();
        for (conn, why) in late {
            self.close(conn, why, now, out);
        }
        while let Some((until, id)) = self.forgotten.front().copied()
            && until <= now
        {
            self.forgotten.pop_front();
            if self
                .formers
                .get(&id)
                .is_some_and(|former| former.until == until)
            {
                self.formers.remove(&id);
            }
        }
        self.give_up(now);
        for (id, content) in self.directory.expire(now) {
            self.forget_held(id, content);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fugitive_signal::ToServer;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::matchmaker::Rules;

    /// What a look at everybody would know.
    struct Seen {
        heard: u64,
        asked: bool,
        joined: bool,
    }

    /// Whom such a look asks and closes.
    fn look(seen: &mut BTreeMap<Conn, Seen>, silence: u64, now: u64) -> (Vec<Conn>, Vec<Conn>) {
        let (mut asked, mut closed) = (Vec::new(), Vec::new());
        for (conn, one) in seen.iter_mut() {
            let silent = now - one.heard;
            let most = if one.joined { silence } else { UNJOINED };
            if silent >= most {
                closed.push(*conn);
            } else if one.joined && silent >= QUIET.min(silence / 2) && !one.asked {
                one.asked = true;
                asked.push(*conn);
            }
        }
        seen.retain(|conn, _| !closed.contains(conn));
        (asked, closed)
    }

    #[test]
    fn who_is_asked_and_closed_is_whom_a_look_at_everybody_would_find() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut matchmaker = Matchmaker::new(&[7; 64]);
        let mut seen = BTreeMap::new();
        let (mut rules, mut now, mut acted) = (Rules::default(), 1_000_000, 0);
        for round in 0..2000 {
            now += rng.random_range(1..1500);
            if round % 500 == 499 {
                rules.silence = [8_000, 300_000, 60_000][round / 500 % 3];
                matchmaker.set_rules(rules);
            }
            let mut out = Vec::new();
            if seen.len() < 40 {
                let conn = Conn(round as u64);
                matchmaker.open(conn, "o", now);
                let (heard, asked, joined) = (now, false, rng.random());
                seen.insert(
                    conn,
                    Seen {
                        heard,
                        asked,
                        joined,
                    },
                );
                if joined {
                    let join = ToServer::Join {
                        version: 1,
                        page: "/".into(),
                        want: 0,
                        ticket: None,
                        room: None,
                        position: None,
                    };
                    matchmaker.receive(conn, join, now, &mut rng, &mut out);
                }
            }
            // Some are heard often, some hardly ever.
            for (conn, one) in &mut seen {
                if rng.random_ratio(1, 2 + conn.0 as u32 % 64) {
                    assert!(matchmaker.heard(*conn, now, &mut out));
                    (one.heard, one.asked) = (now, false);
                }
            }
            let (mut asked, mut closed) = (Vec::new(), Vec::new());
            out.clear();
            matchmaker.tick(now, &mut out);
            for output in out {
                match output {
                    Output::Ping { to } => asked.push(to),
                    Output::Close { conn, .. } => closed.push(conn),
                    Output::Send { .. } => {}
                }
            }
            acted += asked.len() + closed.len();
            assert_eq!(
                (asked, closed),
                look(&mut seen, rules.silence, now),
                "{now}"
            );
        }
        assert!(acted > 500, "{acted}");
    }

    #[test]
    fn those_who_left_are_looked_at_no_more() {
        let mut matchmaker = Matchmaker::new(&[7; 64]);
        let mut out = Vec::new();
        for conn in 0..1000 {
            matchmaker.open(Conn(conn), "o", conn);
            matchmaker.closed(Conn(conn), conn, &mut out);
        }
        matchmaker.tick(1000 + UNJOINED, &mut out);
        assert_eq!((matchmaker.silence.len(), out.len()), (0, 0));
    }
}
