//! How many of something each one has. Pure.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Counts per key. A key that has none takes no memory, so the table is bounded by what is counted.
#[derive(Debug)]
pub struct Tally<K>(HashMap<K, u32>);

impl<K: Hash + Eq> Tally<K> {
    /// Counts one more of `key`; `false`, and nothing is counted, if it has `max` already. What was counted
    /// must be [given back](Self::give_back).
    pub fn take<Q>(&mut self, key: &Q, max: usize) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        match self.0.get_mut(key) {
            Some(count) if *count >= max => false,
            Some(count) => {
                *count += 1;
                true
            }
            None if max == 0 => false,
            None => {
                self.0.insert(key.to_owned(), 1);
                true
            }
        }
    }

    /// Counts one less of `key`. Does nothing if it was [forgotten](Self::forget).
    pub fn give_back<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(count) = self.0.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }

    /// Counts none of `key` any longer. It must not be counted again before everything is given back.
    pub fn forget(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// How many are counted of `key`.
    pub fn of(&self, key: &K) -> usize {
        self.0.get(key).map_or(0, |&count| count as usize)
    }

    /// How many keys have at least one.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_key_has_up_to_its_most() {
        let mut tally = Tally::<String>::default();
        assert!(tally.take("a", 2) && tally.take("a", 2) && !tally.take("a", 2));
        assert!(tally.take("b", 1) && !tally.take("b", 1) && !tally.take("c", 0));
        tally.give_back("a");
        assert!(tally.take("a", 2) && !tally.take("a", 2));
        assert_eq!((tally.of(&"a".to_owned()), tally.len()), (2, 2));
        for key in ["a", "a", "b"] {
            tally.give_back(key);
        }
        assert!(tally.is_empty());
    }

    #[test]
    fn a_key_that_was_forgotten_is_given_back_without_effect() {
        let mut tally = Tally::<u64>::default();
        assert!(tally.take(&1, 9) && tally.take(&1, 9));
        tally.forget(&1);
        tally.give_back(&1);
        assert!(tally.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_taken_and_given_back_is_counted_exactly(steps: Vec<(bool, u8)>) {
            let (mut tally, mut held) = (Tally::<u8>::default(), Vec::new());
            for (takes, key) in steps.into_iter().map(|(takes, key)| (takes, key % 4)) {
                let of_key = held.iter().filter(|&&other| other == key).count();
                if takes {
                    prop_assert_eq!(tally.take(&key, 3), of_key < 3);
                    if of_key < 3 {
                        held.push(key);
                    }
                } else if let Some(at) = held.iter().position(|&other| other == key) {
                    tally.give_back(&held.swap_remove(at));
                }
                for key in 0..4 {
                    prop_assert_eq!(tally.of(&key), held.iter().filter(|&&k| k == key).count());
                }
            }
        }
    }
}
