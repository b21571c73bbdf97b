//! A gateway or publisher that sends its broker whatever a test wants, right or wrong.

use std::net::SocketAddr;

use bytes::Bytes;
use campanile_messages::frame::{decode_answer, encode_hello};
use campanile_messages::hello::{HelloAnswer, Nonce, Offer};
use campanile_messages::link::{DirectOutcome, Gap, InterestChange, Number, Role, Welcome};
use campanile_messages::{
    Address, Audience, ConnectionId, Content, EncodedFrame, Event, FromBroker, Hello, InstanceId,
    Position, ToBroker, WorkerId,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::frames::Frames;
use super::words::publish;
use crate::deadline::within;

/// A publisher that has never published.
pub const PUBLISHER: Role = Role::Publisher { unanswered: 1 };

/// One raw link.
pub struct Peer {
    pub frames: Frames<TcpStream>,
    published: Number,
}

impl Peer {
    pub async fn connect(broker: impl Into<SocketAddr>) -> Self {
        Self::over(TcpStream::connect(broker.into()).await.unwrap())
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { frames: Frames::new(stream), published: 100 }
    }

    pub async fn publisher(broker: impl Into<SocketAddr>) -> Self {
        let mut peer = Self::connect(broker).await;
        let instance = InstanceId(rand::random());
        peer.hello(instance, PUBLISHER).await.unwrap();
        peer
    }

    /// A gateway with one worker that holds nothing yet.
    pub async fn gateway(broker: impl Into<SocketAddr>) -> (Self, Welcome) {
        Self::gateway_of(broker, InstanceId(rand::random()), &[]).await
    }

    /// A gateway that comes back with the ids that its workers hold.
    pub async fn gateway_of(
        broker: impl Into<SocketAddr>,
        instance: InstanceId,
        held: &[WorkerId],
    ) -> (Self, Welcome) {
        let mut peer = Self::connect(broker).await;
        let role = Role::Gateway { workers: held.len().max(1) as u16, held: held.to_vec() };
        let welcome = peer.hello(instance, role).await.unwrap();
        (peer, welcome)
    }

    /// A gateway that listens to these audiences with one connection each, attached.
    pub async fn listener(
        broker: impl Into<SocketAddr>,
        audiences: &[Audience],
    ) -> (Self, Welcome) {
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

    /// Publishes, and returns the sequence and how many gateways and connections matched.
    pub async fn publish_accepted(
        &mut self,
        audience: Audience,
        content: impl Into<Content>,
    ) -> (u64, u32, u64) {
        self.published += 1;
        self.publish(self.published, audience, content).await;
        match self.recv().await {
            FromBroker::Accepted { number, sequence, matched: Some(matched), .. } => {
                assert_eq!(number, self.published);
                (sequence, matched.gateways, matched.connections)
            }
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Pushes to connection 7 of a worker.
    pub async fn push(&mut self, number: Number, worker: WorkerId, content: &'static str) {
        let to = Address { worker, connection: ConnectionId(7) };
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
        within("a peer that reads", self.frames.write(frame)).await.unwrap();
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        within("a peer that reads", self.frames.stream.write_all(bytes)).await.unwrap();
    }

    /// Expects `Attached`, and returns the gap before the stream, if there is one.
    pub async fn attached(&mut self) -> Option<Gap> {
        match self.recv().await {
            FromBroker::Attached { gap, .. } => gap,
            other => panic!("not attached: {other:?}"),
        }
    }

    /// The next message that is neither a heartbeat, nor a mark, nor a stamp.
    pub async fn recv(&mut self) -> FromBroker {
        self.next().await.expect("the link is up")
    }

    /// As `recv`; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<FromBroker> {
        loop {
            match FromBroker::decode(self.frame().await?).unwrap() {
                FromBroker::Heartbeat | FromBroker::Mark { .. } | FromBroker::Stamp { .. } => {}
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

    /// Expects a goodbye and the end of the link, and returns the reason.
    pub async fn goodbye(&mut self) -> String {
        let FromBroker::Goodbye { reason } = self.recv().await else {
            panic!("not a goodbye");
        };
        assert_eq!(self.frame().await, None, "nothing comes after a goodbye");
        reason
    }

    /// Asserts that the link works, with a message that any broker answers.
    pub async fn assert_publishes(&mut self) {
        self.push(77, WorkerId(0), "x").await;
        assert_eq!(self.outcome(77).await, DirectOutcome::UnknownWorker);
    }

    /// The next frame; `None` at the end of the stream, which must not be within a frame.
    pub async fn frame(&mut self) -> Option<Bytes> {
        within("the next frame of a link", self.frames.next()).await.unwrap()
    }

    /// Reads until the link ends, in whatever way, and discards what comes.
    pub async fn until_over(&mut self) {
        let mut buffer = vec![0; 64 << 10];
        while matches!(
            within("the end of a link", self.frames.stream.read(&mut buffer)).await,
            Ok(1..)
        ) {}
    }
}

pub fn offer(instance: InstanceId, role: Role) -> Offer {
    Offer::ours(Hello { instance, role }, Nonce(rand::random()))
}
