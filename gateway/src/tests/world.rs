//! All the pure cores of a gateway between a naive broker and naive clients, and everything that may happen
//! to them. `promise.rs` checks what clients get.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use campanile_messages::{Audience, ConnectionId, Position, ToBroker};

use super::broker::{Broker, audience, end_of_block};
use crate::bridge::core::{BridgeEffect, Core};
use crate::config::GatewayConfig;
use crate::delivery::Delivery;
use crate::history::History;
use crate::registry::reply;
use crate::registry::reporter::Reporter;
use crate::registry::subscriptions::{Joining, Standing, Subscriptions};
use crate::resume::Since;

/// What a client has got of one audience.
#[derive(Debug)]
pub struct Progress {
    /// The client has everything up to this position.
    pub up_to: Position,
}

/// A client, and what it knows.
#[derive(Debug)]
pub struct Client {
    pub worker: usize,
    /// The groups that it connected with.
    pub groups: Vec<Audience>,
    pub since: Option<Since>,
    /// Where the log ended when it connected.
    pub head: Position,
    pub is_greeted: bool,
    /// The audiences that it listens to.
    pub progress: BTreeMap<Audience, Progress>,
    /// Its pending joins: from where, and where the log ended then.
    pub joins: HashMap<Audience, (Option<Since>, Position)>,
}

/// A worker of the gateway.
pub struct Worker {
    subscriptions: Subscriptions<u64>,
    reporter: Reporter,
    deliveries: VecDeque<Delivery>,
}

pub struct World {
    pub config: GatewayConfig,
    pub broker: Broker,
    pub core: Core,
    pub workers: Vec<Worker>,
    pub clients: BTreeMap<u64, Client>,
    last_client: u64,
    is_linked: bool,
    /// The messages that the broker has not received yet.
    sent: VecDeque<ToBroker>,
    /// Whether a registry is behind, so that no resume is answered.
    pub is_behind: bool,
    now: Instant,
    /// How many messages passed the link.
    pub passed: usize,
    /// How many steps were resumed.
    pub recovered: usize,
}

/// Where a client asks its stream to begin.
#[derive(Debug, Clone, Copy)]
pub enum Origin {
    Nowhere,
    /// This many events before the end of the log, which the gateway may not have reached yet.
    Before(usize),
    /// This many blocks after the end of the log, as in a log that is lost.
    Ahead(u64),
    OtherEpoch,
    Malformed,
    /// The last events, as a new listener.
    Last(usize),
}

#[derive(Debug, Clone)]
pub enum Act {
    Publish(usize),
    /// Two events in one block.
    PublishBoth(usize, usize),
    Mark,
    DropOldest,
    BeginEpoch,
    Connect(usize, [bool; 2], Origin),
    Join(usize, usize, Origin),
    Leave(usize, usize),
    Disconnect(usize),
    Report(usize),
    BrokerReceives,
    GatewayReceives,
    SetBehind(bool),
    Deliver(usize),
    Cut,
    Link,
    Tick,
}

impl World {
    pub fn new(workers: usize, recent_bytes: usize, max_replay_bytes: usize) -> Self {
        let config = GatewayConfig {
            recent_bytes,
            max_replay_bytes,
            linger: Duration::from_secs(1),
            ..GatewayConfig::default()
        };
        let now = Instant::now();
        let worker = || Worker {
            subscriptions: Subscriptions::new(9),
            reporter: Reporter::default(),
            deliveries: VecDeque::new(),
        };
        Self {
            broker: Broker::new(),
            core: Core::new(&config, workers, now),
            config,
            workers: std::iter::repeat_with(worker).take(workers).collect(),
            clients: BTreeMap::new(),
            last_client: 0,
            is_linked: false,
            sent: VecDeque::new(),
            is_behind: false,
            now,
            passed: 0,
            recovered: 0,
        }
    }

    fn since(&self, from: Origin) -> Option<Since> {
        let Broker { epoch, head, .. } = self.broker;
        let at = |epoch, sequence| Some(Since::At(Position { epoch, sequence }));
        match from {
            Origin::Nowhere => None,
            Origin::Before(count) => at(epoch, self.broker.before(count)),
            Origin::Ahead(count) => at(epoch, end_of_block(head + (count << 16))),
            Origin::OtherEpoch => at(epoch - 1, head),
            Origin::Malformed => Some(Since::Malformed),
            Origin::Last(count) => Some(Since::History(History::Last(count))),
        }
    }

    /// One of the connected clients.
    fn pick(&self, number: usize) -> Option<u64> {
        self.clients.keys().copied().cycle().nth(number)
    }

    pub fn perform(&mut self, act: &Act) {
        match *act {
            Act::Publish(number) => self.broker.publish([audience(number)]),
            Act::PublishBoth(one, other) => self.broker.publish([one, other].map(audience)),
            Act::Mark => self.broker.mark(),
            Act::DropOldest => self.broker.drop_oldest(),
            Act::BeginEpoch => {
                self.cut();
                self.broker.begin_epoch();
            }
            Act::Connect(worker, groups, from) => self.connect(worker, groups, from),
            Act::Join(number, group, from) => self.join(number, group, from),
            Act::Leave(number, group) => self.leave(number, &audience(group)),
            Act::Disconnect(number) => {
                if let Some(id) = self.pick(number) {
                    let client = self.clients.remove(&id).expect("the client is connected");
                    let worker = &mut self.workers[client.worker];
                    worker.reporter.add(worker.subscriptions.detach(ConnectionId(id)));
                }
            }
            Act::Report(worker) => drop(self.report(worker % self.workers.len())),
            Act::BrokerReceives => drop(self.broker_receives()),
            Act::GatewayReceives => drop(self.gateway_receives()),
            Act::SetBehind(is_behind) => {
                self.is_behind = is_behind;
                self.answer();
            }
            Act::Deliver(worker) => drop(self.deliver(worker % self.workers.len())),
            Act::Cut => self.cut(),
            Act::Link => self.link(),
            Act::Tick => {
                self.now += self.config.linger;
                let mut effects = Vec::new();
                self.core.tick(self.now, &mut effects);
                self.carry_out(effects);
            }
        }
    }

    fn connect(&mut self, worker: usize, groups: [bool; 2], from: Origin) {
        self.last_client += 1;
        let (id, since) = (self.last_client, self.since(from));
        let groups: Vec<_> =
            (1..).zip(groups).filter(|(_, listens)| *listens).map(|(n, _)| audience(n)).collect();
        let index = worker % self.workers.len();
        let worker = &mut self.workers[index];
        let ticket = worker.reporter.next_ticket();
        let changed =
            worker.subscriptions.attach(ConnectionId(id), groups.clone(), since, id, ticket);
        worker.reporter.add_step(changed);
        let client = Client {
            worker: index,
            groups,
            since,
            head: self.broker.at(self.broker.head),
            is_greeted: false,
            progress: BTreeMap::new(),
            joins: HashMap::new(),
        };
        self.clients.insert(id, client);
    }

    /// One of the connected clients, if it is greeted: no earlier message of a client is processed.
    fn pick_greeted(&self, number: usize) -> Option<u64> {
        self.pick(number).filter(|id| self.clients[id].is_greeted)
    }

    fn join(&mut self, number: usize, group: usize, from: Origin) {
        let (Some(id), from) = (self.pick_greeted(number), self.since(from)) else { return };
        // A join cannot ask for a history.
        let since = from.filter(|since| !matches!(since, Since::History(_)));
        let client = self.clients.get_mut(&id).expect("the client is connected");
        let worker = &mut self.workers[client.worker];
        let (ticket, group) = (worker.reporter.next_ticket(), audience(group));
        let joining = worker.subscriptions.join(ConnectionId(id), group.clone(), since, ticket);
        if let Joining::Begun(changed) = joining {
            worker.reporter.add_step(changed);
            client.joins.insert(group, (since, self.broker.at(self.broker.head)));
        }
    }

    fn leave(&mut self, number: usize, group: &Audience) {
        let Some(id) = self.pick_greeted(number) else { return };
        let client = self.clients.get_mut(&id).expect("the client is connected");
        let worker = &mut self.workers[client.worker];
        if let Some(changed) = worker.subscriptions.leave(ConnectionId(id), group) {
            worker.reporter.add(changed);
            client.joins.remove(group);
            client.progress.remove(group);
        }
    }

    /// Like the following methods, returns whether there was something to do.
    pub fn report(&mut self, index: usize) -> bool {
        let reporter = &mut self.workers[index].reporter;
        if reporter.begin(self.now).is_none() {
            return false;
        }
        let report = reporter.take(self.now);
        reporter.received();
        let mut effects = Vec::new();
        self.core.report(index, report, self.now, &mut effects);
        self.carry_out(effects);
        true
    }

    pub fn broker_receives(&mut self) -> bool {
        let Some(message) = self.sent.pop_front() else { return false };
        self.passed += 1;
        self.broker.receive(message);
        true
    }

    pub fn gateway_receives(&mut self) -> bool {
        let Some(message) = self.broker.sent.pop_front() else { return false };
        self.passed += 1;
        let mut effects = Vec::new();
        self.core.receive(message, &mut effects);
        self.carry_out(effects);
        self.answer();
        true
    }

    pub fn answer(&mut self) {
        while !self.is_behind {
            let mut effects = Vec::new();
            let may_go_on = self.core.answer_next(&mut effects);
            self.carry_out(effects);
            if !may_go_on {
                break;
            }
        }
    }

    pub fn cut(&mut self) {
        if std::mem::take(&mut self.is_linked) {
            self.sent.clear();
            self.broker.lose_link();
            self.core.link_lost(self.now);
        }
    }

    pub fn link(&mut self) {
        if !std::mem::replace(&mut self.is_linked, true) {
            let welcome = self.broker.welcome(self.workers.len());
            let mut effects = Vec::new();
            self.core.link_up(&welcome, &mut effects);
            self.carry_out(effects);
        }
    }

    fn carry_out(&mut self, effects: Vec<BridgeEffect>) {
        for effect in effects {
            match effect {
                BridgeEffect::Deliver(worker, delivery) => {
                    self.workers[worker].deliveries.push_back(delivery);
                }
                BridgeEffect::DeliverToAll(delivery) => self.deliver_to_all(&delivery),
                BridgeEffect::ReportGap { gap, cursor, from } => {
                    self.deliver_to_all(&Delivery::Gap { gap, cursor, from });
                }
                BridgeEffect::Send(message) | BridgeEffect::Force(message) if self.is_linked => {
                    self.sent.push_back(message);
                }
                BridgeEffect::Stay => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn deliver_to_all(&mut self, delivery: &Delivery) {
        self.workers.iter_mut().for_each(|w| w.deliveries.push_back(delivery.clone()));
    }

    pub fn deliver(&mut self, index: usize) -> bool {
        let worker = &mut self.workers[index];
        let Some(delivery) = worker.deliveries.pop_front() else { return false };
        match delivery {
            Delivery::Event(event) => {
                let audience = event.audience().expect("the event is in the log");
                let mut listeners = Vec::new();
                worker.subscriptions.for_each_listener(audience, |_, id| listeners.push(*id));
                listeners.into_iter().for_each(|id| self.receive(id, &event));
            }
            Delivery::Confirmed(ticket, position) => {
                for (step, resumed) in worker.subscriptions.confirm(ticket, usize::MAX) {
                    let mut effects = Vec::new();
                    let worker = &self.workers[index];
                    let standing = worker.subscriptions.standing(step.connection());
                    reply::confirmed(&step, resumed, standing, position, &mut effects);
                    self.reply(&step, effects, position);
                }
            }
            Delivery::Resumed(ticket, found, position) => {
                if let Some((step, start)) = worker.subscriptions.resume(ticket) {
                    let mut effects = Vec::new();
                    let standing = worker.subscriptions.standing(step.connection());
                    let has_room = || true;
                    reply::resumed(&step, start, found, standing, position, has_room, &mut effects);
                    self.reply(&step, effects, position);
                }
            }
            Delivery::Mark(position) => {
                let ids: Vec<_> = self.clients.keys().copied().collect();
                for id in ids {
                    let client = &self.clients[&id];
                    let subscriptions = &self.workers[index].subscriptions;
                    let standing = subscriptions.standing(ConnectionId(id));
                    if client.worker == index && standing == Standing::Settled {
                        self.expect_all_received(id, position);
                    }
                }
            }
            Delivery::Gap { from: position, .. } => {
                for client in self.clients.values_mut().filter(|c| c.worker == index) {
                    client.progress.values_mut().for_each(|progress| progress.up_to = position);
                }
            }
            other => panic!("{other:?}"),
        }
        true
    }
}
