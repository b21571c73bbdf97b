//! A broker on its own port, and peers that send raw frames to it.

#![allow(dead_code, reason = "every test file uses its own part of the harness")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use campanile_channel::broker::{BrokerConfig, serve};
use campanile_messages::frame::{MAX_FRAME_BYTES, decode_answer, encode_hello, take_frame};
use campanile_messages::hello::{HelloAnswer, Nonce, Offer};
use campanile_messages::link::{DirectOutcome, Gap, InterestChange, Number, Role, Welcome};
use campanile_messages::{
    Address, Audience, ConnectionId, Content, EncodedFrame, Event, FromBroker, GroupName, Hello,
    InstanceId, Position, ToBroker, WorkerId,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How long to wait for any condition.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A publisher that has never published.
pub const PUBLISHER: Role = Role::Publisher { unanswered: 1 };

/// A running broker.
pub struct TestBroker {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<io::Result<()>>,
}

impl TestBroker {
    pub async fn start(config: BrokerConfig) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), config).await
    }

    /// Tries again for a while, because the port of a broker that has just stopped may still be in use.
    pub async fn start_on(address: SocketAddr, config: BrokerConfig) -> Self {
        let until = Instant::now() + DEADLINE;
        let listener = loop {
            match TcpListener::bind(address) {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            sleep(Duration::from_millis(10)).await;
        };
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::task::spawn_local(serve(config, vec![listener], async {
            let _ = stopped.await;
        }));
        Self { address, stop, ended }
    }

    /// Asks the broker to shut down.
    pub fn ask_to_stop(self) -> JoinHandle<io::Result<()>> {
        self.stop.send(()).unwrap();
        self.ended
    }

    pub async fn stop(self) {
        within(self.ask_to_stop()).await.unwrap().unwrap();
    }

    /// Ends the broker as a crash would: no goodbye.
    pub async fn crash(self) {
        self.ended.abort();
        assert!(within(self.ended).await.unwrap_err().is_cancelled());
    }
}

/// One raw link.
pub struct Peer {
    pub stream: TcpStream,
    buffer: BytesMut,
    published: Number,
}

impl Peer {
    pub async fn connect(broker: &TestBroker) -> Self {
        Self::over(TcpStream::connect(broker.address).await.unwrap())
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: BytesMut::new(), published: 100 }
    }

    pub async fn publisher(broker: &TestBroker) -> Self {
        let mut peer = Self::connect(broker).await;
        let instance = InstanceId(rand::random());
        peer.hello(instance, PUBLISHER).await.unwrap();
        peer
    }

    /// A gateway with one worker that has no id yet.
    pub async fn gateway(broker: &TestBroker) -> (Self, Welcome) {
        Self::gateway_of(broker, InstanceId(rand::random()), &[]).await
    }

    /// A gateway whose workers hold these ids.
    pub async fn gateway_of(
        broker: &TestBroker,
        instance: InstanceId,
        held: &[WorkerId],
    ) -> (Self, Welcome) {
        let mut peer = Self::connect(broker).await;
        let role = Role::Gateway { workers: held.len().max(1) as u16, held: held.to_vec() };
        let welcome = peer.hello(instance, role).await.unwrap();
        (peer, welcome)
    }

    /// An attached gateway with one connection that listens to each audience.
    pub async fn listener(broker: &TestBroker, audiences: &[Audience]) -> (Self, Welcome) {
        let (mut peer, welcome) = Self::gateway(broker).await;
        peer.attach(audiences, None).await;
        assert_eq!(peer.attached().await, None);
        assert_eq!(
            peer.recv().await,
            FromBroker::Confirmed { revision: 1, head: welcome.head.sequence }
        );
        (peer, welcome)
    }

    pub async fn hello(&mut self, instance: InstanceId, role: Role) -> Result<Welcome, String> {
        self.send_frame(encode_hello(&offer(instance, role))).await;
        self.welcome().await
    }

    pub async fn welcome(&mut self) -> Result<Welcome, String> {
        let answer = self.frame().await.expect("an answer to the hello");
        match decode_answer(answer).unwrap() {
            HelloAnswer::Welcome { welcome, .. } => Ok(welcome),
            HelloAnswer::Refused { reason } => Err(reason),
            challenge => panic!("{challenge:?}"),
        }
    }

    /// Sends interest of revision 1 and attaches.
    pub async fn attach(&mut self, audiences: &[Audience], cursor: Option<Position>) {
        let changes: Vec<_> = audiences.iter().map(|a| (a.clone(), Some(1))).collect();
        self.interest(1, &changes).await;
        self.send(ToBroker::Attach { cursor }).await;
    }

    pub async fn interest(&mut self, revision: u64, changes: &[(Audience, Option<u32>)]) {
        let changes = changes
            .iter()
            .map(|(audience, connections)| InterestChange {
                audience: audience.clone(),
                connections: *connections,
            })
            .collect();
        self.send(ToBroker::Interest { revision, changes }).await;
    }

    pub async fn publish(
        &mut self,
        number: Number,
        audience: Audience,
        content: impl Into<Content>,
    ) {
        self.send(publish(number, audience, content)).await;
    }

    /// Publishes and returns the sequence, and how many gateways and connections matched.
    pub async fn publish_accepted(
        &mut self,
        audience: Audience,
        content: impl Into<Content>,
    ) -> (u64, u32, u64) {
        self.published += 1;
        self.publish(self.published, audience, content).await;
        match self.recv().await {
            FromBroker::Accepted { number, sequence, gateways, matched, .. } => {
                assert_eq!(number, self.published);
                (sequence, gateways, matched)
            }
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Pushes to connection 7 of a worker.
    pub async fn push(&mut self, number: Number, worker: WorkerId, content: &'static str) {
        let to = address(worker);
        let content = content.into();
        self.send(ToBroker::Direct { number, to, content }).await;
    }

    pub async fn outcome(&mut self, number: Number) -> DirectOutcome {
        match self.recv().await {
            FromBroker::Answered { number: n, outcome } if n == number => outcome,
            other => panic!("no answer to {number}: {other:?}"),
        }
    }

    pub async fn send(&mut self, message: ToBroker) {
        self.send_frame(message.encode()).await;
    }

    pub async fn send_frame(&mut self, frame: EncodedFrame) {
        self.send_bytes(&frame.head).await;
        if let Some(content) = frame.content {
            self.send_bytes(&content).await;
        }
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
    }

    /// Expects the beginning of the stream, and returns the gap before it, if there is one.
    pub async fn attached(&mut self) -> Option<Gap> {
        match self.recv().await {
            FromBroker::Attached { gap, .. } => gap,
            other => panic!("not attached: {other:?}"),
        }
    }

    /// The next message other than heartbeats and marks.
    pub async fn recv(&mut self) -> FromBroker {
        self.next().await.expect("the link is up")
    }

    /// Like `recv`; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<FromBroker> {
        loop {
            match FromBroker::decode(self.frame().await?).unwrap() {
                FromBroker::Heartbeat | FromBroker::Mark { .. } => {}
                message => return Some(message),
            }
        }
    }

    pub async fn event(&mut self) -> Event {
        match self.recv().await {
            FromBroker::Event(event) => event,
            other => panic!("not an event: {other:?}"),
        }
    }

    /// Expects a goodbye and then the end of the link, and returns the reason.
    pub async fn goodbye(&mut self) -> String {
        let FromBroker::Goodbye { reason } = self.recv().await else {
            panic!("not a goodbye");
        };
        assert_eq!(self.frame().await, None, "nothing comes after a goodbye");
        reason
    }

    /// Checks that the link works, by a request that every broker answers.
    pub async fn assert_publishes(&mut self) {
        self.push(77, WorkerId(0), "x").await;
        assert_eq!(self.outcome(77).await, DirectOutcome::UnknownWorker);
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer, MAX_FRAME_BYTES).unwrap() {
                return Some(frame);
            }
            self.buffer.reserve(64 << 10);
            if within(self.stream.read_buf(&mut self.buffer)).await.unwrap() == 0 {
                assert!(self.buffer.is_empty(), "the stream ends within a frame");
                return None;
            }
        }
    }

    /// Reads until the link is over in any way, and drops what has come.
    pub async fn until_over(&mut self) {
        let mut buffer = vec![0; 64 << 10];
        while matches!(within(self.stream.read(&mut buffer)).await, Ok(1..)) {}
    }
}

pub fn offer(instance: InstanceId, role: Role) -> Offer {
    Offer::ours(Hello { instance, role }, Nonce(rand::random()))
}

pub fn publish(number: Number, audience: Audience, content: impl Into<Content>) -> ToBroker {
    let (unanswered, id, count_within_millis, content) = (number, None, None, content.into());
    let except = None;
    ToBroker::Publish { number, unanswered, id, count_within_millis, audience, except, content }
}

pub fn group(name: &str) -> Audience {
    Audience::Group(GroupName::new(name.to_owned()).unwrap())
}

pub fn address(worker: WorkerId) -> Address {
    Address { worker, connection: ConnectionId(7) }
}

pub fn event(sequence: u64, audience: Audience, content: &'static str) -> Event {
    Event { sequence, audience, except: None, content: content.into() }
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("within the deadline")
}
