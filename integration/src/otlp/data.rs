//! Spans as OpenTelemetry has them: their names, kinds and attributes follow its conventions for messaging.
//! Pure.

use std::borrow::Cow;

use campanile_channel::publishing::Target;
use campanile_channel::spans::{Operation, Span};
use campanile_messages::link::Tally;
use campanile_messages::{Audience, InstanceId, SpanId, TraceContext};
use opentelemetry::trace::{self, Link, SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::exposure::Service;

/// The service that the spans are of. What OTEL_RESOURCE_ATTRIBUTES says is added.
pub fn resource(service: Service, instance: InstanceId) -> Resource {
    let name = format!("campanile-{}", service.name());
    let attributes = [
        KeyValue::new("service.name", name),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance.to_string()),
    ];
    Resource::builder().with_attributes(attributes).build()
}

/// A span for the exporter.
pub fn data(span: Span) -> SpanData {
    let attributes = attributes(&span);
    let Span { operation, id, parent, start, end, target, error, .. } = span;
    let mut links = SpanLinks::default();
    if operation == Operation::Deliver {
        // By the conventions, who gets a message links to the span that made it.
        links.links.push(Link::with_context(context(parent, parent.span, true)));
    }
    SpanData {
        span_context: context(parent, id, false),
        parent_span_id: trace::SpanId::from_bytes(parent.span.bytes()),
        parent_span_is_remote: true,
        span_kind: kind(operation),
        name: name(operation, target.as_ref()),
        start_time: start,
        end_time: end,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: if error.is_some() { Status::error("") } else { Status::Unset },
        instrumentation_scope: InstrumentationScope::builder("campanile")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

/// A span of a trace, and whether it is another process'.
fn context(of: TraceContext, span: SpanId, is_remote: bool) -> SpanContext {
    SpanContext::new(
        trace::TraceId::from_bytes(of.trace.bytes()),
        trace::SpanId::from_bytes(span.bytes()),
        TraceFlags::new(of.flags),
        is_remote,
        TraceState::default(),
    )
}

fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Publish => "publish",
        Operation::Accept => "accept",
        Operation::Deliver => "deliver",
    }
}

/// The publisher's span makes the message, and those of the gateways are about messages that were made
/// elsewhere. The broker answers the publisher.
fn kind(operation: Operation) -> SpanKind {
    match operation {
        Operation::Publish => SpanKind::Producer,
        Operation::Accept => SpanKind::Server,
        Operation::Deliver => SpanKind::Consumer,
    }
}

/// Names no group and no user: there may be millions of them.
fn name(operation: Operation, target: Option<&Target>) -> Cow<'static, str> {
    let word = word(operation);
    target.map_or(word.into(), |target| format!("{word} {}", template(target)).into())
}

fn template(target: &Target) -> &'static str {
    match target {
        Target::Audience(Audience::Everyone) => "everyone",
        Target::Audience(Audience::Group(_)) => "group",
        Target::Audience(Audience::User(_)) => "user",
        Target::Connection(_) => "connection",
    }
}

fn destination(target: &Target) -> String {
    match target {
        Target::Audience(Audience::Everyone) => "everyone".to_owned(),
        Target::Audience(audience) => audience.name().to_owned(),
        Target::Connection(to) => format!("{}/{}", to.worker, to.connection),
    }
}

fn attributes(span: &Span) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("messaging.system", "campanile"),
        KeyValue::new("messaging.operation.name", word(span.operation)),
    ];
    match span.operation {
        Operation::Publish => attributes.push(KeyValue::new("messaging.operation.type", "send")),
        // There is no type for a broker's part.
        Operation::Accept => {}
        Operation::Deliver => attributes.push(KeyValue::new("messaging.operation.type", "process")),
    }
    if let Some(target) = &span.target {
        attributes.push(KeyValue::new("messaging.destination.template", template(target)));
        attributes.push(KeyValue::new("messaging.destination.name", destination(target)));
    }
    if let Some(position) = span.position {
        attributes.push(KeyValue::new("messaging.message.id", position.to_string()));
    }
    let mut number = |key: &'static str, value: Option<u64>| {
        if let Some(value) = value {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new(key, value));
        }
    };
    number("messaging.message.body.size", span.body_bytes);
    number("messaging.batch.message_count", span.batch);
    number("campanile.gateways", span.gateways);
    if let Some(Tally { matched, written, too_slow }) = span.connections {
        number("campanile.connections.matched", Some(matched));
        number("campanile.connections.written", Some(written));
        number("campanile.connections.too_slow", Some(too_slow));
    }
    if let Some(error) = &span.error {
        attributes.push(KeyValue::new("error.type", error.clone()));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use campanile_channel::spans::new_span_id;
    use campanile_messages::{GroupName, Position};

    use super::*;

    fn parent() -> TraceContext {
        let header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";
        TraceContext::parse(header).unwrap()
    }

    fn span(operation: Operation) -> Span {
        let group = Audience::Group(GroupName::new("news".to_owned()).unwrap());
        Span {
            target: Some(Target::Audience(group)),
            position: Some(Position { epoch: 1, sequence: 7 }),
            body_bytes: Some(5),
            ..Span::ended(operation, new_span_id(), parent(), Duration::from_millis(20))
        }
    }

    fn shown(attributes: &[KeyValue]) -> Vec<String> {
        attributes.iter().map(|kv| format!("{}={}", kv.key, kv.value)).collect()
    }

    #[test]
    fn a_push_has_a_name_without_the_group_and_attributes_with_it() {
        let span = span(Operation::Publish);
        let id = span.id;
        let data = data(span);
        assert_eq!(data.name, "publish group");
        assert_eq!(data.span_kind, SpanKind::Producer);
        assert_eq!(data.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(data.span_context.trace_flags(), TraceFlags::new(3));
        assert_eq!(data.span_context.span_id().to_bytes(), id.bytes());
        assert_eq!(data.parent_span_id.to_string(), "b7ad6b7169203331");
        let took = data.end_time.duration_since(data.start_time).unwrap();
        assert_eq!(took, Duration::from_millis(20));
        assert_eq!((data.status, data.links.len()), (Status::Unset, 0));
        let expected = [
            "messaging.system=campanile",
            "messaging.operation.name=publish",
            "messaging.operation.type=send",
            "messaging.destination.template=group",
            "messaging.destination.name=news",
            &format!("messaging.message.id={}", Position { epoch: 1, sequence: 7 }),
            "messaging.message.body.size=5",
        ];
        assert_eq!(shown(&data.attributes), expected);
    }

    #[test]
    fn the_span_of_a_gateway_links_to_the_one_that_made_the_event() {
        let mut span = span(Operation::Deliver);
        span.connections = Some(Tally { matched: 3, written: 2, too_slow: 1 });
        let data = data(span);
        assert_eq!((&*data.name, data.span_kind), ("deliver group", SpanKind::Consumer));
        let [link] = &data.links[..] else { panic!("{:?}", data.links) };
        assert_eq!(link.span_context.span_id(), data.parent_span_id);
        assert!(link.span_context.is_remote() && !data.span_context.is_remote());
        assert_eq!(link.span_context.trace_id(), data.span_context.trace_id());
        let shown = shown(&data.attributes);
        assert_eq!(shown[2], "messaging.operation.type=process");
        assert!(shown.ends_with(&[
            "campanile.connections.matched=3".to_owned(),
            "campanile.connections.written=2".to_owned(),
            "campanile.connections.too_slow=1".to_owned(),
        ]));
    }

    #[test]
    fn what_went_wrong_is_a_type_and_a_status() {
        let mut span = span(Operation::Accept);
        (span.target, span.error) = (None, Some("id_taken".into()));
        let data = data(span);
        assert_eq!((&*data.name, data.span_kind), ("accept", SpanKind::Server));
        assert_eq!(data.status, Status::error(""));
        assert_eq!(shown(&data.attributes).last().unwrap(), "error.type=id_taken");
    }
}
