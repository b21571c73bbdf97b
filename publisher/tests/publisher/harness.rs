//! A publisher on port 0, a broker of raw frames that follows a script, and an HTTP client that
//! shows every byte.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::spawn;
use bytes::{Bytes, BytesMut};
use campanile_messages::frame::{MAX_FRAME_BYTES, decode_hello, encode_welcome, take_frame};
use campanile_messages::link::{Outcome, Role, Welcome};
use campanile_messages::{Content, EncodedFrame, FromBroker, Position, ToBroker};
use campanile_publisher::{PublisherConfig, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// No condition that a test waits for takes longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub const EPOCH: u64 = 0xe0c4;

/// What a scripted broker does about a message.
pub enum Act {
    Say(FromBroker),
    Nothing,
    /// Closes the link.
    Die,
}

/// Accepts everything: the sequence is the number.
pub fn accept(message: &ToBroker) -> Act {
    match *message {
        ToBroker::Publish { number, .. } => {
            Act::Say(FromBroker::Accepted { number, sequence: number, gateways: 2, matched: 120 })
        }
        ToBroker::Push { number, .. } => {
            Act::Say(FromBroker::Answered { number, outcome: Outcome::Written })
        }
        _ => Act::Nothing,
    }
}

/// A port where nobody answers yet, kept for a broker that comes later.
pub fn reserved_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    // A broker that comes back needs the option on every socket of its port.
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let addr = socket.local_addr().expect("bound");
    (socket, addr)
}

pub struct Broker {
    pub addr: SocketAddr,
    received: Arc<Mutex<Vec<ToBroker>>>,
    task: JoinHandle<()>,
}

impl Broker {
    pub fn start(script: impl FnMut(&ToBroker) -> Act + 'static) -> Self {
        Self::start_at(reserved_port().0, script)
    }

    pub fn start_at(socket: TcpSocket, mut script: impl FnMut(&ToBroker) -> Act + 'static) -> Self {
        let listener = socket.listen(16).expect("listens");
        let addr = listener.local_addr().expect("bound");
        let received = Arc::new(Mutex::new(Vec::new()));
        let log = received.clone();
        let task = spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // One link at a time is enough for one publisher.
                let _ = serve_link(stream, &mut script, &log).await;
            }
        });
        Self { addr, received, task }
    }

    /// The pushes it got so far, without the heartbeats.
    pub fn received(&self) -> Vec<ToBroker> {
        self.received.lock().expect("no panic").clone()
    }

    /// The texts of these pushes.
    pub fn contents(&self) -> Vec<String> {
        let text = |message: ToBroker| match message {
            ToBroker::Publish { content, .. } | ToBroker::Push { content, .. } => {
                String::from_utf8_lossy(content.as_bytes()).into_owned()
            }
            other => panic!("no push: {other:?}"),
        };
        self.received().into_iter().map(text).collect()
    }

    pub async fn has_received(&self, count: usize) {
        until(|| self.received().len() >= count).await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Makes the first frames of a link; answers what the peer sends after them.
pub async fn welcome(stream: &mut TcpStream) -> io::Result<BytesMut> {
    let mut buffer = BytesMut::new();
    let hello = next_frame(stream, &mut buffer).await?;
    let hello = decode_hello(hello).expect("a hello");
    assert_eq!(hello.role, Role::Publisher);
    let head = Position { epoch: EPOCH, sequence: 0 };
    let workers = Vec::new();
    say(stream, encode_welcome(&Ok(Welcome { head, workers }))).await?;
    Ok(buffer)
}

async fn serve_link(
    mut stream: TcpStream,
    script: &mut impl FnMut(&ToBroker) -> Act,
    log: &Mutex<Vec<ToBroker>>,
) -> io::Result<()> {
    let mut buffer = welcome(&mut stream).await?;
    loop {
        let frame = next_frame(&mut stream, &mut buffer).await?;
        let message = ToBroker::decode(frame).expect("a message");
        if message == ToBroker::Heartbeat {
            say(&mut stream, FromBroker::Heartbeat.encode()).await?;
            continue;
        }
        let act = script(&message);
        log.lock().expect("no panic").push(message);
        match act {
            Act::Say(message) => say(&mut stream, message.encode()).await?,
            Act::Nothing => {}
            Act::Die => return Ok(()),
        }
    }
}

pub async fn next_frame(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Bytes> {
    loop {
        if let Some(frame) = take_frame(buffer, MAX_FRAME_BYTES).expect("a frame") {
            return Ok(frame);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn say(stream: &mut TcpStream, frame: EncodedFrame) -> io::Result<()> {
    stream.write_all(&frame.head).await?;
    stream.write_all(&frame.content.unwrap_or_default()).await
}

pub struct Publisher {
    pub addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<io::Result<()>>,
}

impl Publisher {
    pub fn start(broker: SocketAddr) -> Self {
        Self::start_with(broker, |_| {})
    }

    pub fn start_with(broker: SocketAddr, change: impl FnOnce(&mut PublisherConfig)) -> Self {
        let mut config = PublisherConfig::new(broker.to_string());
        config.workers = 1;
        change(&mut config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = spawn(serve(config, listener, async {
            let _ = stopped.await;
        }));
        Self { addr, stop: Some(stop), ended }
    }

    pub fn stop(&mut self) {
        self.stop.take();
    }

    pub async fn ended(&mut self) -> io::Result<()> {
        let ended = timeout(DEADLINE, &mut self.ended).await;
        ended.expect("it ends in time").expect("no panic")
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.addr).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.send(&get(target)).await
    }

    /// One request on its own connection.
    pub async fn send(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = self.client().await;
        client.send(request).await;
        client.answer().await
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

pub fn get_with(target: &str, header: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n{header}\r\n\r\n")
}

/// A POST; `content_type` may be empty for none.
pub fn post(target: &str, content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let content_type = match content_type {
        "" => String::new(),
        value => format!("Content-Type: {value}\r\n"),
    };
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: test\r\n{content_type}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// Status and body, for one comparison.
    pub fn brief(&self) -> (u16, &str) {
        (self.status, &self.body)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (header, value) = line.split_once(": ")?;
            header.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

pub struct Client {
    pub stream: TcpStream,
    buffer: BytesMut,
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).await.expect("connects"), buffer: BytesMut::new() }
    }

    pub async fn send(&mut self, request: impl AsRef<[u8]>) {
        let sent = self.stream.write_all(request.as_ref()).await;
        sent.expect("the publisher reads");
    }

    /// The next answer, for requests other than HEAD.
    pub async fn answer(&mut self) -> Answer {
        let head_end = self.read_until(|read| {
            let found = read.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            found.map(|at| at + 4)
        });
        let head_end = head_end.await.expect("an answer");
        let head = self.buffer.split_to(head_end);
        let mut answer = Answer {
            status: 0,
            head: String::from_utf8(head.to_vec()).expect("a head"),
            body: String::new(),
        };
        answer.status = answer.head[9..12].parse().expect("a status");
        let len = match answer.header("content-length") {
            Some(len) => len.parse().expect("a length"),
            None => 0,
        };
        let body = self.read_until(|read| (read.len() >= len).then_some(len));
        body.await.expect("a body");
        let body = self.buffer.split_to(len);
        answer.body = String::from_utf8(body.to_vec()).expect("a text");
        answer
    }

    /// Everything up to the end of the connection, a reset included.
    pub async fn rest(&mut self) -> String {
        let _ = self.read_until(|_| None::<()>).await;
        String::from_utf8_lossy(&self.buffer.split()).into_owned()
    }

    async fn read_until<T>(&mut self, mut found: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = found(&self.buffer) {
                return Some(found);
            }
            let read = timeout(DEADLINE, self.stream.read_buf(&mut self.buffer)).await;
            match read.expect("an answer in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

/// Waits for a condition.
pub async fn until(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, waiting).await.expect("in time");
}

pub fn text(content: &'static str) -> Content {
    content.into()
}
