//! The body of an answer that may be large. Its bytes count in the budget until the last of them was taken
//! by the connection, or the connection is gone.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

use crate::budget::Reserved;
use crate::http::turn::Turn;

/// How much is given to the connection at once. actix-http asks for more when it has less than this to
/// write, so it holds a copy of at most twice as much.
const PIECE_BYTES: usize = 32 << 10;

/// A body that the connection gets in pieces.
#[derive(Debug)]
pub(crate) struct CountedBody {
    left: Bytes,
    size: BodySize,
    turn: Turn,
    _reserved: Reserved,
}

impl CountedBody {
    /// Starts with nothing sent. `reserved` is the room for the body; what it does not need is given
    /// back.
    pub(crate) fn new(mut body: Vec<u8>, mut reserved: Reserved, turn: Turn) -> Self {
        // `Bytes` would keep the spare capacity.
        body.shrink_to_fit();
        reserved.shrink_to(body.len());
        let size = BodySize::Sized(body.len() as u64);
        Self { left: body.into(), size, turn, _reserved: reserved }
    }
}

impl MessageBody for CountedBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.size
    }

    /// The body ends only when everything was taken, which the [`Turn`] knows from the connection.
    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.left.is_empty() {
            ready!(self.turn.poll_taken(cx));
            return Poll::Ready(None);
        }
        let piece_bytes = self.left.len().min(PIECE_BYTES);
        let piece = self.left.split_to(piece_bytes);
        self.turn.send();
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use campanile_edge::Peer;

    use super::*;
    use crate::budget::{Budget, Shares};

    fn reserved(budget: &Budget, bytes: usize) -> Reserved {
        let mut reserved = budget.reserve(Peer::of(None));
        assert_eq!(reserved.arrived(bytes), Ok(()));
        reserved
    }

    fn budget() -> Budget {
        Budget::new(Shares::of(1 << 20, 1 << 20, 1 << 20))
    }

    #[test]
    fn a_body_counts_until_its_last_piece_was_taken() {
        let budget = budget();
        let whole: Vec<u8> = (0..3 * PIECE_BYTES + 5).map(|at| (at % 251) as u8).collect();
        let turn = Turn::default();
        let body = CountedBody::new(whole.clone(), reserved(&budget, 1 << 20), turn.clone());
        assert_eq!(body.size(), BodySize::Sized(whole.len() as u64));
        let mut body = Box::pin(body);
        assert_eq!(budget.used_bytes(), whole.len(), "what it does not need is given back");
        let cx = &mut Context::from_waker(Waker::noop());
        let mut sent = Vec::new();
        while let Poll::Ready(Some(Ok(piece))) = body.as_mut().poll_next(cx) {
            assert!(piece.len() <= PIECE_BYTES);
            sent.extend_from_slice(&piece);
        }
        assert!(sent == whole);
        assert_eq!(budget.used_bytes(), whole.len(), "the caller has not taken it");
        assert_eq!(body.as_mut().poll_next(cx), Poll::Pending);
        turn.all_taken();
        assert_eq!(body.as_mut().poll_next(cx), Poll::Ready(None));
        drop(body);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_body_that_is_given_up_gives_its_bytes_back() {
        let budget = budget();
        let body = CountedBody::new(vec![0; 100_000], reserved(&budget, 100_000), Turn::default());
        let mut body = Box::pin(body);
        assert!(body.as_mut().poll_next(&mut Context::from_waker(Waker::noop())).is_ready());
        assert_eq!(budget.used_bytes(), 100_000);
        drop(body);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn an_empty_body_ends_at_once() {
        let mut body = pin!(CountedBody::new(Vec::new(), reserved(&budget(), 2), Turn::default()));
        assert_eq!(body.size(), BodySize::Sized(0));
        let end = body.as_mut().poll_next(&mut Context::from_waker(Waker::noop()));
        assert_eq!(end, Poll::Ready(None));
    }
}
