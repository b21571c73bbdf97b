//! A publisher on port 0, and a broker of raw frames that follows a script.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::spawn;
use bytes::{Bytes, BytesMut};
use campanile_messages::frame::{MAX_FRAME_BYTES, decode_hello, encode_answer, take_frame};
use campanile_messages::hello::HelloAnswer;
use campanile_messages::link::{DirectOutcome, Number, Role, Welcome};
use campanile_messages::{
    Audience, Content, Durability, EncodedFrame, FromBroker, Position, ToBroker,
};
use campanile_publisher::{PublisherConfig, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

mod http;

pub use http::{Answer, Client, get, get_json, get_with, post};

/// No condition that a test waits for takes longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub const EPOCH: u64 = 0xe0c4;

/// What a scripted broker does about a message.
pub enum Act {
    Say(FromBroker),
    SayAll(Vec<FromBroker>),
    Nothing,
    /// Closes the link.
    Die,
    /// Says this and closes the link.
    DieAfter(Vec<FromBroker>),
}

/// Accepts everything: the sequence is the number.
pub fn accept(message: &ToBroker) -> Act {
    match *message {
        ToBroker::Publish { number, .. } => Act::Say(accepted(number)),
        ToBroker::Direct { number, .. } => {
            Act::Say(FromBroker::Answered { number, outcome: DirectOutcome::Written })
        }
        _ => Act::Nothing,
    }
}

/// The sequence is the number.
pub fn accepted(number: Number) -> FromBroker {
    accepted_counting(number, 0, 0)
}

pub fn accepted_counting(number: Number, counting: u32, away: u32) -> FromBroker {
    let sequence = number;
    FromBroker::Accepted { number, sequence, gateways: 2, matched: 120, counting, away }
}

/// What the broker gets of a push that has no wishes, while no other is unanswered.
pub fn publish(number: Number, audience: Audience, content: &'static str) -> ToBroker {
    ToBroker::Publish {
        number,
        unanswered: number,
        id: None,
        count_within_millis: None,
        audience,
        except: None,
        content: content.into(),
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
    /// Of each link, what its hello said to be unanswered.
    hellos: Arc<Mutex<Vec<Number>>>,
    epoch: Arc<AtomicU64>,
    cut: Arc<Notify>,
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
        let hellos = Arc::new(Mutex::new(Vec::new()));
        let epoch = Arc::new(AtomicU64::new(EPOCH));
        let cut = Arc::new(Notify::new());
        let (log, said) = (received.clone(), hellos.clone());
        let (now, cutting) = (epoch.clone(), cut.clone());
        let task = spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // One link at a time is enough for one publisher.
                let Ok((buffer, unanswered)) =
                    introduce(&mut stream, now.load(Ordering::Relaxed)).await
                else {
                    continue;
                };
                said.lock().expect("no panic").push(unanswered);
                tokio::select! {
                    _ = serve_link(stream, buffer, &mut script, &log) => {}
                    () = cutting.notified() => {}
                }
            }
        });
        Self { addr, received, hellos, epoch, cut, task }
    }

    /// What the hellos of all links so far said to be unanswered.
    pub fn hellos(&self) -> Vec<Number> {
        self.hellos.lock().expect("no panic").clone()
    }

    /// Ends the link that there is.
    pub fn cut(&self) {
        self.cut.notify_one();
    }

    /// The next links lead to a log that knows nothing of this one.
    pub fn lose_memory(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// The numbers of the pushes it got so far.
    pub fn numbers(&self) -> Vec<Number> {
        self.received().iter().map(number).collect()
    }

    /// The pushes it got so far, without what is said beside them.
    pub fn received(&self) -> Vec<ToBroker> {
        self.received.lock().expect("no panic").clone()
    }

    /// The texts of these pushes.
    pub fn contents(&self) -> Vec<String> {
        let text = |message: ToBroker| match message {
            ToBroker::Publish { content, .. } | ToBroker::Direct { content, .. } => {
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
    introduce(stream, EPOCH).await.map(|(buffer, _)| buffer)
}

/// Also answers what the hello said to be unanswered.
async fn introduce(stream: &mut TcpStream, epoch: u64) -> io::Result<(BytesMut, Number)> {
    let mut buffer = BytesMut::new();
    let hello = next_frame(stream, &mut buffer).await?;
    let hello = decode_hello(hello).expect("a hello").hello;
    let Role::Publisher { unanswered } = hello.role else {
        panic!("{hello:?}");
    };
    let head = Position { epoch, sequence: 0 };
    let welcome = Welcome { head, durability: Durability::Disk, workers: Vec::new() };
    say(stream, encode_answer(&HelloAnswer::welcome(welcome))).await?;
    Ok((buffer, unanswered))
}

async fn serve_link(
    mut stream: TcpStream,
    mut buffer: BytesMut,
    script: &mut impl FnMut(&ToBroker) -> Act,
    log: &Mutex<Vec<ToBroker>>,
) -> io::Result<()> {
    loop {
        let frame = next_frame(&mut stream, &mut buffer).await?;
        let message = ToBroker::decode(frame).expect("a message");
        if matches!(message, ToBroker::Heartbeat | ToBroker::Settled { .. }) {
            say(&mut stream, FromBroker::Heartbeat.encode()).await?;
            continue;
        }
        let act = script(&message);
        log.lock().expect("no panic").push(message);
        let (messages, goes_on) = match act {
            Act::Say(message) => (vec![message], true),
            Act::SayAll(messages) => (messages, true),
            Act::Nothing => (Vec::new(), true),
            Act::Die => (Vec::new(), false),
            Act::DieAfter(messages) => (messages, false),
        };
        for message in messages {
            say(&mut stream, message.encode()).await?;
        }
        if !goes_on {
            return Ok(());
        }
    }
}

fn number(message: &ToBroker) -> Number {
    match message {
        ToBroker::Publish { number, .. } | ToBroker::Direct { number, .. } => *number,
        other => panic!("no push: {other:?}"),
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
        // What requests of the tests have as their `Host`.
        config.allow_hosts = "test, t".parse().expect("hosts");
        change(&mut config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = spawn(serve(config, vec![listener], async {
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

/// Does nothing about the first message, then accepts everything.
pub fn silent_at_first() -> impl FnMut(&ToBroker) -> Act {
    let mut is_first = true;
    move |message| if std::mem::take(&mut is_first) { Act::Nothing } else { accept(message) }
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
