//! Whole sessions with another implementation of websockets, and with a whole gateway.

use campanile_harness::client::raw::{
    BINARY, Client, FIN, PING, PONG, TEXT, close, frame, header, request,
};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::harness::{Gateway, echo};

type Tungstenite = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn next(socket: &mut Tungstenite) -> Message {
    socket.next().await.expect("the session continues").expect("valid frames")
}

async fn assert_closes(mut socket: Tungstenite) {
    let frame = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
    socket.close(Some(frame)).await.expect("an open session");
    let Message::Close(Some(answer)) = next(&mut socket).await else { panic!("not a close") };
    assert_eq!(answer.code, CloseCode::Normal);
    assert!(matches!(socket.next().await, None | Some(Err(Error::ConnectionClosed))));
}

#[tokio::test]
async fn another_implementation_gets_its_messages_back_and_closes() {
    let (mut socket, _) = connect_async(format!("ws://{}/any/path", echo())).await.unwrap();
    for size in [0, 125, 126, 65_535, 65_536, 1 << 20] {
        for message in [Message::text("x".repeat(size)), Message::binary(vec![0xff; size])] {
            socket.send(message.clone()).await.unwrap();
            assert!(next(&mut socket).await == message, "{size} bytes");
        }
    }
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Pong("are you there".into()));
    assert_closes(socket).await;
}

#[tokio::test]
async fn another_implementation_speaks_v1_with_a_gateway() {
    let gateway = Gateway::start(|_| {});
    let url = format!("ws://{}/?group=news", gateway.address);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "campanile.v1".parse().unwrap());
    let (mut socket, response) = connect_async(request).await.unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "campanile.v1");
    let welcome = next(&mut socket).await.into_text().unwrap();
    assert!(welcome.starts_with(r#"{"type":"welcome","worker":"#), "{welcome}");
    for (said, answer) in [
        (r#"{"type":"ping"}"#, r#"{"type":"pong"}"#),
        (r#"{"type":"join","group":"news"}"#, r#"{"type":"joined","group":"news"}"#),
        (r#"{"type":"join","group":"뉴스"}"#, r#"{"type":"joined","group":"뉴스"}"#),
        (r#"{"type":"leave","group":"news"}"#, r#"{"type":"left","group":"news"}"#),
    ] {
        socket.send(Message::text(said)).await.unwrap();
        assert_eq!(next(&mut socket).await, Message::text(answer));
    }
    for said in [Message::text("no JSON"), Message::binary(b"{\"type\":\"ping\"}".to_vec())] {
        socket.send(said).await.unwrap();
        let error = next(&mut socket).await.into_text().unwrap();
        assert!(error.starts_with(r#"{"type":"error","code":"#), "{error}");
    }
    assert_closes(socket).await;
}

#[test]
fn a_gateway_answers_only_control_frames_of_a_plain_client() {
    let gateway = Gateway::start(|_| {});
    let mut client = Client::open(gateway.address);
    let greeting = client.recv();
    let text = str::from_utf8(&greeting.payload).unwrap();
    assert!(
        text.starts_with("workerID:") && text.ends_with(" connectionID:1 connected\n"),
        "{text}"
    );
    client.send(&frame(FIN | TEXT, b"ignored"));
    client.send(&frame(FIN | BINARY, b"ignored"));
    client.send(&frame(FIN | PING, b"answered"));
    client.expect(PONG, b"answered");
    client.send(&close(4321, b"bye"));
    client.expect_close(4321);
}

#[test]
fn a_gateway_closes_each_violation_with_its_code() {
    let gateway = Gateway::start(|_| {});
    let long_ago_begun = [frame(TEXT, b""), frame(0, b"").repeat(1_023), header(0, 0)].concat();
    for (wrong, code) in [
        (frame(FIN | 0x40 | TEXT, b"x"), 1002),
        (frame(FIN | 0x3, b"x"), 1002),
        (b"\x81\x00".to_vec(), 1002),
        (frame(FIN | PING, &[0; 126]), 1002),
        (frame(0x80, b"lone"), 1002),
        (close(1006, b""), 1002),
        (frame(FIN | TEXT, b"\xff"), 1007),
        (header(FIN | TEXT, (64 << 10) + 1), 1009),
        (long_ago_begun, 1009),
    ] {
        for protocol in [&[][..], &["Sec-WebSocket-Protocol: campanile.v1"]] {
            let mut client = Client::open_with(gateway.address, &request("/", protocol));
            assert_eq!(client.recv().first, FIN | TEXT, "the greeting or the welcome");
            client.send(&[&wrong, &vec![0x5a; 1 << 20][..]].concat());
            client.expect_close(code);
        }
    }
}
