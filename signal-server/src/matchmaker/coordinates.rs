//! Network coordinates: how far two peers are from each other, guessed from how far each is from
//! others.
//!
//! Vivaldi (Dabek, Cox, Kaashoek, Morris: "Vivaldi: a decentralized network coordinate system",
//! SIGCOMM 2004) with height vectors: the plane is the Internet's core, the height the way to it.
//! Each peer's measurements move that peer alone, so one that lies is itself somewhere else and
//! moves nobody.

use rand::{Rng, RngExt};

/// How fast a coordinate follows what is measured.
const STEP: f32 = 0.25;
/// How fast the error does.
const ERROR_STEP: f32 = 0.25;
/// Nobody is nearer to the core than this, in milliseconds.
const LOWEST: f32 = 0.5;
/// Measurements are taken for this at most, in milliseconds.
const FARTHEST: f32 = 2000.0;
/// Below this, differences are no errors, in milliseconds.
const NEARLY: f32 = 20.0;
/// Better than this, and a coordinate says something.
const GOOD: f32 = 0.6;

/// Where a peer is, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinate {
    at: [f32; 2],
    height: f32,
    /// Relative, from 0 (sure) to 1 (no idea).
    error: f32,
}

impl Default for Coordinate {
    fn default() -> Self {
        Self {
            at: [0.0; 2],
            height: LOWEST,
            error: 1.0,
        }
    }
}

impl Coordinate {
    /// Whether it says more than nothing.
    pub fn is_known(&self) -> bool {
        self.error < GOOD
    }

    /// The time to another and back, in milliseconds.
    pub fn distance(&self, other: &Self) -> f32 {
        let [x, y] = self.to(other);
        x.hypot(y) + self.height + other.height
    }

    /// In which square of this size it lies.
    pub fn cell(&self, size: f32) -> [i16; 2] {
        self.at.map(|x| (x / size).floor() as i16)
    }

    /// We measured `rtt` milliseconds to one who is said to be there.
    pub fn measured(&mut self, other: &Self, rtt: u16, rng: &mut impl Rng) {
        let rtt = f32::from(rtt).clamp(1.0, FARTHEST);
        let guess = self.distance(other);
        let weight = self.error / (self.error + other.error).max(f32::MIN_POSITIVE);
        // A few milliseconds off are nothing, however near the other is.
        let off = ((guess - rtt).abs() / rtt.max(NEARLY)).min(1.0);
        let gain = ERROR_STEP * weight;
        self.error = (off * gain + self.error * (1.0 - gain)).clamp(0.01, 1.0);

        let [x, y] = self.to(other);
        let length = x.hypot(y);
        let force = STEP * weight * (rtt - guess);
        // Two that are at one place part in any direction.
        let away = if length > 1e-3 {
            [-x / length, -y / length]
        } else {
            let turn = rng.random_range(0.0..std::f32::consts::TAU);
            [turn.cos(), turn.sin()]
        };
        for (at, away) in self.at.iter_mut().zip(away) {
            *at = (*at + away * force).clamp(-FARTHEST, FARTHEST);
        }
        let share = (self.height + other.height) / guess.max(LOWEST);
        self.height = (self.height + share * force).clamp(LOWEST, FARTHEST);
    }

    fn to(&self, other: &Self) -> [f32; 2] {
        [other.at[0] - self.at[0], other.at[1] - self.at[1]]
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    /// Peers in towns on a plane, each behind a line of its own.
    fn world(rng: &mut StdRng) -> Vec<([f32; 2], f32)> {
        (0..200)
            .map(|_| {
                let town = [[0.0, 0.0], [40.0, 10.0], [90.0, -30.0], [20.0, 70.0]];
                let town: [f32; 2] = town[rng.random_range(0..4)];
                let spread = |x: f32, rng: &mut StdRng| x + rng.random_range(-3.0..3.0);
                let at = [spread(town[0], rng), spread(town[1], rng)];
                (at, rng.random_range(1.0..15.0))
            })
            .collect()
    }

    fn truth(a: &([f32; 2], f32), b: &([f32; 2], f32)) -> f32 {
        (a.0[0] - b.0[0]).hypot(a.0[1] - b.0[1]) + a.1 + b.1
    }

    #[test]
    fn coordinates_of_a_few_measurements_each_foretell_the_others() {
        let mut rng = StdRng::seed_from_u64(3);
        let world = world(&mut rng);
        let mut guesses = vec![Coordinate::default(); world.len()];
        for _ in 0..30 {
            for i in 0..world.len() {
                let j = rng.random_range(0..world.len());
                if i != j {
                    let other = guesses[j];
                    let noise = rng.random_range(0.95..1.15);
                    let rtt = (truth(&world[i], &world[j]) * noise) as u16;
                    guesses[i].measured(&other, rtt, &mut rng);
                }
            }
        }
        let mut off: Vec<f32> = (0..2000)
            .map(|_| {
                let i = rng.random_range(0..world.len());
                let j = (i + rng.random_range(1..world.len())) % world.len();
                let real = truth(&world[i], &world[j]);
                (guesses[i].distance(&guesses[j]) - real).abs() / real
            })
            .collect();
        off.sort_by(f32::total_cmp);
        assert!(off[1000] < 0.25, "median {}", off[1000]);
        let known = guesses.iter().filter(|guess| guess.is_known()).count();
        assert!(known > 180, "{known}");
    }

    #[test]
    fn liar_and_nonsense_leave_a_number() {
        let mut rng = StdRng::seed_from_u64(4);
        let mut victim = Coordinate::default();
        let mut far = Coordinate::default();
        for i in 0..10_000_u32 {
            let rtt = if i % 2 == 0 { 0 } else { u16::MAX };
            far.measured(&victim, rtt, &mut rng);
            victim.measured(&far, rtt, &mut rng);
        }
        assert!(victim.distance(&far).is_finite());
        assert!(victim.distance(&far) <= 3.0 * 2.0 * FARTHEST);
    }
}
