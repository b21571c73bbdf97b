//! Spans of pushes that belong to a trace, at a small collector.

#[path = "tracing/receiver.rs"]
mod receiver;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use campanile_harness::link::script::{Script, at};
use campanile_harness::{
    Answer, Cluster, HttpConnection, Process, Signal, eventually, exchange, reserved_port,
};
use campanile_messages::hello::Features;
use campanile_messages::{FromBroker, ToBroker};

use receiver::{Receiver, Span};

const ADMIN: &str = "--admin-listen 127.0.0.1:0";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

/// Pushes with this `traceparent`, and returns the receipt.
async fn push(publisher: SocketAddr, query: &str, traceparent: &str) -> Answer {
    let request = format!(
        "GET /?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\
         traceparent: {traceparent}\r\n\r\n"
    );
    let mut connection = HttpConnection::connect(publisher).await;
    connection.send(request).await;
    connection.answer().await
}

fn of<'a>(spans: &'a [Span], service: &str) -> Vec<&'a Span> {
    let service = format!("campanile-{service}");
    spans.iter().filter(|span| span.service == service).collect()
}

#[tokio::test]
async fn a_traced_push_has_one_span_in_each_process_it_passes() {
    let receiver = Receiver::start().await;
    let flag = receiver.flag();
    let cluster = Cluster::of(2)
        .broker(&flag)
        .gateway(&format!("--workers 2 {flag}"))
        .publisher(&flag)
        .start()
        .await;
    let publisher = cluster.push[0].address;
    let mut clients = Vec::new();
    for (gateway, group) in [(0, "news"), (0, "news"), (0, "other"), (1, "news")] {
        clients.push(cluster.client(gateway, &[group]).await);
    }
    // None of these is followed.
    for other in [
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "hello",
    ] {
        assert_eq!(push(publisher, "content=a&to_group=news", other).await.status, 200);
    }
    let answer = push(publisher, "content=hello&to_group=news", &traceparent()).await;
    let receipt = answer.json();
    for (number, client) in clients.iter_mut().enumerate() {
        if number != 2 {
            client.texts_until("hello").await;
        }
    }
    let spans = receiver.reaches(4).await;
    let ids: BTreeSet<_> = spans.iter().map(|span| span.id.clone()).collect();
    assert!(ids.len() == 4 && !ids.contains(CALLER), "{ids:?}");
    let [published] = of(&spans, "publisher")[..] else { panic!("{spans:#?}") };
    assert_eq!((&*published.name, published.kind), ("publish group", 4));
    assert_eq!((&*published.parent, published.links.len()), (CALLER, 0));
    assert_eq!(published.of("messaging.operation.type"), "send");
    let [accepted] = of(&spans, "broker")[..] else { panic!("{spans:#?}") };
    assert_eq!((&*accepted.name, accepted.kind), ("accept group", 2));
    assert_eq!((&accepted.parent, accepted.links.len()), (&published.id, 0));
    assert_eq!(accepted.of("campanile.gateways"), "2");
    let delivered = of(&spans, "gateway");
    assert_eq!(delivered.len(), 2);
    assert_ne!(delivered[0].instance, delivered[1].instance);
    for span in &delivered {
        assert_eq!((&*span.name, span.kind), ("deliver group", 5));
        assert_eq!((&span.parent, &span.links), (&published.id, &vec![published.id.clone()]));
    }
    let mut written: Vec<_> =
        delivered.iter().map(|span| span.of("campanile.connections.written")).collect();
    written.sort_unstable();
    assert_eq!(written, ["1", "2"]);
    for span in &spans {
        assert_eq!((&*span.trace, span.is_error), (TRACE, false));
        assert_eq!(span.of("messaging.system"), "campanile");
        assert_eq!(span.of("messaging.destination.name"), "news");
        assert_eq!(
            span.of("messaging.message.id"),
            receipt["position"].as_str().expect("it has one")
        );
        assert_eq!(span.of("messaging.message.body.size"), "5");
        assert!(span.nanos < 10_000_000_000, "{}", span.nanos);
    }

    // A refused push, one to a connection, a repeat and a batch.
    assert_eq!(push(publisher, "to_group=news", &traceparent()).await.status, 400);
    let spans = receiver.reaches(5).await;
    assert_eq!((&*spans[4].name, spans[4].of("error.type")), ("publish", "400"));
    assert!(spans[4].is_error);
    let [(_, worker), (_, connection)] = clients[0].address();
    let one = format!("content=psst&to_worker_id={worker}&to_connection_id={connection}");
    assert_eq!(push(publisher, &one, &traceparent()).await.status, 200);
    let spans = receiver.reaches(6).await;
    assert_eq!((&*spans[5].name, spans[5].of("error.type")), ("publish connection", ""));
    let items: Vec<_> =
        (0..20).map(|n| format!(r#"{{"content":"{n}","to":{{"group":"other"}}}}"#)).collect();
    let body = format!("[{}]", items.join(","));
    let batch = format!(
        "POST /batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\ntraceparent: {}\r\n\r\n{body}",
        body.len(),
        traceparent()
    );
    let mut connection = HttpConnection::connect(publisher).await;
    connection.send(batch).await;
    assert_eq!(connection.answer().await.status, 200);
    clients[2].texts_until("19").await;
    // The publisher's, and the first eight items of the broker and of the one gateway with a listener.
    let spans = receiver.reaches(6 + 1 + 8 + 8).await.split_off(6);
    let [batch] = of(&spans, "publisher")[..] else { panic!("{spans:#?}") };
    assert_eq!((&*batch.name, batch.of("messaging.batch.message_count")), ("publish", "20"));
    assert_eq!(of(&spans, "gateway").len(), 8);
    assert!(spans.iter().all(|span| span.id == batch.id || span.parent == batch.id));
}

#[tokio::test]
async fn spans_name_the_processes_as_the_cluster_does() {
    let receiver = Receiver::start().await;
    let flag = receiver.flag();
    let publisher = format!("{flag} {ADMIN}");
    let cluster = Cluster::of(1).gateway(&flag).publisher(&publisher).start().await;
    let mut client = cluster.client(0, &["news"]).await;
    let address = cluster.push[0].address;
    assert_eq!(push(address, "content=hello&to_group=news", &traceparent()).await.status, 200);
    client.texts_until("hello").await;
    let spans = receiver.reaches(2).await;
    let admin = cluster.publishers[0].address("operators are answered").await;
    let request = "GET /cluster HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let seen = exchange(admin, request.as_bytes()).await.json();
    for (service, list) in [("gateway", "gateways"), ("publisher", "publishers")] {
        let [span] = of(&spans, service)[..] else { panic!("{spans:#?}") };
        assert_eq!(seen[list][0]["instance"], span.instance, "{service}");
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_within_the_body_is_counted_as_gone() {
    let receiver = Receiver::start().await;
    let flags = format!("{} {ADMIN}", receiver.flag());
    let cluster = Cluster::of(0).publisher(&flags).start().await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\
         traceparent: {}\r\n\r\nhello",
        traceparent()
    );
    let mut connection = HttpConnection::connect(cluster.push[0].address).await;
    connection.send(head).await;
    drop(connection);
    let spans = receiver.reaches(1).await;
    assert_eq!((&*spans[0].name, spans[0].of("error.type")), ("publish", "caller_gone"));
    let admin = cluster.publishers[0].address("operators are answered").await;
    let request = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let shown = exchange(admin, request.as_bytes()).await.body;
    let counted = "campanile_publisher_pushes_total{kind=\"push\",result=\"none\",key=\"\"} 1\n";
    assert!(shown.contains(counted), "{shown}");
}

#[tokio::test]
async fn without_the_flag_a_process_has_no_spans_and_passes_none_on() {
    let receiver = Receiver::start().await;
    let flag = receiver.flag();
    let mut cluster = Cluster::of(1).broker(&flag).publisher(&flag).start().await;
    let mut client = cluster.client(0, &["news"]).await;
    let query = "content=hello&to_group=news";
    assert_eq!(push(cluster.push[0].address, query, &traceparent()).await.status, 200);
    client.texts_until("hello").await;
    let spans = receiver.reaches(2).await;
    assert_eq!((of(&spans, "publisher").len(), of(&spans, "broker").len()), (1, 1));

    // What a publisher without it is pushed is followed nowhere. What waits is exported at the end.
    let broker = cluster.broker_address.to_string();
    let plain = Process::start(&["publisher", "--listen", "127.0.0.1:0", "--broker", &broker]);
    let plain_address = plain.address("the publisher listens").await;
    assert_eq!(push(plain_address, query, &traceparent()).await.status, 200);
    assert_eq!(push(cluster.push[0].address, query, &traceparent()).await.status, 200);
    for process in [&mut cluster.publishers[0], &mut cluster.broker] {
        process.signal(Signal::TERM);
        assert!(process.ended().await.success());
    }
    assert_eq!(receiver.spans().len(), 4);
}

#[tokio::test]
async fn without_a_collector_pushes_go_on_and_spans_are_counted() {
    // A port on which nobody listens.
    let (_reserved, address) = reserved_port();
    let flags = format!("--otlp http://{address} {ADMIN}");
    let cluster = Cluster::of(1).publisher(&flags).start().await;
    let publisher = &cluster.publishers[0];
    let begun = Instant::now();
    for _ in 0..20 {
        let answer = push(cluster.push[0].address, "content=hello", &traceparent()).await;
        assert_eq!(answer.status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let operators = publisher.address("operators are answered").await;
    let number = async |name: &str| {
        let request = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        let text = exchange(operators, request.as_bytes()).await.body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
        line.trim().parse::<u64>().expect("a number")
    };
    eventually("all spans are dropped", async || {
        (number("campanile_otlp_dropped_spans_total").await == 20).then_some(())
    })
    .await;
    assert_eq!(number("campanile_otlp_exported_spans_total").await, 0);
    assert_eq!(push(cluster.push[0].address, "content=hello", &traceparent()).await.status, 200);
    eventually("one more", async || {
        (number("campanile_otlp_dropped_spans_total").await == 21).then_some(())
    })
    .await;
    assert_eq!(publisher.count("the collector takes no spans"), 1, "one line per incident");
}

#[tokio::test]
async fn a_broker_of_an_older_release_is_sent_no_traces() {
    let receiver = Receiver::start().await;
    let script = Script::new();
    let broker = script.address.to_string();
    let flags = ["publisher", "--listen", "127.0.0.1:0", "--broker", &broker];
    let publisher = Process::start(&[&flags[..], &["--otlp", &receiver.url]].concat());
    let address = publisher.address("the publisher listens").await;
    let pushing = tokio::spawn(async move { push(address, "content=hello", &traceparent()).await });
    let first = tokio::task::spawn_blocking(move || {
        let mut link = script.accept_publisher_with(at(7), Features::default());
        let first = link.recv();
        let (number, sequence) = (1, 8);
        let (matched, counting, away) = (None, 0, 0);
        link.send(FromBroker::Accepted { number, sequence, matched, counting, away });
        first
    });
    assert!(matches!(first.await.expect("no panic"), ToBroker::Publish { number: 1, .. }));
    assert_eq!(pushing.await.expect("no panic").status, 200);
    assert_eq!(receiver.reaches(1).await[0].name, "publish everyone");
}
