//! Checks what clients get: after the position that each of them got, each event once and in order.

use campanile_messages::{Audience, ConnectionId, Position};

use super::broker::EACH_BYTES;
use super::world::{Progress, World};
use crate::dialects::Framed;
use crate::registry::reply;
use crate::registry::subscriptions::Step;
use crate::resume::{Lost, Resumed, Since};

impl World {
    /// The next event of an audience after a position.
    fn next(&self, audience: &Audience, up_to: Position) -> Option<Position> {
        let is_next = |(at, of): &&(Position, Audience)| {
            of == audience && at.epoch == up_to.epoch && at.sequence > up_to.sequence
        };
        self.broker.all.iter().find(is_next).map(|(at, _)| *at)
    }

    pub fn receive(&mut self, id: u64, event: &Framed) {
        let audience = event.audience().expect("the event is in the log");
        let progress = &self.clients[&id].progress;
        let up_to = progress.get(audience).expect("the client listens to the audience").up_to;
        let next = self.next(audience, up_to);
        assert_eq!(
            next.map(|next| next.sequence),
            Some(event.sequence()),
            "the next event of {audience:?} for client {id} after {up_to}"
        );
        let client = self.clients.get_mut(&id).expect("the client is connected");
        let up_to = next.expect("checked");
        client.progress.insert(audience.clone(), Progress { up_to });
    }

    /// Asserts that nothing is missing for a client up to a position.
    pub fn expect_all_received(&self, id: u64, position: Position) {
        for (audience, progress) in &self.clients[&id].progress {
            let next = self
                .next(audience, progress.up_to)
                .filter(|next| next.epoch == position.epoch && next.sequence <= position.sequence);
            assert_eq!(next, None, "client {id} got the position {position}");
        }
    }

    /// Performs a reply to a client, and checks it.
    pub fn reply(&mut self, step: &Step, effects: Vec<reply::ClientEffect>, position: Position) {
        let ConnectionId(id) = step.connection();
        for effect in effects {
            match effect {
                reply::ClientEffect::Greet { position: from, resumed, history } => {
                    let client = self.clients.get_mut(&id).expect("the client is connected");
                    assert!(!std::mem::replace(&mut client.is_greeted, true), "greeted twice");
                    let everyone = std::iter::once(&Audience::Everyone);
                    let audiences: Vec<_> = everyone.chain(&client.groups).cloned().collect();
                    let progress = |of: &Audience| (of.clone(), Progress { up_to: from });
                    client.progress = audiences.iter().map(progress).collect();
                    let (since, head) = (client.since, client.head);
                    let has_history = matches!(since, Some(Since::History(_)));
                    assert_eq!(history.is_some(), has_history);
                    if !has_history {
                        self.expect_true(&audiences, since, head, resumed, from);
                    }
                }
                reply::ClientEffect::Replay(events) => {
                    if let Step::Join(_, audience) = step {
                        let client = self.clients.get_mut(&id).expect("the client is connected");
                        let Some(Since::At(up_to)) = client.joins[audience].0 else {
                            panic!("the client has asked for no missed events");
                        };
                        client.progress.insert(audience.clone(), Progress { up_to });
                    }
                    events.iter().for_each(|event| self.receive(id, event));
                }
                reply::ClientEffect::SendJoined(audience, resumed) => {
                    let client = self.clients.get_mut(&id).expect("the client is connected");
                    let (since, head) =
                        client.joins.remove(&audience).expect("the client has asked to join");
                    if resumed != Some(Ok(())) {
                        client.progress.insert(audience.clone(), Progress { up_to: position });
                    }
                    let from = match since {
                        Some(Since::At(since)) if resumed == Some(Ok(())) => since,
                        _ => position,
                    };
                    self.expect_true(&[audience], since, head, resumed, from);
                }
                reply::ClientEffect::SendPosition(position) => {
                    self.expect_all_received(id, position)
                }
            }
        }
    }

    /// Asserts that the reply to a position is true. The client sent it when the log ended at `head`, and
    /// gets `from` as the beginning of its stream.
    fn expect_true(
        &mut self,
        audiences: &[Audience],
        since: Option<Since>,
        head: Position,
        resumed: Option<Resumed>,
        from: Position,
    ) {
        let since = match (since, resumed) {
            (None, None) => return,
            (Some(Since::Malformed), Some(Err(Lost::Malformed))) => return,
            (Some(Since::At(since)), Some(_)) => since,
            other => panic!("{other:?}"),
        };
        let broker = &self.broker;
        let missed = broker.all.iter().filter(|(at, of)| {
            at.epoch == since.epoch && at.sequence > since.sequence && audiences.contains(of)
        });
        let missed = missed.count() as u64;
        let is_true = match resumed {
            None => false,
            // The missed events are checked one by one.
            Some(Ok(())) => from == since,
            Some(Err(Lost::EpochChanged)) => {
                since.epoch != broker.epoch
                    || since.epoch != from.epoch
                    || since.sequence > head.sequence
            }
            Some(Err(Lost::Expired)) => {
                audiences.iter().any(|of| broker.lost_up_to(of) > since.sequence)
            }
            Some(Err(Lost::TooFar)) => {
                // If little is kept, fetched events may be dropped again and again.
                let is_much = missed * EACH_BYTES > self.config.max_replay_bytes as u64;
                missed > 1 && is_much || self.config.recent_bytes < 1 << 20
            }
            Some(Err(Lost::Malformed)) => false,
        };
        assert!(is_true, "since {since}, the log ended at {head}: {resumed:?} at {from}");
        self.recovered += usize::from(resumed == Some(Ok(())));
    }

    /// Performs everything that is pending, and asserts that every client got everything.
    pub fn settle(&mut self) {
        self.is_behind = false;
        self.answer();
        self.link();
        for _ in 0..10_000 {
            let mut is_busy = false;
            for worker in 0..self.workers.len() {
                is_busy |= self.report(worker) | self.deliver(worker);
            }
            is_busy |= self.broker_receives() | self.gateway_receives();
            if !is_busy {
                return self.expect_settled();
            }
        }
        panic!("something is always pending");
    }

    fn expect_settled(&self) {
        let head = self.broker.at(self.broker.head);
        assert!(self.core.awaits_nobody(), "the bridge keeps resumes that nobody waits for");
        for (id, client) in &self.clients {
            assert!(client.is_greeted && client.joins.is_empty(), "client {id} waits for ever");
            self.expect_all_received(*id, head);
            for (audience, progress) in &client.progress {
                assert_eq!(progress.up_to.epoch, head.epoch, "client {id}, {audience:?}");
            }
        }
    }
}
