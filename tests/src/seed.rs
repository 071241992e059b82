//! Where randomness of tests comes from.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// The seed of a test: `TOKA_SEED`, else a new one. It is printed, and shown if the test fails.
pub fn draw() -> u64 {
    let given = std::env::var("TOKA_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| rand::random_range(0..=u64::MAX));
    println!("seed: TOKA_SEED={seed}");
    seed
}

/// Random numbers of one of several parts of a test.
pub fn rng(seed: u64, part: u64) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(part))
}

/// The seed of a test that is the same each time: `TOKA_SEED`, else `fixed`. It is printed.
pub fn given_or(fixed: u64) -> u64 {
    let given = std::env::var("TOKA_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or(fixed);
    println!("seed: TOKA_SEED={seed}");
    seed
}
