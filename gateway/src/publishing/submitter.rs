//! The client that waits for the answer to its publish.

use campanile_channel::courier::Caller;
use campanile_channel::publishing::{Answer, Failure, Receipt};

use crate::connection::line::WeakLine;
use crate::dialects::{PublishError, RefusedPublish, RequestError, Tag};
use crate::meters::{GatewayMeters, PublishResult};
use crate::publishing::room::Reserved;

/// A client with one publish under way. Its answer is written straight to its socket, on the courier's
/// thread.
#[derive(Debug)]
pub struct Submitter {
    /// Where the answer is written. The connection may end before, with its descriptor.
    pub line: WeakLine,
    /// What is sent back with the answer.
    pub tag: Tag,
    /// The room of the publish, which is given back with the answer.
    pub reserved: Reserved,
    /// Where the answer is counted.
    pub meters: GatewayMeters,
}

impl Submitter {
    fn receive(self, result: Result<Receipt, Failure>) {
        let Self { line, tag, reserved, meters } = self;
        drop(reserved);
        let line = line.upgrade();
        let error = match result {
            Ok(Receipt::Accepted(accepted)) => {
                meters.publishes.count(PublishResult::Accepted);
                let Some(line) = line else { return };
                return line.say(line.rules().published(&tag, accepted.position));
            }
            // Only a push to one connection is answered like this.
            Ok(Receipt::Written) => PublishError::Unknown,
            Err(failure) => failure.into(),
        };
        meters.publishes.count((&error).into());
        let Some(line) = line else { return };
        let refused = RequestError::from(Box::new(RefusedPublish { tag, error }));
        line.say(line.rules().error(&refused));
    }
}

impl Caller for Submitter {
    fn is_gone(&self) -> bool {
        self.line.upgrade().is_none_or(|line| !line.socket.is_open())
    }

    fn may_be_gone(&self) -> bool {
        self.is_gone()
    }

    fn answer(answers: impl IntoIterator<Item = Answer<Self>>) {
        answers.into_iter().for_each(|Answer { caller, result }| caller.receive(result));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;
    use crate::connection::line::Line;
    use crate::connection::socket::Socket;
    use crate::dialects::Dialect;
    use crate::publishing::room::{Room, UnderWay};

    #[tokio::test]
    async fn a_publish_under_way_does_not_keep_its_connection() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (accepted, client) = tokio::join!(listener.accept(), TcpStream::connect(address));
        let socket = Socket::new(accepted.expect("connected").0, 1 << 20);
        let line = Line { socket, dialect: Dialect::V1 };
        let reserved = Room::new(1 << 20).reserve(&UnderWay::default(), 0).expect("room");
        let (line_to, meters) = (line.downgrade(), GatewayMeters::default());
        let submitter = Submitter { line: line_to, tag: Tag::default(), reserved, meters };
        assert!(!submitter.is_gone());
        drop(line);
        let mut client = client.expect("connected");
        let read = timeout(Duration::from_secs(20), client.read(&mut [0; 1])).await;
        assert!(matches!(read, Ok(Ok(0))), "its descriptor is still open: {read:?}");
        assert!(submitter.is_gone());
        submitter.receive(Ok(Receipt::Written));
    }
}
