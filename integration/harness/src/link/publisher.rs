//! A publisher that speaks to a real broker and waits for each answer, over a blocking socket.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use campanile_messages::frame::{decode_answer, encode_hello};
use campanile_messages::hello::{HelloAnswer, Nonce, Offer};
use campanile_messages::link::{DirectOutcome, Role};
use campanile_messages::{Address, Audience, Content, FromBroker, Hello, InstanceId, ToBroker};

use super::frames::Frames;
use crate::deadline::DEADLINE;

/// A publisher on a real broker.
pub struct Publisher {
    frames: Frames<TcpStream>,
    last: u64,
}

impl Publisher {
    pub fn connect(broker: SocketAddr) -> Self {
        let stream = TcpStream::connect(broker).expect("the broker listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let mut frames = Frames::new(stream);
        let instance = InstanceId(rand::random());
        let hello = Hello { instance, role: Role::Publisher { unanswered: 1 } };
        frames.write(encode_hello(&Offer::ours(hello, Nonce(rand::random()))));
        let answer = decode_answer(frames.next().expect("an answer")).expect("an answer");
        assert!(matches!(answer, HelloAnswer::Welcome { .. }), "{answer:?}");
        Self { frames, last: 0 }
    }

    /// Publishes, and waits until the broker has accepted it.
    pub fn publish(&mut self, audience: Audience, content: impl Into<Content>) {
        self.publish_except(audience, None, content);
    }

    /// The same for all but one connection.
    pub fn publish_except(
        &mut self,
        audience: Audience,
        except: Option<Address>,
        content: impl Into<Content>,
    ) {
        self.last += 1;
        let publish = ToBroker::Publish {
            number: self.last,
            unanswered: self.last,
            id: None,
            count_within_millis: None,
            audience,
            except,
            content: content.into(),
            from: None,
        };
        self.ask(publish, |answer| matches!(answer, FromBroker::Accepted { .. }));
    }

    /// Publishes many events without content, and waits until the broker has accepted all of them.
    pub fn publish_all(&mut self, audiences: impl IntoIterator<Item = Audience>) {
        let mut audiences = audiences.into_iter().peekable();
        while audiences.peek().is_some() {
            let first = self.last + 1;
            let (mut bytes, mut unanswered) = (Vec::new(), 0);
            for audience in audiences.by_ref().take(1_000) {
                self.last += 1;
                let publish = ToBroker::Publish {
                    number: self.last,
                    unanswered: first,
                    id: None,
                    count_within_millis: None,
                    audience,
                    except: None,
                    content: "".into(),
                    from: None,
                };
                bytes.extend(publish.encode().head);
                unanswered += 1;
            }
            self.frames.stream.write_all(&bytes).expect("the link is up");
            while unanswered > 0 {
                let frame = self.frames.next().expect("an answer");
                match FromBroker::decode(frame).expect("a message") {
                    FromBroker::Heartbeat => {}
                    FromBroker::Accepted { .. } => unanswered -= 1,
                    other => panic!("not accepted: {other:?}"),
                }
            }
        }
    }

    /// Pushes to one connection, and waits until it was written.
    pub fn push(&mut self, to: Address, content: impl Into<Content>) {
        self.last += 1;
        let push = ToBroker::Direct { number: self.last, to, content: content.into() };
        self.ask(push, |answer| {
            matches!(answer, FromBroker::Answered { outcome: DirectOutcome::Written, .. })
        });
    }

    fn ask(&mut self, message: ToBroker, is_fine: impl Fn(&FromBroker) -> bool) {
        self.frames.write(message.encode());
        loop {
            let frame = self.frames.next().expect("an answer");
            match FromBroker::decode(frame).expect("a message") {
                FromBroker::Heartbeat => {}
                answer => return assert!(is_fine(&answer), "{answer:?}"),
            }
        }
    }
}
