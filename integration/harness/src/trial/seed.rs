//! Random choices that can be repeated.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

const VARIABLE: &str = "CAMPANILE_TEST_SEED";

/// The seed of all choices of a run. It does not determine the order of what several processors do.
#[derive(Debug, Clone, Copy)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed in the environment, or a new one. It is printed, so that a failed test shows it.
    #[expect(clippy::print_stdout, reason = "who repeats a failed test needs it")]
    pub fn from_environment() -> Self {
        let given = std::env::var(VARIABLE).ok();
        let given = given.map(|text| text.parse().expect("the seed is a number"));
        let seed = given.unwrap_or_else(rand::random);
        println!("{VARIABLE}={seed}");
        Self(seed)
    }

    /// The choices of one part of a run.
    pub fn choices(self, part: &str) -> StdRng {
        let mut hasher = DefaultHasher::new();
        (self.0, part).hash(&mut hasher);
        StdRng::seed_from_u64(hasher.finish())
    }
}
