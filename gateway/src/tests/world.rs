//! All the pure cores of a gateway between a naive broker and naive clients, and whatever may happen to
//! them. What clients must hear of it is in `promise.rs`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use campanile_messages::{Audience, ConnectionId, Position, ToBroker};

use super::broker::{Broker, audience};
use crate::bridge::core::{BridgeEffect, Core};
use crate::config::GatewayConfig;
use crate::delivery::Delivery;
use crate::history::History;
use crate::registry::reply;
use crate::registry::reporter::Reporter;
use crate::registry::subscriptions::{Joining, Standing, Subscriptions};
use crate::resume::Since;

/// What a client knows of one audience.
#[derive(Debug)]
pub struct Heard {
    /// Up to here it has heard all.
    pub up_to: Position,
}

/// A client, and what it was told.
#[derive(Debug)]
pub struct Client {
    pub worker: usize,
    /// What it came with, beside everyone.
    pub groups: Vec<Audience>,
    pub since: Option<Since>,
    /// Where the log ended when it came.
    pub head: Position,
    pub is_greeted: bool,
    /// What it listens to.
    pub heard: BTreeMap<Audience, Heard>,
    /// What it wants to listen to, from where, and where the log ended then.
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
    /// What the gateway has said and the broker has not heard.
    said: VecDeque<ToBroker>,
    /// A registry has too much to do for any resume to be answered.
    pub is_behind: bool,
    now: Instant,
    /// Messages that went over the link.
    pub passed: usize,
    /// How many clients went on where they were.
    pub recovered: usize,
}

/// Where a client wants to go on.
#[derive(Debug, Clone, Copy)]
pub enum From {
    Nowhere,
    /// So many events before the end of the log, as a faster gateway has seen it.
    Back(u64),
    /// So many behind it: of a log that is no more.
    Ahead(u64),
    OtherEpoch,
    Nonsense,
    Last(usize),
}

#[derive(Debug, Clone)]
pub enum Act {
    Publish(usize),
    DropOldest,
    BeginEpoch,
    Come(usize, [bool; 2], From),
    Join(usize, usize, From),
    Leave(usize, usize),
    Go(usize),
    Report(usize),
    BrokerHears,
    GatewayHears,
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
            said: VecDeque::new(),
            is_behind: false,
            now,
            passed: 0,
            recovered: 0,
        }
    }

    fn since(&self, from: From) -> Option<Since> {
        let Broker { epoch, head, .. } = self.broker;
        let at = |epoch, sequence| Some(Since::At(Position { epoch, sequence }));
        match from {
            From::Nowhere => None,
            From::Back(count) => at(epoch, head.saturating_sub(count)),
            From::Ahead(count) => at(epoch, head + count),
            From::OtherEpoch => at(epoch - 1, head),
            From::Nonsense => Some(Since::Malformed),
            From::Last(count) => Some(Since::History(History::Last(count))),
        }
    }

    /// One of those who are there.
    fn pick(&self, number: usize) -> Option<u64> {
        self.clients.keys().copied().cycle().nth(number)
    }

    pub fn perform(&mut self, act: &Act) {
        match *act {
            Act::Publish(number) => self.broker.publish(audience(number)),
            Act::DropOldest => self.broker.drop_oldest(),
            Act::BeginEpoch => {
                self.cut();
                self.broker.begin_epoch();
            }
            Act::Come(worker, groups, from) => self.come(worker, groups, from),
            Act::Join(number, group, from) => self.join(number, group, from),
            Act::Leave(number, group) => self.leave(number, &audience(group)),
            Act::Go(number) => {
                if let Some(id) = self.pick(number) {
                    let client = self.clients.remove(&id).expect("it is there");
                    let worker = &mut self.workers[client.worker];
                    worker.reporter.add(worker.subscriptions.detach(ConnectionId(id)));
                }
            }
            Act::Report(worker) => drop(self.report(worker % self.workers.len())),
            Act::BrokerHears => drop(self.broker_hears()),
            Act::GatewayHears => drop(self.gateway_hears()),
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

    fn come(&mut self, worker: usize, groups: [bool; 2], from: From) {
        self.last_client += 1;
        let (id, since) = (self.last_client, self.since(from));
        let groups: Vec<_> =
            (1..).zip(groups).filter(|(_, listens)| *listens).map(|(n, _)| audience(n)).collect();
        let index = worker % self.workers.len();
        let worker = &mut self.workers[index];
        let ticket = worker.reporter.next_ticket();
        let come = worker.subscriptions.attach(ConnectionId(id), groups.clone(), since, id, ticket);
        worker.reporter.add_step(come);
        let client = Client {
            worker: index,
            groups,
            since,
            head: self.broker.at(self.broker.head),
            is_greeted: false,
            heard: BTreeMap::new(),
            joins: HashMap::new(),
        };
        self.clients.insert(id, client);
    }

    /// Nothing that a client says is heard before its greeting.
    fn pick_greeted(&self, number: usize) -> Option<u64> {
        self.pick(number).filter(|id| self.clients[id].is_greeted)
    }

    fn join(&mut self, number: usize, group: usize, from: From) {
        let (Some(id), from) = (self.pick_greeted(number), self.since(from)) else { return };
        // Only a newcomer has a history.
        let since = from.filter(|since| !matches!(since, Since::History(_)));
        let client = self.clients.get_mut(&id).expect("it is there");
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
        let client = self.clients.get_mut(&id).expect("it is there");
        let worker = &mut self.workers[client.worker];
        if let Some(changed) = worker.subscriptions.leave(ConnectionId(id), group) {
            worker.reporter.add(changed);
            client.joins.remove(group);
            client.heard.remove(group);
        }
    }

    /// Each returns whether there was something to do.
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

    pub fn broker_hears(&mut self) -> bool {
        let Some(message) = self.said.pop_front() else { return false };
        self.passed += 1;
        self.broker.hear(message);
        true
    }

    pub fn gateway_hears(&mut self) -> bool {
        let Some(message) = self.broker.said.pop_front() else { return false };
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
            self.said.clear();
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
                BridgeEffect::ReportGap { gap, from, .. } => {
                    self.deliver_to_all(&Delivery::Gap(gap, from));
                }
                BridgeEffect::Send(message) | BridgeEffect::Force(message) if self.is_linked => {
                    self.said.push_back(message);
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
                let audience = event.audience().expect("it is in the log");
                let mut listeners = Vec::new();
                worker.subscriptions.for_each_listener(audience, |_, id| listeners.push(*id));
                listeners.into_iter().for_each(|id| self.hear(id, &event));
            }
            Delivery::Confirmed(ticket, position) => {
                for (step, resumed) in worker.subscriptions.confirm(ticket, usize::MAX) {
                    let mut effects = Vec::new();
                    let worker = &self.workers[index];
                    let standing = worker.subscriptions.standing(step.connection());
                    reply::confirmed(&step, resumed, standing, position, &mut effects);
                    self.tell(&step, effects, position);
                }
            }
            Delivery::Resumed(ticket, found, position) => {
                if let Some((step, start)) = worker.subscriptions.resume(ticket) {
                    let mut effects = Vec::new();
                    let standing = worker.subscriptions.standing(step.connection());
                    let has_room = || true;
                    reply::resumed(&step, start, found, standing, position, has_room, &mut effects);
                    self.tell(&step, effects, position);
                }
            }
            Delivery::Mark(position) => {
                let ids: Vec<_> = self.clients.keys().copied().collect();
                for id in ids {
                    let client = &self.clients[&id];
                    let subscriptions = &self.workers[index].subscriptions;
                    let standing = subscriptions.standing(ConnectionId(id));
                    if client.worker == index && standing == Standing::Settled {
                        self.expect_all_heard(id, position);
                    }
                }
            }
            Delivery::Gap(_, position) => {
                for client in self.clients.values_mut().filter(|c| c.worker == index) {
                    client.heard.values_mut().for_each(|heard| heard.up_to = position);
                }
            }
            other => panic!("{other:?}"),
        }
        true
    }
}
