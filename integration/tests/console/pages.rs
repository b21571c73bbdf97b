//! The page's websocket: who gets one, and what it may do.

use std::net::SocketAddr;

use campanile_harness::{HttpConnection, Process, eventually, within};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::Guarded;

/// A publisher whose operators have no keys.
fn publisher() -> Process {
    Process::start(&["publisher", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
}

/// Opens the websocket of a page that came from there.
async fn open(admin: SocketAddr) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, Error> {
    let mut request = format!("ws://{admin}/console/live").into_client_request()?;
    let origin = format!("http://{admin}").parse().expect("a value");
    request.headers_mut().insert("origin", origin);
    let opened = within("an answer", connect_async(request)).await;
    opened.map(|(page, _)| page)
}

#[tokio::test]
async fn no_more_than_32_pages_look_at_one_publisher() {
    let publisher = publisher();
    let admin = publisher.address("operators are answered").await;
    let mut pages = Vec::new();
    for _ in 0..32 {
        pages.push(open(admin).await.expect("it is let in"));
    }
    match open(admin).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 503),
        other => panic!("{other:?}"),
    }
    pages.pop();
    eventually("there is room again", async || open(admin).await.ok()).await;
}

#[tokio::test]
async fn idle_connections_shut_nobody_out_and_close_no_page() {
    let publisher = publisher();
    let admin = publisher.address("operators are answered").await;
    let mut page = open(admin).await.expect("it is let in");
    let live = format!("GET /health/live HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    let mut idle = Vec::new();
    for is_answered in [false, true] {
        for _ in 0..80 {
            let mut connection = HttpConnection::connect(admin).await;
            if is_answered {
                connection.send(&live).await;
                assert_eq!(within("an answer", connection.answer()).await.status, 200);
            }
            idle.push(connection);
        }
    }
    // The page has lived longer than all of them.
    page.send(Message::Ping("there?".into())).await.expect("it is open");
    let answered = async {
        while let Some(Ok(message)) = page.next().await {
            if message.is_pong() {
                return true;
            }
        }
        false
    };
    assert!(within("a pong", answered).await, "the page was closed");
}

#[tokio::test]
async fn a_page_that_floods_is_closed() {
    let publisher = publisher();
    let admin = publisher.address("operators are answered").await;
    let page = open(admin).await.expect("it is let in");
    let (mut sink, mut stream) = page.split();
    let before = publisher.resident_bytes();
    for _ in 0..100_000 {
        if sink.feed(Message::Pong(vec![0; 100].into())).await.is_err() {
            break;
        }
    }
    let after = publisher.resident_bytes();
    assert!(after < before + (4 << 20), "it grew from {before} to {after} bytes");
    let closed = async { while let Some(Ok(_)) = stream.next().await {} };
    within("the page is closed", closed).await;
}

#[tokio::test]
async fn one_key_cannot_take_the_pages_of_another() {
    let guarded = Guarded::start().await;
    let open = async |name: &str| {
        let url = format!("ws://{}/console/live", guarded.admin);
        let mut request = url.into_client_request().expect("a URL");
        let bearer = format!("Bearer {}", guarded.key(name)).parse().expect("a value");
        request.headers_mut().insert("authorization", bearer);
        within("an answer", connect_async(request)).await
    };
    let mut pages = Vec::new();
    for _ in 0..8 {
        pages.push(open("ops").await.expect("it is let in"));
    }
    match open("ops").await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 503),
        other => panic!("{other:?}"),
    }
    open("looker").await.expect("another key is let in");
    pages.pop();
    eventually("there is room again", async || open("ops").await.ok()).await;
}
