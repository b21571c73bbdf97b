//! What a connection and the handler of its current request share.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::http::HttpError;

/// The current request of a connection. Connection and handler run in one task, one after the other.
#[derive(Debug, Clone, Default)]
pub struct Turn(Rc<RefCell<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    answered: bool,
    refusal: Option<HttpError>,
    broken: Option<HttpError>,
    reader: Option<Waker>,
    handler: Option<Waker>,
    /// Whether the connection has a part of the current answer that the caller has not taken.
    is_sending: bool,
    answer: Option<Waker>,
}

impl Turn {
    /// Notes that the handler has its answer, so that the next request may come.
    pub(crate) fn end(&self) {
        let mut shared = self.0.borrow_mut();
        shared.answered = true;
        if let Some(reader) = shared.reader.take() {
            reader.wake();
        }
    }

    /// Returns once that the request that was passed on last has its answer. Until then, the waker is
    /// woken when it has.
    pub(crate) fn take_answered(&self, waker: &Waker) -> bool {
        let mut shared = self.0.borrow_mut();
        if !shared.answered {
            shared.reader = Some(waker.clone());
        }
        std::mem::take(&mut shared.answered)
    }

    /// Notes with what the current request must be refused.
    pub(crate) fn refuse(&self, error: HttpError) {
        self.0.borrow_mut().refusal = Some(error);
    }

    /// Returns once with what the current request must be refused; `None` if nothing is wrong.
    pub(crate) fn take_refusal(&self) -> Option<HttpError> {
        self.0.borrow_mut().refusal.take()
    }

    /// Notes that the connection got a piece of the answer, and has not taken it yet.
    pub(crate) fn send(&self) {
        self.0.borrow_mut().is_sending = true;
    }

    /// Notes that the connection has taken everything that it got.
    pub(crate) fn all_taken(&self) {
        let mut shared = self.0.borrow_mut();
        shared.is_sending = false;
        if let Some(answer) = shared.answer.take() {
            answer.wake();
        }
    }

    /// Ready when the connection has taken everything that it got. Until then, the task of the latest call
    /// is woken when it has.
    pub(crate) fn poll_taken(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.0.borrow_mut();
        if !shared.is_sending {
            return Poll::Ready(());
        }
        match &mut shared.answer {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Notes that the body of the request will never be complete.
    pub(crate) fn break_off(&self, error: HttpError) {
        let mut shared = self.0.borrow_mut();
        shared.broken = Some(error);
        if let Some(handler) = shared.handler.take() {
            handler.wake();
        }
    }

    /// Ends with the reason when it is known that the body will never be complete.
    pub(crate) async fn broken(&self) -> HttpError {
        poll_fn(|cx| {
            let mut shared = self.0.borrow_mut();
            match shared.broken.take() {
                Some(error) => Poll::Ready(error),
                None => {
                    shared.handler = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::orders::{Wakes, in_every_order};

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Step {
        /// The answer looks, with the first or the second waker.
        Poll(usize),
        Send,
        Taken,
    }

    #[test]
    fn an_answer_ends_only_when_all_was_taken() {
        let steps = [Step::Poll(0), Step::Poll(1), Step::Send, Step::Taken];
        in_every_order(&steps, 8, |steps| {
            let turn = Turn::default();
            let wakes = [Arc::new(Wakes::default()), Arc::new(Wakes::default())];
            let mut is_sending = false;
            let mut waiting = None;
            for &step in steps {
                match step {
                    Step::Poll(who) => {
                        let waker = wakes[who].waker();
                        let taken = turn.poll_taken(&mut Context::from_waker(&waker));
                        assert_eq!(taken.is_pending(), is_sending, "{steps:?}");
                        waiting = is_sending.then(|| (who, wakes[who].count()));
                    }
                    Step::Send => {
                        turn.send();
                        is_sending = true;
                    }
                    Step::Taken => {
                        turn.all_taken();
                        is_sending = false;
                        if let Some((who, before)) = waiting.take() {
                            let woken = wakes[who].count() > before;
                            assert!(woken, "{who} sleeps for ever: {steps:?}");
                        }
                    }
                }
            }
            true
        });
    }
}
