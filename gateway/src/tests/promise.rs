//! What clients must hear: from where each was told to be, each event, once and in order.

use campanile_messages::{Audience, ConnectionId, Position};

use super::broker::EACH_BYTES;
use super::world::{Heard, World};
use crate::dialects::Framed;
use crate::registry::reply;
use crate::registry::subscriptions::Step;
use crate::resume::{Lost, Resumed, Since};

impl World {
    /// The next event for a client of an audience of which it has heard all up to here.
    fn next(&self, audience: &Audience, up_to: Position) -> Option<Position> {
        let is_next = |(at, of): &&(Position, Audience)| {
            of == audience && at.epoch == up_to.epoch && at.sequence > up_to.sequence
        };
        self.broker.all.iter().find(is_next).map(|(at, _)| *at)
    }

    pub fn hear(&mut self, id: u64, event: &Framed) {
        let audience = event.audience().expect("it is in the log");
        let heard = &self.clients[&id].heard;
        let up_to = heard.get(audience).expect("it was told that it listens").up_to;
        let next = self.next(audience, up_to);
        assert_eq!(
            next.map(|next| next.sequence),
            Some(event.sequence()),
            "the next for client {id} of {audience:?} after {up_to}"
        );
        let client = self.clients.get_mut(&id).expect("it is there");
        let up_to = next.expect("checked");
        client.heard.insert(audience.clone(), Heard { up_to });
    }

    /// It is told that nothing is missing up to here.
    pub fn expect_all_heard(&self, id: u64, position: Position) {
        for (audience, heard) in &self.clients[&id].heard {
            let next = self
                .next(audience, heard.up_to)
                .filter(|next| next.epoch == position.epoch && next.sequence <= position.sequence);
            assert_eq!(next, None, "client {id} was told {position}");
        }
    }

    pub fn tell(&mut self, step: &Step, effects: Vec<reply::ClientEffect>, position: Position) {
        let ConnectionId(id) = step.connection();
        for effect in effects {
            match effect {
                reply::ClientEffect::Greet { position: from, resumed, history } => {
                    let client = self.clients.get_mut(&id).expect("it is there");
                    assert!(!std::mem::replace(&mut client.is_greeted, true), "greeted twice");
                    let everyone = std::iter::once(&Audience::Everyone);
                    let audiences: Vec<_> = everyone.chain(&client.groups).cloned().collect();
                    let heard = |of: &Audience| (of.clone(), Heard { up_to: from });
                    client.heard = audiences.iter().map(heard).collect();
                    let (since, head) = (client.since, client.head);
                    let has_history = matches!(since, Some(Since::History(_)));
                    assert_eq!(history.is_some(), has_history);
                    if !has_history {
                        self.expect_true(&audiences, since, head, resumed, from);
                    }
                }
                reply::ClientEffect::Replay(events) => {
                    if let Step::Join(_, audience) = step {
                        let client = self.clients.get_mut(&id).expect("it is there");
                        let Some(Since::At(up_to)) = client.joins[audience].0 else {
                            panic!("it wants to hear nothing of the past");
                        };
                        client.heard.insert(audience.clone(), Heard { up_to });
                    }
                    events.iter().for_each(|event| self.hear(id, event));
                }
                reply::ClientEffect::SendJoined(audience, resumed) => {
                    let client = self.clients.get_mut(&id).expect("it is there");
                    let (since, head) = client.joins.remove(&audience).expect("it wants to join");
                    if resumed != Some(Ok(())) {
                        client.heard.insert(audience.clone(), Heard { up_to: position });
                    }
                    let from = match since {
                        Some(Since::At(since)) if resumed == Some(Ok(())) => since,
                        _ => position,
                    };
                    self.expect_true(&[audience], since, head, resumed, from);
                }
                reply::ClientEffect::SendPosition(position) => self.expect_all_heard(id, position),
            }
        }
    }

    /// Asserts that what a client hears of its wish is true. It came when the log ended at `head`, and
    /// is told to be at `from`.
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
            // What follows is checked event by event.
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
                // Where little is kept, it may be gone again and again before it can be told.
                let is_much = missed * EACH_BYTES > self.config.max_replay_bytes as u64;
                missed > 1 && is_much || self.config.recent_bytes < 1 << 20
            }
            Some(Err(Lost::Malformed)) => false,
        };
        assert!(is_true, "since {since}, the log ended at {head}: {resumed:?} at {from}");
        self.recovered += usize::from(resumed == Some(Ok(())));
    }

    /// Lets everything come to rest, and asserts that everybody has heard all.
    pub fn settle(&mut self) {
        self.is_behind = false;
        self.answer();
        self.link();
        for _ in 0..10_000 {
            let mut is_busy = false;
            for worker in 0..self.workers.len() {
                is_busy |= self.report(worker) | self.deliver(worker);
            }
            is_busy |= self.broker_hears() | self.gateway_hears();
            if !is_busy {
                return self.expect_settled();
            }
        }
        panic!("it never comes to rest");
    }

    fn expect_settled(&self) {
        let head = self.broker.at(self.broker.head);
        assert!(self.core.awaits_nobody(), "the bridge keeps clients that are gone");
        for (id, client) in &self.clients {
            assert!(client.is_greeted && client.joins.is_empty(), "client {id} waits for ever");
            self.expect_all_heard(*id, head);
            for (audience, heard) in &client.heard {
                assert_eq!(heard.up_to.epoch, head.epoch, "client {id}, {audience:?}");
            }
        }
    }
}
