//! The client that waits for the answer to its publish.

use campanile_channel::courier::Caller;
use campanile_channel::publishing::{Answer, Failure, Receipt};

use crate::connection::line::Line;
use crate::dialects::{PublishError, RefusedPublish, RequestError, Tag};
use crate::publishing::room::Reserved;

/// A client with one publish under way. Its answer is written straight to its socket, on the courier's
/// thread.
#[derive(Debug)]
pub struct Submitter {
    /// Where the answer is written.
    pub line: Line,
    /// What is sent back with the answer.
    pub tag: Tag,
    /// The room of the publish, which is given back with the answer.
    pub reserved: Reserved,
}

impl Submitter {
    fn receive(self, result: Result<Receipt, Failure>) {
        let Self { line, tag, reserved } = self;
        drop(reserved);
        let error = match result {
            Ok(Receipt::Accepted(accepted)) => {
                return line.say(line.rules().published(&tag, accepted.position));
            }
            // Only a push to one connection is answered like this.
            Ok(Receipt::Written) => PublishError::Unknown,
            Err(failure) => failure.into(),
        };
        let refused = RequestError::from(Box::new(RefusedPublish { tag, error }));
        line.say(line.rules().error(&refused));
    }
}

impl Caller for Submitter {
    fn is_gone(&self) -> bool {
        !self.line.socket.is_open()
    }

    fn may_be_gone(&self) -> bool {
        self.is_gone()
    }

    fn answer(answers: impl IntoIterator<Item = Answer<Self>>) {
        answers.into_iter().for_each(|Answer { caller, result }| caller.receive(result));
    }
}
