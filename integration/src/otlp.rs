//! Exports spans to a collector of OpenTelemetry, by OTLP over HTTP, on a thread of its own.
//!
//! The services put finished spans into a queue that is bounded in count, and never wait: a span for which
//! there is no room is dropped and counted. A span takes about 1 KiB, most of it the names in it. The
//! thread takes up to a batch of spans at a time; an export has a limit, and what fails is dropped and
//! counted as well.

mod client;
mod data;
mod url;

use std::fmt;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use campanile_channel::Spans;
use campanile_channel::spans::{Span, SpanSink};
use campanile_messages::InstanceId;
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::trace::SpanExporter as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::exposure::{SERVICES, Service};

use client::{Client, Rejection};
pub use url::OtlpUrl;

/// The most spans that wait, as in the batch processor of OpenTelemetry's SDKs. About 2 MiB.
const MAX_WAITING: usize = 2_048;

/// The most spans of one request, as there.
const MAX_BATCH: usize = 512;

/// How long the first span of a request waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// How long a collector may take to answer a request.
const EXPORT_LIMIT: Duration = Duration::from_secs(5);

/// How long the end of the process may wait until the last spans are exported.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// What became of spans. Clones are the same numbers.
#[derive(Debug, Clone, Default)]
pub struct OtlpMeters {
    exported: Counter,
    dropped: Counter,
}

impl OtlpMeters {
    /// Shows them to operators.
    pub fn register(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("campanile_otlp_exported_spans", "Spans that the collector has taken", &self.exported),
            (
                "campanile_otlp_dropped_spans",
                "Spans that were dropped because too many waited, or because the collector did not take them",
                &self.dropped,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
    }
}

/// The spans of this process. Without a collector there are none.
#[derive(Debug)]
pub struct Otlp {
    meters: OtlpMeters,
    instances: [InstanceId; 3],
    thread: Option<Exporting>,
}

/// The thread that exports.
struct Exporting {
    queue: mpsc::Sender<(Service, Span)>,
    /// Asks for the end, and learns of it.
    ending: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
}

impl fmt::Debug for Exporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporting")
    }
}

impl Otlp {
    /// Starts the thread, if there is a collector. Whether that answers is not looked at.
    ///
    /// # Errors
    /// If there can be no HTTP client, or no thread.
    pub fn start(url: Option<&OtlpUrl>) -> anyhow::Result<Self> {
        let meters = OtlpMeters::default();
        let instances = [(); 3].map(|()| InstanceId(rand::random()));
        let Some(url) = url else { return Ok(Self { meters, instances, thread: None }) };
        let exporters = Exporters::new(url, meters.clone(), &instances)
            .with_context(|| format!("--otlp {url}: spans cannot be exported"))?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (queue, spans) = mpsc::channel(MAX_WAITING);
        let (stop, stopped) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        thread::Builder::new().name("otlp".to_owned()).spawn(move || {
            run(&runtime, exporters, spans, stopped);
            // Nobody may be waiting any more.
            let _ = ended.send(());
        })?;
        info!(collector = %url, "pushes with a sampled traceparent are traced");
        let ending = Mutex::new(Some((stop, end)));
        Ok(Self { meters, instances, thread: Some(Exporting { queue, ending }) })
    }

    /// Where the spans of a service go.
    pub fn spans(&self, service: Service) -> Spans {
        self.thread.as_ref().map_or_else(Spans::default, |thread| {
            let (queue, meters) = (thread.queue.clone(), self.meters.clone());
            Spans::to(Sink { service, queue, meters })
        })
    }

    /// By which the cluster knows a service of this process, and its spans name it.
    pub fn instance(&self, service: Service) -> InstanceId {
        self.instances[service as usize]
    }

    /// What operators see.
    pub fn meters(&self) -> &OtlpMeters {
        &self.meters
    }

    /// How long [`finish`](Self::finish) may take.
    pub fn finish_limit(&self) -> Duration {
        if self.thread.is_some() { FINISH_LIMIT } else { Duration::ZERO }
    }

    /// Exports what waits, but does not wait longer than the limit for that.
    pub async fn finish(&self) {
        let ending = self.thread.as_ref().and_then(|thread| thread.ending.lock().ok()?.take());
        let Some((stop, end)) = ending else { return };
        drop(stop);
        if timeout(FINISH_LIMIT, end).await.is_err() {
            warn!("the last spans are given up: the collector has not taken them in time");
        }
    }
}

/// Takes the spans of one service.
struct Sink {
    service: Service,
    queue: mpsc::Sender<(Service, Span)>,
    meters: OtlpMeters,
}

impl SpanSink for Sink {
    fn finished(&self, span: Span) {
        if self.queue.try_send((self.service, span)).is_err() {
            self.passed_over();
        }
    }

    fn passed_over(&self) {
        self.meters.dropped.inc();
    }
}

/// One exporter per service, because each is a resource of its own.
struct Exporters {
    exporters: [SpanExporter; 3],
    client: Client,
    meters: OtlpMeters,
    /// How many spans were lost since the collector took the last ones; `None` if none were.
    lost: Option<u64>,
}

impl Exporters {
    fn new(url: &OtlpUrl, meters: OtlpMeters, instances: &[InstanceId; 3]) -> anyhow::Result<Self> {
        let client = Client::new(url, EXPORT_LIMIT)?;
        let exporter = |service: Service| {
            let mut exporter = SpanExporter::builder()
                .with_http()
                .with_http_client(client.clone())
                .with_endpoint(url.traces())
                .with_protocol(Protocol::HttpBinary)
                .with_timeout(EXPORT_LIMIT)
                .with_retry_policy(RetryPolicy::disabled())
                .build()?;
            exporter.set_resource(&data::resource(service, instances[service as usize]));
            anyhow::Ok(exporter)
        };
        let [broker, gateway, publisher] = SERVICES.map(exporter);
        Ok(Self { exporters: [broker?, gateway?, publisher?], client, meters, lost: None })
    }

    /// Exports spans of any service, in one request per service.
    async fn export(&mut self, spans: &mut Vec<(Service, Span)>) {
        for service in SERVICES {
            let own = spans.extract_if(.., |(of, _)| *of == service);
            let batch: Vec<_> = own.map(|(_, span)| data::data(span)).collect();
            if batch.is_empty() {
                continue;
            }
            let count = batch.len() as u64;
            let exporter = &self.exporters[service as usize];
            match timeout(EXPORT_LIMIT, exporter.export(batch)).await {
                Ok(Ok(())) => match self.client.take_rejection() {
                    None => self.taken(count),
                    Some(Rejection { spans, reason }) => {
                        let rejected = spans.min(count);
                        self.meters.exported.inc_by(count - rejected);
                        self.lost(rejected, &format_args!("it has rejected some: {reason}"));
                    }
                },
                Ok(Err(error)) => self.lost(count, &error),
                Err(_) => self.lost(count, &format_args!("no answer within {EXPORT_LIMIT:?}")),
            }
        }
    }

    fn taken(&mut self, count: u64) {
        self.meters.exported.inc_by(count);
        if let Some(lost) = self.lost.take() {
            info!(lost, "the collector takes spans again");
        }
    }

    /// Logs the first of failures in a row.
    fn lost(&mut self, count: u64, error: &dyn fmt::Display) {
        self.meters.dropped.inc_by(count);
        let failure = self.client.take_failure();
        if self.lost.is_none() {
            let error = failure.unwrap_or_else(|| error.to_string());
            warn!(error, "the collector takes no spans; what it does not take is dropped");
        }
        *self.lost.get_or_insert(0) += count;
    }
}

/// Exports until the other end of `stopped` is dropped, and then what still waits.
fn run(
    runtime: &Runtime,
    mut exporters: Exporters,
    mut spans: mpsc::Receiver<(Service, Span)>,
    mut stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        let mut batch = Vec::new();
        loop {
            let is_over = tokio::select! {
                _ = &mut stopped => true,
                () = gather(&mut spans, &mut batch) => false,
            };
            if is_over {
                break;
            }
            exporters.export(&mut batch).await;
        }
        // Nobody adds any more: the services have ended.
        spans.close();
        loop {
            exporters.export(&mut batch).await;
            if spans.recv_many(&mut batch, MAX_BATCH).await == 0 {
                break;
            }
        }
    });
}

/// Waits for spans, and then a while for more of them. What has been taken is in `batch` if this is dropped.
async fn gather(spans: &mut mpsc::Receiver<(Service, Span)>, batch: &mut Vec<(Service, Span)>) {
    if spans.recv_many(batch, MAX_BATCH).await == 0 {
        return std::future::pending().await;
    }
    let until = Instant::now() + LINGER;
    while batch.len() < MAX_BATCH {
        match timeout_at(until, spans.recv_many(batch, MAX_BATCH - batch.len())).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Instant;

    use campanile_channel::spans::{Operation, new_span_id};
    use campanile_messages::TraceContext;

    use super::*;

    fn span() -> Span {
        let header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = TraceContext::parse(header).unwrap();
        Span::ended(Operation::Publish, new_span_id(), parent, Duration::ZERO)
    }

    fn start(listener: &TcpListener) -> Otlp {
        let url = format!("http://{}", listener.local_addr().unwrap());
        Otlp::start(Some(&url.parse().unwrap())).unwrap()
    }

    #[test]
    fn without_a_collector_there_is_no_thread_and_no_span() {
        let otlp = Otlp::start(None).unwrap();
        assert!(otlp.thread.is_none() && !otlp.spans(Service::Broker).are_on());
        assert_eq!(otlp.finish_limit(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_collector_that_never_answers_costs_a_counter_and_no_memory() {
        const SPANS: u64 = 100_000;
        // It accepts in its backlog, and nobody reads.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let otlp = start(&listener);
        let spans = otlp.spans(Service::Publisher);
        let begun = Instant::now();
        for _ in 0..SPANS {
            spans.finish(span());
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let dropped = otlp.meters.dropped.get();
        let held = SPANS - dropped;
        assert!(held <= (MAX_WAITING + MAX_BATCH) as u64, "{held} spans are held");
        assert_eq!(otlp.meters.exported.get(), 0);
        let begun = Instant::now();
        otlp.finish().await;
        assert!(begun.elapsed() < FINISH_LIMIT + Duration::from_secs(1), "{:?}", begun.elapsed());
    }

    /// Starts the exporter with a collector that answers its first request like this.
    fn start_with(status: &str, body: &[u8]) -> Otlp {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let otlp = start(&listener);
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = [head.as_bytes(), body].concat();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            let mut length = 0;
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            stream.get_mut().write_all(&answer).unwrap();
        });
        otlp
    }

    #[tokio::test]
    async fn what_a_collector_rejects_is_dropped() {
        // A partial success: two spans, "no".
        let rejects_two = [0x0a, 6, 0x08, 2, 0x12, 2, b'n', b'o'];
        for (status, body, counted) in [
            ("200 OK", &rejects_two[..], (1, 2)),
            ("200 OK", b"<!doctype html>", (0, 3)),
            ("429 Too Many Requests", b"", (0, 3)),
            ("200 OK", b"{}", (3, 0)),
        ] {
            let otlp = start_with(status, body);
            let spans = otlp.spans(Service::Broker);
            (0..3).for_each(|_| spans.finish(span()));
            otlp.finish().await;
            let seen = (otlp.meters.exported.get(), otlp.meters.dropped.get());
            assert_eq!(seen, counted, "{status} {body:?}");
        }
    }

    #[tokio::test]
    async fn what_waits_is_exported_at_the_end() {
        let otlp = start_with("200 OK", b"");
        let begun = Instant::now();
        otlp.spans(Service::Broker).finish(span());
        otlp.finish().await;
        assert!(begun.elapsed() < FINISH_LIMIT, "{:?}", begun.elapsed());
        assert_eq!((otlp.meters.exported.get(), otlp.meters.dropped.get()), (1, 0));
        // Later spans are dropped, and so is the second end.
        otlp.spans(Service::Broker).finish(span());
        assert_eq!(otlp.meters.dropped.get(), 1);
        otlp.finish().await;
    }
}
