//! A small collector: takes spans by OTLP over HTTP, and keeps them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use campanile_harness::eventually;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A span, as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The name of the service.
    pub service: String,
    /// The id of the process.
    pub instance: String,
    pub name: String,
    /// As in the protocol: 2 is a server, 4 a producer, 5 a consumer.
    pub kind: i32,
    pub trace: String,
    pub id: String,
    pub parent: String,
    /// The spans that it links to.
    pub links: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    pub nanos: u64,
    pub is_error: bool,
}

impl Span {
    /// The value of an attribute; empty if it has none.
    pub fn of(&self, attribute: &str) -> &str {
        self.attributes.get(attribute).map_or("", String::as_str)
    }
}

/// Takes spans on a free port.
pub struct Receiver {
    pub url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let kept = spans.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, kept.clone()));
            }
        });
        Self { url, spans }
    }

    /// The flag that names it.
    pub fn flag(&self) -> String {
        format!("--otlp {}", self.url)
    }

    /// What has come so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().expect("no panic").clone()
    }

    /// Waits until exactly this many spans have come.
    pub async fn reaches(&self, count: usize) -> Vec<Span> {
        eventually(&format!("{count} spans"), async || {
            let spans = self.spans();
            assert!(spans.len() <= count, "more than {count} spans: {spans:#?}");
            (spans.len() == count).then_some(spans)
        })
        .await
    }
}

/// Answers the requests of one connection.
async fn serve(mut stream: TcpStream, spans: Arc<Mutex<Vec<Span>>>) {
    let mut read = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut read).await {
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("content-type: application/x-protobuf\r\n"), "{head}");
        let request = ExportTraceServiceRequest::decode(&body[..]).expect("an export");
        spans.lock().expect("no panic").extend(all(request));
        let answer =
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next request; `None` at the end of the connection.
async fn request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8(read[..end + 4].to_vec()).expect("a head");
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            let length: usize = length.expect("a length");
            if read.len() >= end + 4 + length {
                let body = read.drain(..end + 4 + length).skip(end + 4).collect();
                return Some((head, body));
            }
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

fn all(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = texts(of_resource.resource.expect("a resource").attributes);
        let of = |attribute: &str| resource.get(attribute).cloned().unwrap_or_default();
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                service: of("service.name"),
                instance: of("service.instance.id"),
                name: span.name,
                kind: span.kind,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
                attributes: texts(span.attributes),
                nanos: span.end_time_unix_nano - span.start_time_unix_nano,
                is_error: span.status.is_some_and(|status| status.code == 2),
            });
        }
    }
    spans
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("not a text or a number: {other:?}"),
    };
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
