//! The second link of a gateway, on which it publishes what its clients say.

use std::net::TcpStream;

use campanile_messages::frame::{decode_hello, encode_answer};
use campanile_messages::hello::{Agreement, Features, HelloAnswer};
use campanile_messages::link::{LogIdentity, LogKind, Matched, Number, Role, Welcome};
use campanile_messages::{Durability, FromBroker, Hello, Position, ToBroker};

use super::Script;
use crate::deadline::DEADLINE;
use crate::link::frames::Frames;

/// A publisher's link of a scripted broker; dropping it cuts it.
pub struct PublishingLink {
    frames: Frames<TcpStream>,
    /// What the hello named as unanswered.
    pub unanswered: Number,
}

impl Script {
    /// Accepts the next link, which is a publisher's, to a log that ends at a position.
    pub fn accept_publisher(&self, head: Position) -> PublishingLink {
        self.accept_publisher_with(head, Features::ours())
    }

    /// The same, for a broker with these features only.
    pub fn accept_publisher_with(&self, head: Position, features: Features) -> PublishingLink {
        self.welcome_publisher(head, features, None)
    }

    /// The same, for a broker that shares its log with others.
    pub fn accept_publisher_of(&self, head: Position, log: &str) -> PublishingLink {
        let id = log.to_owned().try_into().expect("a log id");
        let log = LogIdentity { kind: LogKind::Shared, id };
        self.welcome_publisher(head, Features::ours(), Some(log))
    }

    fn welcome_publisher(
        &self,
        head: Position,
        features: Features,
        log: Option<LogIdentity>,
    ) -> PublishingLink {
        let (stream, _) = self.listener.accept().expect("the gateway comes");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let mut frames = Frames::new(stream);
        let Hello { role: Role::Publisher { unanswered }, .. } =
            decode_hello(frames.next().expect("a hello")).expect("a hello").hello
        else {
            panic!("not a publisher");
        };
        let welcome = Welcome { head, durability: Durability::Memory, workers: Vec::new(), log };
        let agreement = Agreement { features, ..Agreement::ours() };
        frames.write(encode_answer(&HelloAnswer::Welcome { agreement, welcome }));
        PublishingLink { frames, unanswered }
    }

    /// Whether a link waits to be accepted.
    pub fn has_newcomer(&self) -> bool {
        self.listener.set_nonblocking(true).expect("a socket");
        let accepted = self.listener.accept();
        self.listener.set_nonblocking(false).expect("a socket");
        accepted.is_ok()
    }
}

impl PublishingLink {
    /// The next publish.
    #[track_caller]
    pub fn recv(&mut self) -> ToBroker {
        loop {
            let frame = self.frames.next().expect("the gateway publishes something");
            match ToBroker::decode(frame).expect("a message") {
                ToBroker::Heartbeat | ToBroker::Settled { .. } => {}
                message => return message,
            }
        }
    }

    /// The number and the content of the next publish.
    #[track_caller]
    pub fn published(&mut self) -> (Number, String) {
        match self.recv() {
            ToBroker::Publish { number, content, .. } => {
                (number, String::from_utf8_lossy(content.as_bytes()).into_owned())
            }
            other => panic!("no publish: {other:?}"),
        }
    }

    /// Sends a message.
    pub fn send(&mut self, message: FromBroker) {
        self.frames.write(message.encode());
    }

    /// Accepts a publish under this sequence.
    pub fn accept(&mut self, number: Number, sequence: u64) {
        let matched = Some(Matched { gateways: 1, connections: 1 });
        self.send(FromBroker::Accepted { number, sequence, matched, counting: 0, away: 0 });
    }
}
