//! Where peers are found: by neighbourhood, without looking at all of them.
//!
//! A peer with room sits in one list for each neighbourhood that it is part of, on its page and on
//! its site. Sitting down, getting up and drawing some at random take the same time for ten peers as
//! for a million.

use std::collections::HashMap;

use rand::{Rng, RngExt};

use super::Numbered;
use crate::ticket::Id;

/// A page of a site, by number; 0 is the whole site.
pub type Page = u32;

/// What makes two peers neighbours, the closest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Near {
    /// A few milliseconds, by network coordinates.
    Close([i16; 2]),
    /// The network prefix.
    Prefix(u64),
    /// The city, by its number in a database.
    City(u32),
    /// Some tens of milliseconds, by network coordinates.
    Region([i16; 2]),
    /// The autonomous system.
    Network(u32),
    /// A square of the map.
    Spot([u16; 2]),
    /// Everybody.
    Any,
}

/// One list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// Of this page.
    pub page: Page,
    /// In this neighbourhood.
    pub near: Near,
}

/// The lists of one site.
#[derive(Default)]
pub struct Index {
    cells: HashMap<Cell, Vec<Id>>,
    /// Where each peer sits, and at which place in the list.
    seats: Numbered<Id, Box<[(Cell, u32)]>>,
    /// How often a list was changed, and how many of them were shown.
    #[cfg(test)]
    pub work: std::cell::Cell<[usize; 2]>,
}

impl Index {
    /// Whether the peer can be drawn.
    pub fn holds(&self, id: Id) -> bool {
        self.seats.contains_key(&id)
    }

    /// Sits a peer down in these lists, and in no others. Where it sits already it stays.
    pub fn put(&mut self, id: Id, cells: &[Cell]) {
        let before = self.seats.get(&id);
        if before.is_some_and(|seats| seats.iter().map(|(cell, _)| cell).eq(cells)) {
            return;
        }
        let before = self.seats.remove(&id).unwrap_or_default();
        for (cell, seat) in &before {
            if !cells.contains(cell) {
                self.get_up(*cell, *seat);
            }
        }
        let seats = cells.iter().map(|cell| {
            if let Some(kept) = before.iter().find(|(kept, _)| kept == cell) {
                return *kept;
            }
            self.count(0);
            let list = self.cells.entry(*cell).or_default();
            list.push(id);
            (*cell, list.len() as u32 - 1)
        });
        let seats = seats.collect();
        self.seats.insert(id, seats);
    }

    /// The peer is in no list any more.
    pub fn take(&mut self, id: Id) {
        for (cell, seat) in self.seats.remove(&id).into_iter().flatten() {
            self.get_up(cell, seat);
        }
    }

    #[inline]
    fn count(&self, _what: usize) {
        #[cfg(test)]
        {
            let mut work = self.work.get();
            work[_what] += 1;
            self.work.set(work);
        }
    }

    fn get_up(&mut self, cell: Cell, seat: u32) {
        self.count(0);
        let Some(list) = self.cells.get_mut(&cell) else {
            return;
        };
        list.swap_remove(seat as usize);
        match list.get(seat as usize) {
            // The last one took the free seat.
            Some(moved) => {
                let seats = self.seats.get_mut(moved).into_iter().flatten();
                for (other, place) in seats {
                    if *other == cell {
                        *place = seat;
                    }
                }
            }
            None if list.is_empty() => {
                self.cells.remove(&cell);
            }
            None => {}
        }
    }

    /// Shows some of a list, drawn at random and each at most once if the list is short, until
    /// `most` were taken.
    pub fn draw(
        &self,
        cell: Cell,
        most: usize,
        rng: &mut impl Rng,
        mut take: impl FnMut(Id) -> bool,
    ) {
        let Some(list) = self.cells.get(&cell) else {
            return;
        };
        let mut taken = 0;
        let is_short = list.len() <= 4 * most;
        let begin = rng.random_range(0..list.len());
        for i in 0..list.len().min(4 * most) {
            let place = match is_short {
                true => (begin + i) % list.len(),
                false => rng.random_range(0..list.len()),
            };
            self.count(1);
            taken += usize::from(take(list[place]));
            if taken >= most {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn cell(page: Page) -> Cell {
        Cell {
            page,
            near: Near::Any,
        }
    }

    proptest! {
        #[test]
        fn lists_hold_who_sits_in_them_whatever_came_before(
            steps in prop::collection::vec((0..20_u8, 0..4_u32, any::<bool>()), 0..200),
        ) {
            let mut index = Index::default();
            let mut truth: BTreeSet<(u8, u32)> = BTreeSet::new();
            for (peer, page, sits) in steps {
                let id = Id([peer; 16]);
                truth.retain(|(other, _)| *other != peer);
                if sits {
                    index.put(id, &[cell(page), cell(page + 1)]);
                    truth.extend([(peer, page), (peer, page + 1)]);
                } else {
                    index.take(id);
                }
            }
            let mut found = BTreeSet::new();
            let mut rng = StdRng::seed_from_u64(1);
            for page in 0..5 {
                index.draw(cell(page), 100, &mut rng, |id| found.insert((id.0[0], page)));
            }
            prop_assert_eq!(&found, &truth);
            for peer in 0..20 {
                index.take(Id([peer; 16]));
            }
            prop_assert!(index.cells.is_empty() && index.seats.is_empty());
        }
    }

    #[test]
    fn long_list_is_drawn_from_all_over() {
        let mut index = Index::default();
        for peer in 0..200 {
            index.put(Id([peer; 16]), &[cell(0)]);
        }
        let mut rng = StdRng::seed_from_u64(1);
        let mut found = BTreeSet::new();
        for _ in 0..100 {
            let mut taken = 0;
            index.draw(cell(0), 8, &mut rng, |id| {
                taken += 1;
                found.insert(id);
                true
            });
            assert_eq!(taken, 8);
        }
        assert!(found.len() > 150, "{}", found.len());
    }
}
