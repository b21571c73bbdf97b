//! The links that are up: what is queued on each of them, and how it ends.

use std::collections::HashMap;
use std::net::SocketAddr;

use campanile_messages::{EncodedFrame, FromBroker, InstanceId};
use tracing::{info, warn};

use super::ending::Ending;
use super::routing::LinkNumber;
use crate::link::{Full, Outbound};

/// A link that is up. All but the queue is for the log.
pub struct Link {
    pub outbound: Outbound,
    pub peer: SocketAddr,
    pub role: &'static str,
    pub instance: InstanceId,
}

/// All links that are up. What is sent to any other link is dropped.
#[derive(Default)]
pub struct Links(HashMap<LinkNumber, Link>);

impl Links {
    /// Adds a link, and logs that it is up.
    pub fn add(&mut self, number: LinkNumber, link: Link) {
        let Link { role, instance, peer, .. } = &link;
        info!(link = %number, role, %instance, %peer, "link up");
        self.0.insert(number, link);
    }

    pub fn has(&self, number: LinkNumber) -> bool {
        self.0.contains_key(&number)
    }

    /// The numbers of all links, in any order.
    pub fn numbers(&self) -> Vec<LinkNumber> {
        self.0.keys().copied().collect()
    }

    /// Queues a message, unless the peer does not know such messages.
    ///
    /// # Errors
    /// [`Full`]: the link should be ended.
    pub fn say(&self, number: LinkNumber, message: FromBroker) -> Result<(), Full> {
        match self.0.get(&number) {
            Some(link) if link.outbound.may_carry(message.needs()) => {
                link.outbound.send(&message.encode())
            }
            _ => Ok(()),
        }
    }

    /// Queues a frame that every peer understands.
    ///
    /// # Errors
    /// See [`say`](Self::say).
    pub fn send(&self, number: LinkNumber, frame: &EncodedFrame) -> Result<(), Full> {
        self.0.get(&number).map_or(Ok(()), |link| link.outbound.send(frame))
    }

    /// Queues frames even past the bound of the link.
    pub fn replay(&self, number: LinkNumber, frames: &[EncodedFrame]) {
        if let Some(link) = self.0.get(&number) {
            frames.iter().for_each(|frame| link.outbound.force(frame));
        }
    }

    /// Ends a link and logs why. Returns whether the link was still up.
    pub fn end(&mut self, number: LinkNumber, ending: &Ending) -> bool {
        let Some(Link { outbound, peer, role, instance }) = self.0.remove(&number) else {
            return false;
        };
        let reason = ending.to_string();
        if ending.is_ordinary() {
            info!(link = %number, role, %instance, %peer, reason, "link down");
        } else {
            warn!(link = %number, role, %instance, %peer, reason, "link down");
        }
        if ending.is_told() {
            outbound.force(&FromBroker::Goodbye { reason }.encode());
            outbound.finish();
        } else {
            outbound.cut();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NUMBER: LinkNumber = LinkNumber(1);

    fn links(max_bytes: usize) -> (Links, Outbound) {
        let outbound = Outbound::new(max_bytes);
        let peer = (Ipv4Addr::LOCALHOST, 1).into();
        let instance = InstanceId(7);
        let mut links = Links::default();
        links.add(NUMBER, Link { outbound: outbound.clone(), peer, role: "gateway", instance });
        (links, outbound)
    }

    #[test]
    fn a_link_ends_once_and_only_some_peers_learn_why() {
        let frame = FromBroker::Goodbye { reason: Ending::ShutDown.to_string() }.encode();
        for (ending, bytes) in [(Ending::ShutDown, frame.len_bytes()), (Ending::Replaced, 0)] {
            let (mut links, outbound) = links(1_000);
            assert!(links.has(NUMBER) && links.end(NUMBER, &ending));
            assert!(!links.has(NUMBER) && !links.end(NUMBER, &ending));
            assert_eq!(outbound.queued_bytes(), bytes, "{ending}");
        }
    }

    #[test]
    fn a_full_link_is_an_error_and_a_replay_passes_its_bound() {
        let (links, outbound) = links(1);
        let frame = FromBroker::Mark { head: 1 }.encode();
        assert!(links.send(NUMBER, &frame).is_ok());
        assert!(links.send(NUMBER, &frame).is_err());
        assert!(links.say(NUMBER, FromBroker::Mark { head: 1 }).is_err());
        links.replay(NUMBER, std::slice::from_ref(&frame));
        assert_eq!(outbound.queued_bytes(), 2 * frame.len_bytes());
    }

    #[test]
    fn what_is_sent_to_a_link_that_is_gone_is_dropped() {
        let (links, outbound) = links(1);
        let gone = LinkNumber(2);
        let frame = FromBroker::Heartbeat.encode();
        assert!(links.say(gone, FromBroker::Heartbeat).is_ok() && links.send(gone, &frame).is_ok());
        links.replay(gone, &[frame]);
        assert_eq!(outbound.queued_bytes(), 0);
    }
}
