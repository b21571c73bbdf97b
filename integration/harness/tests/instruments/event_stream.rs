//! The reader of event streams, and what it makes of what it reads.

use campanile_harness::{Block, Ended, Feed, Heard, Hello, Protocol, Recovery, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A server that answers one request with `response`: the request, and a client's connection to it.
async fn serve(response: &'static str) -> (tokio::task::JoinHandle<String>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.expect("a request");
        }
        stream.write_all(response.as_bytes()).await.expect("a client");
        String::from_utf8(request).expect("UTF-8")
    });
    (served, TcpStream::connect(address).await.expect("a server"))
}

fn event(id: &str, content: &str) -> Heard {
    Heard::Event { id: Some(id.to_owned()), to: None, content: content.to_owned() }
}

#[tokio::test]
async fn an_event_stream_is_read_as_its_standard_says() {
    let (served, stream) = serve(concat!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        "retry: 1000\n\n",
        "event: sync\ndata: {\"worker\":1,\"connection\":2,\"position\":\"a-1\",",
        "\"recovered\":false,\"reason\":\"expired\"}\nid: a-1\n\n",
        ": quiet\n\n",
        "id: a-2\ndata: one\ndata:  two\ndata:\ndata: three\n\n",
        "id:a-3\r\ndata:x\r\n\r\n",
        "id: a-4\n\n",
        "event: gap\ndata: {\"reason\":\"epoch_changed\",\"position\":\"b-0\"}\nid: b-0\n\n",
        "event: binary\nid: b-1\ndata: AAAA\n\n",
        "id: b-2\ndata: cut o",
    ))
    .await;
    let groups = ["a", "b c"];
    let feed = Feed::open_on(stream, Protocol::EventsByHeader, &groups, Some("a-1")).await;
    let Ok(mut feed) = feed else { panic!("no feed") };
    let hello = Hello {
        worker: 1,
        connection: 2,
        position: "a-1".to_owned(),
        recovery: Recovery::NotRecovered("expired".to_owned()),
    };
    let gap = Heard::Gap { reason: "epoch_changed".to_owned(), position: "b-0".to_owned() };
    let binary = Block {
        event: Some("binary".to_owned()),
        id: Some("b-1".to_owned()),
        data: Some("AAAA".to_owned()),
        ..Block::default()
    };
    for expected in [
        Heard::Hello(hello),
        event("a-2", "one\n two\n\nthree"),
        event("a-3", "x"),
        Heard::Mark("a-4".to_owned()),
        gap,
        Heard::Other(format!("{binary:?}")),
        Heard::Ended(Ended::Lost),
    ] {
        assert_eq!(feed.next().await, expected);
    }
    let request = within("the request", served).await.expect("no panic");
    assert!(request.starts_with("GET /events?group=a&group=b+c HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nLast-Event-ID: a-1\r\n"), "{request}");
}

#[tokio::test]
async fn a_stream_of_only_a_retry_is_not_mistaken_for_a_lost_one() {
    let (served, stream) = serve("HTTP/1.1 200 OK\r\n\r\nretry: 1000\n\n").await;
    let feed = Feed::open_on(stream, Protocol::Events, &[""; 0], Some("a-1")).await;
    let Ok(mut feed) = feed else { panic!("no feed") };
    assert_eq!(feed.next().await, Heard::Ended(Ended::ComeBack));
    let request = within("the request", served).await.expect("no panic");
    assert!(request.starts_with("GET /events?since=a-1 HTTP/1.1\r\n"), "{request}");
    assert!(!request.contains("Last-Event-ID"), "{request}");
}

#[tokio::test]
async fn a_refusal_is_its_status() {
    let (_served, stream) = serve("HTTP/1.1 503 No\r\nRetry-After: 1\r\n\r\n").await;
    let feed = Feed::open_on(stream, Protocol::Events, &[""; 0], None).await;
    assert_eq!(feed.err(), Some(Ended::Status(503)));
}
