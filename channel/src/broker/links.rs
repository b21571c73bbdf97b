//! The links that are up: what is queued on each of them, and how it ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use campanile_edge::Principal;
use campanile_messages::hello::STAMPS;
use campanile_messages::inquiry::LinkSummary;
use campanile_messages::{EncodedFrame, FromBroker, InstanceId};
use tracing::{info, warn};

use super::backlog::Backlog;
use super::ending::Ending;
use super::routing::LinkNumber;
use super::stamps::{Daytime, Stamps};
use crate::link::{Full, Outbound};

/// A link that is up. All but the queue is for the log.
pub struct Link {
    pub outbound: Outbound,
    pub peer: SocketAddr,
    /// Who holds the link.
    pub principal: Principal,
    pub role: &'static str,
    pub instance: InstanceId,
    pub stamps: Stamps,
    pub backlog: Backlog,
}

/// How far links are behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// How many events wait for the link with the most of them.
    pub events: usize,
    /// How many bytes wait for the link with the most of them.
    pub bytes: usize,
    /// For how long the oldest of what waits for any link has waited, at least.
    pub age: Duration,
}

/// Operators' messages fill at most one part in this many of a link's queue.
const OFFERED_SHARE: usize = 4;

/// All links that are up. What is sent to any other link is dropped.
pub struct Links {
    links: HashMap<LinkNumber, Link>,
    max_held_bytes: usize,
    daytime: Daytime,
}

impl Links {
    /// No links yet. What waits for one of them may take up to `max_held_bytes` of memory when a
    /// [replay](Self::replay) follows another one.
    pub fn new(max_held_bytes: usize) -> Self {
        Self { links: HashMap::new(), max_held_bytes, daytime: Daytime::default() }
    }

    /// The time of day, which events carry.
    pub fn daytime(&mut self) -> &mut Daytime {
        &mut self.daytime
    }

    /// Adds a link, and logs that it is up.
    pub fn add(&mut self, number: LinkNumber, link: Link) {
        let Link { role, instance, peer, principal, .. } = &link;
        info!(link = %number, role, %instance, %peer, %principal, "link up");
        self.links.insert(number, link);
    }

    pub fn has(&self, number: LinkNumber) -> bool {
        self.links.contains_key(&number)
    }

    /// The processes that have links, with the addresses from which they come.
    pub fn addresses(&self) -> Vec<(InstanceId, String)> {
        self.links.values().map(|link| (link.instance, link.peer.to_string())).collect()
    }

    /// The numbers of all links, in any order.
    pub fn numbers(&self) -> Vec<LinkNumber> {
        self.links.keys().copied().collect()
    }

    /// How many links of this role there are.
    pub fn number_of(&self, role: &str) -> usize {
        self.links.values().filter(|link| link.role == role).count()
    }

    /// What operators see of a link; `None` if it is gone.
    pub fn summary(&self, number: LinkNumber, is_askable: bool) -> Option<LinkSummary> {
        let link = self.links.get(&number)?;
        let (lag_events, lag_bytes) = link.outbound.waiting();
        Some(LinkSummary {
            instance: link.instance,
            role: link.role.to_owned(),
            address: link.peer.to_string(),
            lag_events: lag_events as u64,
            lag_bytes: lag_bytes as u64,
            is_askable,
        })
    }

    /// Looks at all links.
    pub fn lag(&mut self, now: Duration) -> Lag {
        self.links.values_mut().fold(Lag::default(), |most, Link { outbound, backlog, .. }| {
            let (events, bytes) = outbound.waiting();
            let (written, end) = outbound.progress();
            let age = backlog.look(written, end, now);
            Lag {
                events: most.events.max(events),
                bytes: most.bytes.max(bytes),
                age: most.age.max(age),
            }
        })
    }

    /// Queues a message, unless the peer does not know such messages.
    ///
    /// # Errors
    /// [`Full`]: the link should be ended.
    pub fn say(&self, number: LinkNumber, message: FromBroker) -> Result<(), Full> {
        match self.links.get(&number) {
            Some(link) if link.outbound.may_carry(message.needs()) => {
                link.outbound.send(&message.encode())
            }
            _ => Ok(()),
        }
    }

    /// Queues a message for an operator, unless the peer does not know such messages, or so much waits that
    /// the message could keep events from the link.
    pub fn offer(&self, number: LinkNumber, message: FromBroker) {
        if let Some(link) = self.links.get(&number)
            && link.outbound.may_carry(message.needs())
        {
            self.pass_on(number, &message.encode());
        }
    }

    /// The same with a frame that the peer knows.
    pub fn pass_on(&self, number: LinkNumber, frame: &EncodedFrame) {
        if let Some(Link { outbound, .. }) = self.links.get(&number) {
            // Nobody needs to know: the operator learns that somebody did not answer.
            let _ = outbound.send_within(outbound.max_bytes() / OFFERED_SHARE, frame);
        }
    }

    /// Queues the frame of an event.
    ///
    /// # Errors
    /// See [`say`](Self::say).
    pub fn send_event(&self, number: LinkNumber, frame: &EncodedFrame) -> Result<(), Full> {
        let Some(Link { outbound, stamps, .. }) = self.links.get(&number) else { return Ok(()) };
        let stamp = stamps.due(&self.daytime).filter(|_| outbound.may_carry(Some(STAMPS)));
        let stamp = stamp.map(|unix_micros| FromBroker::Stamp { unix_micros }.encode());
        outbound.send_event(stamp.as_ref(), frame)
    }

    /// Queues a frame that every peer understands.
    ///
    /// # Errors
    /// See [`say`](Self::say).
    pub fn send(&self, number: LinkNumber, frame: &EncodedFrame) -> Result<(), Full> {
        self.links.get(&number).map_or(Ok(()), |link| link.outbound.send(frame))
    }

    /// Queues the frames of events that a gateway has missed; otherwise like [`replay`](Self::replay).
    ///
    /// # Errors
    /// See there.
    pub fn catch_up(&self, number: LinkNumber, frames: &[EncodedFrame]) -> Result<(), Full> {
        self.links
            .get(&number)
            .map_or(Ok(()), |link| link.outbound.force_events(frames, self.max_held_bytes))
    }

    /// Queues frames even past the bound of the link, but not behind earlier ones that are too many.
    ///
    /// # Errors
    /// [`Full`]: the link should be ended, because its peer asks for more than it reads.
    pub fn replay(&self, number: LinkNumber, frames: &[EncodedFrame]) -> Result<(), Full> {
        self.links
            .get(&number)
            .map_or(Ok(()), |link| link.outbound.force_all(frames, self.max_held_bytes))
    }

    /// Ends a link and logs why. Returns whether the link was still up.
    pub fn end(&mut self, number: LinkNumber, ending: &Ending) -> bool {
        let Some(Link { outbound, peer, role, instance, .. }) = self.links.remove(&number) else {
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
    use std::io;
    use std::net::Ipv4Addr;
    use std::sync::{Arc, Mutex};

    use super::*;

    const MAX_HELD_BYTES: usize = 200;
    const NUMBER: LinkNumber = LinkNumber(1);

    fn links(max_bytes: usize) -> (Links, Outbound) {
        let outbound = Outbound::new(max_bytes);
        let peer = (Ipv4Addr::LOCALHOST, 1).into();
        let instance = InstanceId(7);
        let mut links = Links::new(MAX_HELD_BYTES);
        links.add(
            NUMBER,
            Link {
                outbound: outbound.clone(),
                peer,
                principal: Principal::default(),
                role: "gateway",
                instance,
                stamps: Stamps::default(),
                backlog: Backlog::default(),
            },
        );
        (links, outbound)
    }

    /// What is logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_says_who_holds_a_link() {
        let lines = Lines::default();
        let to = lines.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || to.clone());
        tracing::subscriber::with_default(log.finish(), || links(1));
        let line = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(line.contains("link up link=1 role=\"gateway\""), "{line}");
        assert!(line.trim_end().ends_with("peer=127.0.0.1:1 principal=anyone"), "{line}");
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
        let replay = || links.replay(NUMBER, std::slice::from_ref(&frame));
        assert!(replay().is_ok() && replay().is_ok());
        assert_eq!(outbound.queued_bytes(), 3 * frame.len_bytes());
        assert!(replay().is_err(), "the peer asks for more than it reads");
        assert_eq!(outbound.queued_bytes(), 3 * frame.len_bytes());
    }

    #[test]
    fn what_operators_ask_keeps_no_event_from_a_link() {
        let frame = FromBroker::Mark { head: 1 }.encode();
        let (links, outbound) = links(8 * frame.len_bytes());
        for _ in 0..100 {
            links.pass_on(NUMBER, &frame);
        }
        assert_eq!(outbound.queued_bytes(), 2 * frame.len_bytes());
        assert!(links.send_event(NUMBER, &frame).is_ok());
        links.offer(NUMBER, FromBroker::Mark { head: 1 });
        assert_eq!(outbound.queued_bytes(), 3 * frame.len_bytes());
    }

    #[test]
    fn what_is_sent_to_a_link_that_is_gone_is_dropped() {
        let (links, outbound) = links(1);
        let gone = LinkNumber(2);
        let frame = FromBroker::Heartbeat.encode();
        assert!(links.say(gone, FromBroker::Heartbeat).is_ok() && links.send(gone, &frame).is_ok());
        assert!(links.replay(gone, &[frame]).is_ok());
        assert_eq!(outbound.queued_bytes(), 0);
    }
}
