//! Counts what becomes of the pushes of one request.

use actix_web::HttpRequest;
use actix_web::http::Method;
use campanile_channel::publishing::Receipt;

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

    /// A push that an operator has composed.
    pub(super) fn of_operator(meters: &PublisherMeters, pusher: Pusher) -> Self {
        Self { meters: meters.clone(), kind: Some(Kind::Push), pusher: Some(pusher) }
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
            (Some(kind), Ok(Success::Receipt(receipt))) => {
                if let Receipt::Accepted(accepted) = receipt {
                    self.meters.recent().note(&[accepted.position], self.key());
                }
                self.meters.pushed(kind, Some(200), self.key(), 1);
            }
            (Some(kind), Err(error)) => {
                let status = status(error).as_u16();
                self.meters.pushed(kind, Some(status), self.key(), 1);
                self.meters.refused(kind, status, self.key(), &error.to_string());
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
        Ok(receipt) => {
            results.add(200, None);
            if let Receipt::Accepted(accepted) = receipt {
                results.accept(accepted.position);
            }
        }
        Err(error) => {
            let status = status(error).as_u16();
            results.add(status, limit(error));
            results.refuse(status, error);
        }
    }
}
