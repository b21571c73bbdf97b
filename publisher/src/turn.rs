//! What a connection and the handler of its current request tell each other.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::ApiError;

/// One connection's current request, shared by both. They run in one task, one after the other.
#[derive(Debug, Clone, Default)]
pub struct Turn(Rc<RefCell<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    answered: bool,
    refusal: Option<ApiError>,
    broken: Option<ApiError>,
    reader: Option<Waker>,
    handler: Option<Waker>,
}

impl Turn {
    /// The handler has its answer: the next request may come.
    pub(crate) fn end(&self) {
        let mut shared = self.0.borrow_mut();
        shared.answered = true;
        if let Some(reader) = shared.reader.take() {
            reader.wake();
        }
    }

    /// Whether the request that was passed on last has its answer, once. If not, the waker learns
    /// when it has.
    pub(crate) fn take_answered(&self, waker: &Waker) -> bool {
        let mut shared = self.0.borrow_mut();
        if !shared.answered {
            shared.reader = Some(waker.clone());
        }
        std::mem::take(&mut shared.answered)
    }

    /// What the request that is passed on is to be answered with.
    pub(crate) fn refuse(&self, error: ApiError) {
        self.0.borrow_mut().refusal = Some(error);
    }

    /// What the request is to be answered with, once; `None` if nothing is known to be wrong.
    pub(crate) fn take_refusal(&self) -> Option<ApiError> {
        self.0.borrow_mut().refusal.take()
    }

    /// The request's body will never be complete.
    pub(crate) fn break_off(&self, error: ApiError) {
        let mut shared = self.0.borrow_mut();
        shared.broken = Some(error);
        if let Some(handler) = shared.handler.take() {
            handler.wake();
        }
    }

    /// Ends when the request's body is known never to be complete, with the reason.
    pub(crate) async fn broken(&self) -> ApiError {
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
