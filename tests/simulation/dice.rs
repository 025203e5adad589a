//! Seeded chance: the same seed, the same draws.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// A random source.
pub struct Dice(SmallRng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// A source of its own, so that draws here move nothing there.
    pub fn split(&mut self) -> Self {
        Self::new(self.0.random())
    }

    pub fn number(&mut self) -> u64 {
        self.0.random()
    }

    /// True this many times in a hundred.
    pub fn percent(&mut self, share: u32) -> bool {
        self.0.random_range(0..100) < share
    }

    /// From 0 (included) to `bound` (excluded).
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Milliseconds from `least` to `most`, both included.
    pub fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.0.random_range(least..=most))
    }
}
