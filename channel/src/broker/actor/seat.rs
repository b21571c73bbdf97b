//! What a peer's task holds of its link in the broker.

use actix::prelude::*;
use campanile_messages::ToBroker;

use super::{Broker, FromLink, LinkLost};
use crate::broker::routing::LinkNumber;
use crate::link::LinkError;
use crate::watchdog::ANSWER_LIMIT;

/// A link's place in the broker. The broker learns of its end even if the task that holds it panics.
pub struct Seat {
    link: LinkNumber,
    broker: Addr<Broker>,
}

impl Seat {
    pub(super) fn new(link: LinkNumber, broker: Addr<Broker>) -> Self {
        Self { link, broker }
    }

    #[cfg(test)]
    pub(super) fn link(&self) -> LinkNumber {
        self.link
    }

    /// Hands the broker what the peer has said, in order, and waits until it has handled it. Returns
    /// whether to read on: not if the link is over or the broker is gone.
    ///
    /// # Errors
    /// [`LinkError::Unanswered`] if the broker hangs.
    pub async fn pass_on(&self, messages: Vec<ToBroker>) -> Result<bool, LinkError> {
        let message = FromLink { link: self.link, messages };
        match self.broker.send(message).timeout(ANSWER_LIMIT).await {
            Ok(goes_on) => Ok(goes_on),
            Err(MailboxError::Closed) => Ok(false),
            Err(MailboxError::Timeout) => Err(LinkError::Unanswered(ANSWER_LIMIT)),
        }
    }

    /// Gives the place up, for this reason if there is one.
    pub async fn leave(self, error: Option<LinkError>) {
        if let Some(error) = error {
            let link = self.link;
            // A broker that is gone remembers no link, and one that hangs gets the message of `Drop`.
            let _ = self.broker.send(LinkLost { link, error }).timeout(ANSWER_LIMIT).await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.broker.do_send(LinkLost { link: self.link, error: LinkError::Closed });
    }
}
