//! The only source of randomness: jitter. Seeded, so that a test or a simulation can repeat a run.

use std::sync::{Mutex, PoisonError};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// A shared random source. Locked for the drawing of one number.
#[derive(Debug)]
pub struct Chance(Mutex<SmallRng>);

impl Chance {
    /// Seeded by the machine.
    #[must_use]
    pub fn machine() -> Self {
        Self::seeded(rand::random())
    }

    /// The same numbers for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    /// A number from 0 (included) to 1 (excluded).
    pub fn fraction(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }
}
