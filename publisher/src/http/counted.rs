//! Counts what becomes of the pushes of one request, and logs it where there is an access log.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::http::Method;
use campanile_channel::publishing::{Push, Receipt};

use super::traced::PushSpan;
use super::{HttpError, Success, limit, status};
use crate::access_log::{Asked, Lines, Source};
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
    /// The span of the request, if its caller may push and follows it in a trace.
    pub(super) span: Option<PushSpan>,
    /// `None` without an access log.
    log: Option<RequestLog>,
}

/// What the access log says of a request.
struct RequestLog {
    begun: Instant,
    peer: Option<SocketAddr>,
    asked: Vec<Asked>,
}

impl RequestLog {
    fn new(is_logged: bool, peer: impl FnOnce() -> Option<SocketAddr>) -> Option<Self> {
        is_logged.then(|| Self { begun: Instant::now(), peer: peer(), asked: Vec::new() })
    }
}

impl CountedRequest {
    /// `is_logged` says whether there is an access log, `client` whom it names.
    pub(super) fn new(
        (meters, is_logged): (&PublisherMeters, bool),
        request: &HttpRequest,
        client: impl FnOnce() -> Option<SocketAddr>,
    ) -> Self {
        let kind = match (request.uri().path(), request.method()) {
            ("/", &Method::GET | &Method::POST) => Some(Kind::Push),
            ("/batch", &Method::POST) => Some(Kind::Batch),
            ("/stream", &Method::GET) => Some(Kind::Stream),
            _ => None,
        };
        let log = RequestLog::new(is_logged, client);
        Self { meters: meters.clone(), kind, pusher: None, span: None, log }
    }

    /// Notes a push that was read, or could not be.
    pub(super) fn asked(&mut self, push: Option<&Push>) {
        if let Some(log) = &mut self.log {
            log.asked.push(Asked::new(push, log.begun));
        }
    }

    /// A push that an operator has composed at this address.
    pub(super) fn of_operator(
        (meters, is_logged): (&PublisherMeters, bool),
        pusher: Pusher,
        from: Option<IpAddr>,
    ) -> Self {
        let log = RequestLog::new(is_logged, || from.map(|from| (from, 0).into()));
        let (meters, pusher) = (meters.clone(), Some(pusher));
        Self { meters, kind: Some(Kind::Push), pusher, span: None, log }
    }

    /// Counts what is answered. Who ended the connection within the body is most probably gone, and counts as
    /// such, whatever is still written.
    pub(super) fn answered(&mut self, performed: &Result<Success, ApiError>) {
        if matches!(performed, Err(ApiError::Http(HttpError::BodyCutOff))) {
            self.gone();
            return;
        }
        let kind = self.kind.take();
        if let Some(span) = self.span.take() {
            span.answered(performed);
        }
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
                self.log(kind, answers.iter().map(|answered| Some(status_of(answered))));
            }
            (Some(kind), Ok(Success::Receipt(receipt))) => {
                if let Receipt::Accepted(accepted) = receipt {
                    self.meters.recent().note(&[accepted.position], self.key());
                }
                self.meters.pushed(kind, Some(200), self.key(), 1);
                self.log(kind, [Some(200)]);
            }
            (Some(kind), Err(error)) => {
                let status = status(error).as_u16();
                self.meters.pushed(kind, Some(status), self.key(), 1);
                self.meters.refused(kind, status, self.key(), &error.for_log().to_string());
                self.log(kind, [Some(status)]);
            }
            // What a stream carries is counted by the stream.
            _ => {}
        }
    }

    /// Logs the answers to the pushes that were noted. A request without any has one answer.
    fn log(&self, kind: Kind, statuses: impl IntoIterator<Item = Option<u16>>) {
        let Some(RequestLog { begun, peer, asked }) = &self.log else { return };
        let (mut asked, now, mut lines) = (asked.iter(), Instant::now(), Lines::default());
        for status in statuses {
            let unread = || Asked::new(None, *begun);
            lines.add(asked.next().copied().unwrap_or_else(unread), status, now);
        }
        lines.log(Source { kind, key: self.key(), peer: *peer });
    }

    /// Counts a request that has had no answer, and whose caller is gone.
    fn gone(&mut self) {
        if let Some(kind) = self.kind.take() {
            self.meters.pushed(kind, None, self.key(), 1);
            self.log(kind, [None]);
        }
        self.span = None;
    }

    fn key(&self) -> &str {
        self.pusher.as_ref().map_or("", Pusher::name)
    }
}

impl Drop for CountedRequest {
    fn drop(&mut self) {
        self.gone();
    }
}

/// Adds the answer to one of many pushes.
pub(crate) fn add(results: &mut Results, answered: &Answered) {
    let status = status_of(answered);
    results.add(status, answered.as_ref().err().and_then(limit));
    match answered {
        Ok(Receipt::Accepted(accepted)) => results.accept(accepted.position),
        Ok(_) => {}
        Err(error) => results.refuse(status, &error.for_log()),
    }
}

/// The status of the answer to one of many pushes.
pub(crate) fn status_of(answered: &Answered) -> u16 {
    answered.as_ref().err().map_or(200, |error| status(error).as_u16())
}
