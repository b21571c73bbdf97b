//! Spans: what each service did for a push whose caller follows it in a trace. The services finish spans
//! and know nothing of how and where they are exported.
//!
//! Every span is a child of the span in which the push was made: that of the publisher for the broker and
//! the gateways, that of the caller for the publisher.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use campanile_messages::link::Tally;
use campanile_messages::{Position, SpanId, TraceContext};

use crate::publishing::Target;

/// What a service did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A publisher accepted a request, and answered it.
    Publish,
    /// The broker received a push, and released it as an event, or refused it.
    Accept,
    /// A gateway received an event, and wrote it to its connections.
    Deliver,
}

/// A finished span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What was done.
    pub operation: Operation,
    /// The span's own id.
    pub id: SpanId,
    /// The trace, and the span that this one is a child of.
    pub parent: TraceContext,
    /// When it began, by the wall clock.
    pub start: SystemTime,
    /// When it was finished, by the wall clock.
    pub end: SystemTime,
    /// Whom the push is for; `None` for a batch, and if that is not known.
    pub target: Option<Target>,
    /// Where the event stands in the log; `None` if it is not there.
    pub position: Option<Position>,
    /// The size of the content, in bytes; of all contents for a batch.
    pub body_bytes: Option<u64>,
    /// The number of pushes in the batch; `None` for a single push.
    pub batch: Option<u64>,
    /// How many gateways the event was sent to.
    pub gateways: Option<u64>,
    /// What became of the event at the connections of a gateway.
    pub connections: Option<Tally>,
    /// A word or number for what went wrong; `None` if nothing did.
    pub error: Option<Cow<'static, str>>,
}

impl Span {
    /// A span that has just ended and took this long, about which nothing else is known.
    pub fn ended(operation: Operation, id: SpanId, parent: TraceContext, took: Duration) -> Self {
        let end = SystemTime::now();
        Self {
            operation,
            id,
            parent,
            start: end.checked_sub(took).unwrap_or(end),
            end,
            target: None,
            position: None,
            body_bytes: None,
            batch: None,
            gateways: None,
            connections: None,
            error: None,
        }
    }
}

/// A new id for a span.
pub fn new_span_id() -> SpanId {
    // One in 2^64 of them would be all zero.
    std::iter::repeat_with(|| SpanId::new(rand::random())).flatten().next().expect("it is endless")
}

/// Takes finished spans. It must neither wait nor keep more of them than some bound.
pub trait SpanSink: Send + Sync {
    /// Takes one.
    fn finished(&self, span: Span);

    /// Notes that one was not even begun, because there were too many at once.
    fn passed_over(&self);
}

/// Where the spans of a service go. By default nowhere, and then none is begun. Clones share the place.
#[derive(Clone, Default)]
pub struct Spans(Option<Arc<dyn SpanSink>>);

impl Spans {
    /// Spans that go to this sink.
    pub fn to(sink: impl SpanSink + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    /// Whether spans go anywhere.
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Passes a span on.
    pub fn finish(&self, span: Span) {
        if let Some(sink) = &self.0 {
            sink.finished(span);
        }
    }

    /// Counts a span that is not begun, because there are too many at once.
    pub fn pass_over(&self) {
        if let Some(sink) = &self.0 {
            sink.passed_over();
        }
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.are_on() { "Spans(on)" } else { "Spans(off)" })
    }
}
