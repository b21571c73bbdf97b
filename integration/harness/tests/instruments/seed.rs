//! Chance that can be repeated.

use campanile_harness::Seed;
use rand::RngExt as _;

#[test]
fn the_choices_of_a_run_follow_from_its_seed() {
    let choose = |seed, part| Seed(seed).choices(part).random::<u64>();
    assert_eq!(choose(1, "a"), choose(1, "a"));
    assert_ne!(choose(1, "a"), choose(2, "a"));
    assert_ne!(choose(1, "a"), choose(1, "b"));
}
