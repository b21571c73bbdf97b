//! Counts what becomes of the pushes of one request.

use actix_web::HttpRequest;
use actix_web::http::Method;

use super::{Success, limit, status};
use crate::error::{Answered, ApiError};
use crate::meters::{Kind, PublisherMeters, Results};
use crate::push::rights::Pusher;

/// A request. If it is dropped before it has an answer, its caller is gone.
pub(super) struct CountedRequest {
    meters: PublisherMeters,
    /// `None` if it pushes nothing, or is counted already.
    kind: Option<Kind>,
    /// The caller, as soon as it is known to push.
    pub(super) pusher: Option<Pusher>,
}

impl CountedRequest {
    pub(super) fn new(meters: &PublisherMeters, request: &HttpRequest) -> Self {
        let kind = match (request.uri().path(), request.method()) {
            ("/", &Method::GET | &Method::POST) => Some(Kind::Push),
            ("/batch", &Method::POST) => Some(Kind::Batch),
            ("/stream", &Method::GET) => Some(Kind::Stream),
            _ => None,
        };
        Self { meters: meters.clone(), kind, pusher: None }
    }

    /// Counts what is answered.
    pub(super) fn answered(&mut self, performed: &Result<Success, ApiError>) {
        let kind = self.kind.take();
        if let Err(error) = performed
            && let Some(limit) = limit(error)
        {
            self.meters.limit_hit(limit);
        }
        match (kind, performed) {
            (Some(kind), Ok(Success::Batch(_, answers, _))) => {
                let mut results = Results::default();
                answers.iter().for_each(|answered| add(&mut results, answered));
                self.meters.pushed_all(kind, &results, self.key());
            }
            (Some(kind), Ok(Success::Receipt(_))) => {
                self.meters.pushed(kind, Some(200), self.key(), 1);
            }
            (Some(kind), Err(error)) => {
                self.meters.pushed(kind, Some(status(error).as_u16()), self.key(), 1);
            }
            // What a stream carries is counted by the stream.
            _ => {}
        }
    }

    fn key(&self) -> &str {
        self.pusher.as_ref().map_or("", Pusher::name)
    }
}

impl Drop for CountedRequest {
    fn drop(&mut self) {
        if let Some(kind) = self.kind {
            self.meters.pushed(kind, None, self.key(), 1);
        }
    }
}

/// Adds the answer to one of many pushes.
pub(crate) fn add(results: &mut Results, answered: &Answered) {
    match answered {
        Ok(_) => results.add(200, None),
        Err(error) => results.add(status(error).as_u16(), limit(error)),
    }
}
