//! Ends a connection from outside of whoever waits on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// Whether a connection was given up. Clones are of the same connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_cut: bool,
    /// Of whoever asked last and was told no.
    waiting: Option<Waker>,
}

impl Cut {
    /// Gives the connection up, and wakes whoever waits on it. There is no way back.
    pub(crate) fn cut(&self) {
        let waiting = {
            let mut state = self.lock();
            state.is_cut = true;
            state.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Whether the connection was given up; where it was not, the task is woken when it is.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.lock();
        if !state.is_cut {
            match &mut state.waiting {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        state.is_cut
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::{Wakes, in_every_order};

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Step {
        /// With the first or the second waker.
        Poll(usize),
        Cut,
    }

    #[test]
    fn who_polled_last_is_woken_in_every_order() {
        in_every_order(&[Step::Poll(0), Step::Poll(1), Step::Cut], 8, |steps| {
            let cut = Cut::default();
            let wakes = [Arc::new(Wakes::default()), Arc::new(Wakes::default())];
            let mut waiting = None;
            let mut is_cut = false;
            for &step in steps {
                match step {
                    Step::Poll(who) => {
                        let said = cut.poll(&mut Context::from_waker(&wakes[who].waker()));
                        assert_eq!(said, is_cut, "{steps:?}");
                        waiting = (!said).then_some((who, wakes[who].count()));
                    }
                    Step::Cut => {
                        cut.cut();
                        is_cut = true;
                    }
                }
                if let (Some((who, before)), true) = (waiting, is_cut) {
                    assert!(wakes[who].count() > before, "{who} sleeps for ever: {steps:?}");
                }
            }
            true
        });
    }
}
