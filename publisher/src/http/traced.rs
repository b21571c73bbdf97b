//! The span of a request that pushes, if its header `traceparent` says that it belongs to a trace.

use std::borrow::Cow;
use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderName, HeaderValue};
use campanile_channel::Spans;
use campanile_channel::publishing::{Push, Receipt, Target};
use campanile_channel::spans::{Operation, Span, new_span_id};
use campanile_messages::{Position, SpanId, TraceContext};

use super::{Success, status};
use crate::error::ApiError;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// How many pushes of a batch the broker and the gateways follow: the first ones. Otherwise a batch of
/// 10,000 pushes would make as many spans in each of them.
const FOLLOWED_ITEMS: usize = 8;

/// What became of a request: where its event is, or the error.
type Outcome = Result<Option<Position>, Cow<'static, str>>;

/// The span of a request. If it is dropped before it has an answer, its caller is gone.
#[derive(Debug)]
pub(super) struct PushSpan {
    spans: Spans,
    id: SpanId,
    /// The span of the caller.
    parent: TraceContext,
    begun: Instant,
    target: Option<Target>,
    body_bytes: Option<u64>,
    batch: Option<u64>,
    outcome: Outcome,
}

impl PushSpan {
    /// Begins a span. `None` if spans go nowhere, or if nobody follows the request: then the header is not
    /// there, is sent twice, is malformed, or says that the trace is not sampled.
    pub(super) fn begin(spans: &Spans, request: &HttpRequest) -> Option<Self> {
        if !spans.are_on() {
            return None;
        }
        let mut headers = request.headers().get_all(TRACEPARENT).map(HeaderValue::as_bytes);
        let (Some(header), None) = (headers.next(), headers.next()) else { return None };
        let parent = TraceContext::parse(header).filter(TraceContext::is_sampled)?;
        Some(Self {
            spans: spans.clone(),
            id: new_span_id(),
            parent,
            begun: Instant::now(),
            target: None,
            body_bytes: None,
            batch: None,
            outcome: Err("caller_gone".into()),
        })
    }

    /// Notes what is pushed, and lets the broker and the gateways follow it.
    pub(super) fn follow(&mut self, push: &mut Push) {
        self.target = Some(push.target.clone());
        self.body_bytes = Some(push.content.as_bytes().len() as u64);
        push.trace = Some(self.context());
    }

    /// Notes what is pushed as one batch, and lets the broker and the gateways follow the first of them.
    pub(super) fn follow_batch<'a>(&mut self, pushes: impl Iterator<Item = &'a mut Push>) {
        let (context, mut count, mut body_bytes) = (self.context(), 0, 0);
        for (index, push) in pushes.enumerate() {
            count += 1;
            body_bytes += push.content.as_bytes().len() as u64;
            if index < FOLLOWED_ITEMS {
                push.trace = Some(context);
            }
        }
        (self.batch, self.body_bytes) = (Some(count), Some(body_bytes));
    }

    /// Finishes the span with the answer to its request.
    pub(super) fn answered(mut self, performed: &Result<Success, ApiError>) {
        if is_forbidden(performed) {
            // Who may not push decides about no trace.
            self.spans = Spans::default();
        }
        self.outcome = match performed {
            Ok(Success::Receipt(Receipt::Accepted(accepted))) => Ok(Some(accepted.position)),
            Ok(Success::Batch(_, answers, _)) if answers.iter().any(Result::is_err) => {
                // The answer to the batch has each of them.
                Err("items".into())
            }
            Ok(_) => Ok(None),
            Err(error) => Err(status(error).as_str().to_owned().into()),
        };
    }

    /// The context in which the broker and the gateways make their spans.
    fn context(&self) -> TraceContext {
        TraceContext { span: self.id, ..self.parent }
    }
}

/// Whether all that was asked for is refused because the caller may not do it.
fn is_forbidden(performed: &Result<Success, ApiError>) -> bool {
    let is_forbidden = |error: &ApiError| matches!(status(error).as_u16(), 401 | 403);
    match performed {
        Err(error) => is_forbidden(error),
        Ok(Success::Batch(_, answers, _)) => {
            let mut answers = answers.iter();
            answers.len() > 0 && answers.all(|answered| answered.as_ref().is_err_and(&is_forbidden))
        }
        Ok(_) => false,
    }
}

impl Drop for PushSpan {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Ok(None));
        let took = self.begun.elapsed();
        self.spans.finish(Span {
            target: self.target.take(),
            body_bytes: self.body_bytes,
            batch: self.batch,
            position: outcome.as_ref().ok().copied().flatten(),
            error: outcome.err(),
            ..Span::ended(Operation::Publish, self.id, self.parent, took)
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use actix_web::test::TestRequest;
    use campanile_channel::spans::SpanSink;
    use campanile_messages::Audience;

    use super::*;
    use crate::http::HttpError;
    use crate::push::BadRequest;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Span>>>);

    impl SpanSink for Kept {
        fn finished(&self, span: Span) {
            self.0.lock().unwrap().push(span);
        }

        fn passed_over(&self) {}
    }

    impl Kept {
        fn one(&self) -> Span {
            let mut spans = self.0.lock().unwrap();
            assert_eq!(spans.len(), 1);
            spans.remove(0)
        }
    }

    fn begin(spans: &Spans, headers: &[&str]) -> Option<PushSpan> {
        let mut request = TestRequest::default();
        for header in headers {
            request = request.append_header((TRACEPARENT, *header));
        }
        PushSpan::begin(spans, &request.to_http_request())
    }

    fn push(content: &'static str) -> Push {
        Push::new(Target::Audience(Audience::Everyone), content.into())
    }

    #[test]
    fn only_a_sampled_trace_that_is_named_once_gets_a_span() {
        let spans = Spans::to(Kept::default());
        assert!(begin(&spans, &[HEADER]).is_some());
        let unsampled = HEADER.replace("-01", "-00");
        for headers in [&[][..], &[&*unsampled], &["00-x"], &[HEADER, HEADER], &[HEADER, "00-x"]] {
            assert!(begin(&spans, headers).is_none(), "{headers:?}");
        }
        assert!(begin(&Spans::default(), &[HEADER]).is_none());
    }

    #[test]
    fn the_push_is_followed_in_the_trace_of_its_caller() {
        let kept = Kept::default();
        let mut span = begin(&Spans::to(kept.clone()), &[HEADER]).unwrap();
        let mut push = push("hello");
        span.follow(&mut push);
        span.answered(&Err(HttpError::BodyOfGet.into()));
        let span = kept.one();
        assert_eq!(span.parent.to_string(), HEADER);
        assert_eq!(push.trace, Some(TraceContext { span: span.id, ..span.parent }));
        assert_ne!(span.id, span.parent.span);
        assert_eq!((span.target, span.body_bytes, span.batch), (Some(push.target), Some(5), None));
        assert_eq!(span.error.as_deref(), Some("400"));
        assert!(span.start <= span.end);
    }

    #[test]
    fn who_may_not_push_makes_no_span() {
        let kept = Kept::default();
        let not_allowed = BadRequest::NotAllowed { scope: "everyone".to_owned() };
        for error in [HttpError::UnknownKey.into(), ApiError::from(not_allowed)] {
            begin(&Spans::to(kept.clone()), &[HEADER]).unwrap().answered(&Err(error));
        }
        assert_eq!(kept.0.lock().unwrap().len(), 0);
    }

    #[test]
    fn a_batch_has_one_span_and_its_first_pushes_are_followed() {
        let kept = Kept::default();
        let mut span = begin(&Spans::to(kept.clone()), &[HEADER]).unwrap();
        let mut pushes = vec![push("hello"); 10_000];
        span.follow_batch(pushes.iter_mut());
        drop(span);
        let span = kept.one();
        assert_eq!((span.target, span.batch, span.body_bytes), (None, Some(10_000), Some(50_000)));
        assert_eq!(span.error.as_deref(), Some("caller_gone"));
        let followed = pushes.iter().filter(|push| push.trace.is_some()).count();
        assert_eq!(followed, FOLLOWED_ITEMS);
    }
}
