//! Performs the effects of the bridge's core: writes to the link, and puts deliveries into the workers'
//! queues.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix::Recipient;
use campanile_channel::Outbound;
use campanile_messages::link::Role;
use campanile_messages::{ToBroker, WorkerId};
use tracing::{info, warn};

use crate::bridge::core::BridgeEffect;
use crate::bridge::heads::Askers;
use crate::bridge::spans::OpenSpans;
use crate::config::GatewayConfig;
use crate::delivery::{Deliveries, Delivery, Signal};
use crate::entrance::health::Health;
use crate::inquiry::Inquire;
use crate::meters::GatewayMeters;
use crate::websocket::CloseCode;

/// How the bridge reaches one worker.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Set when the broker has assigned it.
    pub id: Arc<OnceLock<WorkerId>>,
    /// The queue of its registry.
    pub deliveries: Deliveries,
    /// Wakes its registry.
    pub signals: Recipient<Signal>,
    /// Asks its registry on behalf of operators.
    pub inquiries: Recipient<Inquire>,
}

impl Worker {
    fn deliver(&self, delivery: Delivery, received: Instant) {
        if self.deliveries.push(delivery, received) {
            self.signals.do_send(Signal::Deliver);
        }
    }
}

/// Holds everything outside the bridge that effects act on.
pub struct Performer {
    workers: Vec<Worker>,
    /// `None` without a link.
    outbound: Option<Outbound>,
    health: Health,
    meters: GatewayMeters,
    /// When the last batch was received from the broker.
    received: Instant,
    /// The time over which clients are sent away.
    drain: Duration,
    spans: OpenSpans,
}

impl Performer {
    /// Starts without a link.
    pub fn new(workers: Vec<Worker>, health: Health, config: &GatewayConfig, now: Instant) -> Self {
        Self {
            workers,
            outbound: None,
            health,
            meters: config.meters.clone(),
            received: now,
            drain: config.drain,
            spans: OpenSpans::new(config.spans.clone()),
        }
    }

    /// Records that a batch was received from the broker, to which the next events belong.
    pub fn received(&mut self, now: Instant) {
        self.received = now;
    }

    /// Counts how long an event took that the broker queued at this time of day. The clocks of two hosts
    /// differ, perhaps by more than that.
    pub fn stamped(&self, unix_micros: u64) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.meters.link_delay.observe(unix.saturating_sub(Duration::from_micros(unix_micros)));
    }

    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// The role with which the bridge introduces itself to a broker.
    pub fn role(&self) -> Role {
        let held = self.workers.iter().filter_map(|worker| worker.id.get().copied()).collect();
        let workers = u16::try_from(self.workers.len()).expect("the config allows fewer");
        Role::Gateway { workers, held }
    }

    /// Whether a registry has so much to do that no resumes should be added to it.
    pub fn is_any_worker_behind(&self) -> bool {
        self.workers.iter().any(|worker| worker.deliveries.is_behind())
    }

    /// Records a new link. Workers that have no id yet get theirs from it.
    pub fn link_up(&mut self, outbound: Outbound, ids: &[WorkerId]) {
        for (worker, id) in self.workers.iter().zip(ids) {
            worker.id.get_or_init(|| *id);
        }
        self.outbound = Some(outbound);
        self.health.set_linked(true);
        self.meters.link_up();
    }

    pub fn link_lost(&mut self) {
        self.outbound = None;
        self.spans.end_all();
        self.health.set_linked(false);
        self.meters.link_lost();
        // The next broker reports its own state.
        self.health.set_waits_for_disk(false);
    }

    pub fn is_linked(&self) -> bool {
        self.outbound.is_some()
    }

    /// Ends the link once everything queued is sent.
    pub fn finish(&mut self) {
        self.meters.link_lost();
        if let Some(outbound) = self.outbound.take() {
            outbound.finish();
        }
    }

    pub fn set_waits_for_disk(&self, is_waiting: bool) {
        self.health.set_waits_for_disk(is_waiting);
    }

    pub fn perform(&mut self, effect: BridgeEffect) {
        match effect {
            BridgeEffect::Deliver(worker, delivery) => {
                self.workers[worker].deliver(delivery, self.received);
            }
            BridgeEffect::DeliverToAll(delivery) => self.deliver_to_all(&delivery),
            BridgeEffect::Send(message) => {
                // The broker may be another one than the one that asked.
                if let Some(outbound) = &self.outbound
                    && outbound.may_carry(message.needs())
                {
                    // If the queue is full: see `BridgeEffect::Send`.
                    let _ = outbound.send(&message.encode());
                }
            }
            BridgeEffect::Force(message) => {
                if let Some(outbound) = &self.outbound {
                    outbound.force(&message.encode());
                }
            }
            BridgeEffect::ReportGap { gap, cursor, from } => {
                warn!(%cursor, %from, ?gap, "events may be missing, clients are notified");
                self.meters.gaps.count(gap.into());
                self.deliver_to_all(&Delivery::Gap { gap, cursor, from });
            }
            BridgeEffect::SendAway => {
                warn!("no link to the broker for too long: clients are sent to another gateway");
                self.health.set_cut_off(true);
                self.signal(Signal::Drain { over: self.drain, code: CloseCode::NoBroker });
            }
            BridgeEffect::Stay => {
                info!("there is a broker again: clients may stay, and new ones are accepted");
                self.health.set_cut_off(false);
                self.signal(Signal::Stay);
            }
            BridgeEffect::LogOutOfOrder(event) => {
                warn!(?event, "the broker sent a fetched event out of order, which is left out");
            }
            BridgeEffect::BeginSpan(ticket, event) => {
                self.spans.begin(ticket, event, self.received);
            }
            BridgeEffect::EndSpan(ticket, tally) => self.spans.end(ticket, tally),
            BridgeEffect::PassSpanOver => self.spans.pass_over(),
            // `hold` consumes the messages about the link itself; the others are for publishers.
            BridgeEffect::LogUnexpected(message) => {
                warn!(received = ?message, "the broker sent a message that is not for a gateway");
            }
        }
    }

    /// Asks the broker where the log ends, if a caller waits for that. If the link has no room for the
    /// question, it is repeated at the next tick.
    pub fn ask_head(&self, askers: &mut Askers) {
        if let Some(outbound) = &self.outbound
            && let Some(number) = askers.question()
            && outbound.send(&ToBroker::AskHead { number }.encode()).is_err()
        {
            askers.not_sent();
        }
    }

    fn deliver_to_all(&self, delivery: &Delivery) {
        self.workers.iter().for_each(|worker| worker.deliver(delivery.clone(), self.received));
    }

    fn signal(&self, signal: Signal) {
        self.workers.iter().for_each(|worker| worker.signals.do_send(signal));
    }
}
