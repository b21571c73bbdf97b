//! For tests of hand-written waiting: every order of a few steps, and wakers that count.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

/// Runs every sequence of up to `max_steps` of `steps`, and returns how many there were. `run` performs a
/// sequence from the beginning, asserts what must hold, and returns whether the last step was possible.
/// If it was not, no longer sequence that begins with this one is tried.
pub(crate) fn in_every_order<S: Copy>(
    steps: &[S],
    max_steps: usize,
    mut run: impl FnMut(&[S]) -> bool,
) -> usize {
    fn deeper<S: Copy>(
        sequence: &mut Vec<S>,
        steps: &[S],
        max_steps: usize,
        run: &mut impl FnMut(&[S]) -> bool,
    ) -> usize {
        let mut runs = 0;
        for &step in steps {
            sequence.push(step);
            runs += 1;
            if run(sequence) && sequence.len() < max_steps {
                runs += deeper(sequence, steps, max_steps, run);
            }
            sequence.pop();
        }
        runs
    }
    deeper(&mut Vec::new(), steps, max_steps, &mut run)
}

/// Counts how often it was woken.
#[derive(Debug, Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        self.clone().into()
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn every_possible_order_is_run_once() {
    let mut all = Vec::new();
    let runs = in_every_order(&['a', 'b'], 3, |sequence| {
        all.push(sequence.iter().collect::<String>());
        !sequence.ends_with(&['b', 'b'])
    });
    assert_eq!(runs, all.len());
    assert_eq!(all, ["a", "aa", "aaa", "aab", "ab", "aba", "abb", "b", "ba", "baa", "bab", "bb"]);
}
