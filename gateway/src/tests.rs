//! The promise to clients that come back, on all the pure cores of a gateway together: a naive log and
//! broker at one end of the link, naive clients at the other, and nothing between them but queues that
//! advance one message at a time. So a gateway can lag behind another one where a client was before, be
//! faster than a confirmation, or lose its link at any message.
//!
//! What holds for each client and audience: from where it was told to be, it hears each event, once and
//! in order, until it is told of a gap; a client that cannot go on hears a reason that is true; and in
//! the end everybody has an answer.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use campanile_messages::link::{Gap, Want, Welcome};
use campanile_messages::{
    Audience, ConnectionId, Durability, Event, FromBroker, GroupName, Position, ToBroker, WorkerId,
};
use proptest::prelude::*;

use crate::bridge::core::{Core, Effect};
use crate::config::GatewayConfig;
use crate::delivery::Delivery;
use crate::dialects::Framed;
use crate::history::History;
use crate::registry::reporter::Reporter;
use crate::registry::subscriptions::{Joining, Standing, Step as Took, Subscriptions};
use crate::registry::told;
use crate::resume::{Lost, Resumed, Since};

/// What each event counts of what a client missed: its content, and as much as a slice of an outbox.
const EACH_BYTES: u64 = 1 + 64;

fn audience(number: usize) -> Audience {
    match number {
        0 => Audience::Everyone,
        number => Audience::Group(GroupName::new(format!("group {number}")).expect("a name")),
    }
}

/// A log, and a broker with one link.
struct Broker {
    epoch: u64,
    head: u64,
    /// What is kept, in order.
    log: Vec<(u64, Audience)>,
    /// The last event of each audience that is not kept, and of those that are not in here.
    lost: HashMap<Audience, u64>,
    floor: u64,
    /// All that there ever was.
    all: Vec<(Position, Audience)>,
    interest: HashMap<Audience, u32>,
    revision: Option<u64>,
    is_attached: bool,
    /// What it has said and the gateway has not heard.
    said: VecDeque<FromBroker>,
}

impl Broker {
    fn at(&self, sequence: u64) -> Position {
        Position { epoch: self.epoch, sequence }
    }

    fn event(sequence: u64, audience: &Audience) -> FromBroker {
        let (audience, content) = (audience.clone(), "x".into());
        FromBroker::Event(Event { sequence, audience, except: None, content })
    }

    fn lost_up_to(&self, audience: &Audience) -> u64 {
        self.lost.get(audience).copied().unwrap_or(0).max(self.floor)
    }

    fn publish(&mut self, audience: Audience) {
        self.head += 1;
        if self.is_attached && self.interest.contains_key(&audience) {
            self.said.push_back(Self::event(self.head, &audience));
        }
        self.log.push((self.head, audience.clone()));
        self.all.push((self.at(self.head), audience));
    }

    fn drop_oldest(&mut self) {
        if !self.log.is_empty() {
            let (sequence, audience) = self.log.remove(0);
            self.lost.insert(audience, sequence);
        }
    }

    fn begin_epoch(&mut self) {
        self.epoch += 1;
        self.log.clear();
        self.floor = self.head;
    }

    fn welcome(&mut self, workers: usize) -> Welcome {
        self.lose_link();
        let workers = (0..workers as u64).map(WorkerId).collect();
        Welcome { head: self.at(self.head), durability: Durability::Memory, workers }
    }

    fn lose_link(&mut self) {
        self.interest.clear();
        self.revision = None;
        self.is_attached = false;
        self.said.clear();
    }

    fn hear(&mut self, message: ToBroker) {
        match message {
            ToBroker::Interest { revision, changes } => {
                for change in changes {
                    match change.connections {
                        Some(connections) => self.interest.insert(change.audience, connections),
                        None => self.interest.remove(&change.audience),
                    };
                }
                self.revision = Some(revision);
                self.confirm();
            }
            ToBroker::Attach { cursor } => self.attach(cursor),
            ToBroker::Fetch { number, wants, max_bytes } => self.fetch(number, &wants, max_bytes),
            other => panic!("{other:?}"),
        }
    }

    fn confirm(&mut self) {
        if let Some(revision) = self.revision.filter(|_| self.is_attached) {
            self.said.push_back(FromBroker::Confirmed { revision, head: self.head });
        }
    }

    fn attach(&mut self, cursor: Option<Position>) {
        let (from, gap) = match cursor {
            None => (self.head, None),
            Some(cursor) if cursor.epoch != self.epoch => {
                let tail = self.log.first().map_or(self.head, |(first, _)| first - 1);
                (tail, Some(Gap::EpochChanged))
            }
            Some(cursor) => {
                let lost = self.interest.keys().map(|audience| self.lost_up_to(audience));
                let lost = lost.max().unwrap_or(0);
                let is_lost = lost > cursor.sequence;
                (lost.max(cursor.sequence), is_lost.then_some(Gap::Expired))
            }
        };
        self.is_attached = true;
        self.said.push_back(FromBroker::Attached { from: self.at(from), gap });
        let kept = self.log.iter().filter(|(sequence, _)| *sequence > from);
        let wanted = kept.filter(|(_, audience)| self.interest.contains_key(audience));
        self.said.extend(wanted.map(|(sequence, audience)| Self::event(*sequence, audience)));
        self.confirm();
    }

    fn fetch(&mut self, number: u64, wants: &[Want], max_bytes: u64) {
        let (mut answer, mut sent_bytes, mut served) = (Vec::new(), 0, 0);
        for Want { since, audiences } in wants {
            if served > 0 && sent_bytes > max_bytes {
                break;
            }
            served += 1;
            for audience in audiences {
                assert!(self.interest.contains_key(audience), "its later events do not come");
            }
            let after = |audience: &Audience| self.lost_up_to(audience).max(*since);
            let is_wanted = |(sequence, audience): &&(u64, Audience)| {
                audiences.contains(audience) && *sequence > after(audience)
            };
            let missed: Vec<_> = self.log.iter().filter(is_wanted).collect();
            // The newest, up to the first that is too much.
            let fit = (max_bytes / EACH_BYTES) as usize + 1;
            let cut = missed.len().saturating_sub(fit.max(2));
            let cut_after = missed.get(cut).filter(|_| cut > 0).map_or(0, |(first, _)| first - 1);
            let sent = &missed[cut..];
            sent_bytes += sent.len() as u64 * EACH_BYTES;
            for audience in audiences {
                let events = sent.iter().filter(|(_, of)| of == audience);
                let events: Vec<_> = events.map(|(at, of)| Self::event(*at, of)).collect();
                answer.push(FromBroker::Past {
                    audience: audience.clone(),
                    events: events.len() as u32,
                    expired: self.lost_up_to(audience),
                    complete_after: after(audience).max(cut_after),
                });
                answer.extend(events);
            }
        }
        self.said.extend(answer);
        self.said.push_back(FromBroker::Fetched { number, served });
    }
}

/// What a client knows of one audience.
#[derive(Debug)]
struct Heard {
    /// Up to here it has heard all.
    up_to: Position,
}

/// A client, and what it was told.
#[derive(Debug)]
struct Client {
    worker: usize,
    /// What it came with, beside everyone.
    groups: Vec<Audience>,
    since: Option<Since>,
    /// Where the log ended when it came.
    head: Position,
    is_greeted: bool,
    /// What it listens to.
    heard: BTreeMap<Audience, Heard>,
    /// What it wants to listen to, from where, and where the log ended then.
    joins: HashMap<Audience, (Option<Since>, Position)>,
}

/// A worker of the gateway.
struct Worker {
    subscriptions: Subscriptions<u64>,
    reporter: Reporter,
    deliveries: VecDeque<Delivery>,
}

struct World {
    config: GatewayConfig,
    broker: Broker,
    core: Core,
    workers: Vec<Worker>,
    clients: BTreeMap<u64, Client>,
    last_client: u64,
    is_linked: bool,
    /// What the gateway has said and the broker has not heard.
    said: VecDeque<ToBroker>,
    /// A registry has too much to do for any resume to be answered.
    is_behind: bool,
    now: Instant,
    /// Messages that went over the link.
    passed: usize,
    /// How many clients went on where they were.
    recovered: usize,
}

/// Where a client wants to go on.
#[derive(Debug, Clone, Copy)]
enum From {
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
enum Act {
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
    fn new(workers: usize, recent_bytes: usize, max_replay_bytes: usize) -> Self {
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
            broker: Broker {
                epoch: 1,
                head: 0,
                log: Vec::new(),
                lost: HashMap::new(),
                floor: 0,
                all: Vec::new(),
                interest: HashMap::new(),
                revision: None,
                is_attached: false,
                said: VecDeque::new(),
            },
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

    fn perform(&mut self, act: &Act) {
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
    fn report(&mut self, index: usize) -> bool {
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

    fn broker_hears(&mut self) -> bool {
        let Some(message) = self.said.pop_front() else { return false };
        self.passed += 1;
        self.broker.hear(message);
        true
    }

    fn gateway_hears(&mut self) -> bool {
        let Some(message) = self.broker.said.pop_front() else { return false };
        self.passed += 1;
        let mut effects = Vec::new();
        self.core.receive(message, &mut effects);
        self.carry_out(effects);
        self.answer();
        true
    }

    fn answer(&mut self) {
        while !self.is_behind {
            let mut effects = Vec::new();
            let may_go_on = self.core.answer_next(&mut effects);
            self.carry_out(effects);
            if !may_go_on {
                break;
            }
        }
    }

    fn cut(&mut self) {
        if std::mem::take(&mut self.is_linked) {
            self.said.clear();
            self.broker.lose_link();
            self.core.link_lost(self.now);
        }
    }

    fn link(&mut self) {
        if !std::mem::replace(&mut self.is_linked, true) {
            let welcome = self.broker.welcome(self.workers.len());
            let mut effects = Vec::new();
            self.core.link_up(&welcome, &mut effects);
            self.carry_out(effects);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Deliver(worker, delivery) => {
                    self.workers[worker].deliveries.push_back(delivery);
                }
                Effect::DeliverToAll(delivery) => self.deliver_to_all(&delivery),
                Effect::TellGap { gap, from, .. } => {
                    self.deliver_to_all(&Delivery::Gap(gap, from));
                }
                Effect::Say(message) | Effect::Insist(message) if self.is_linked => {
                    self.said.push_back(message);
                }
                Effect::Stay => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn deliver_to_all(&mut self, delivery: &Delivery) {
        self.workers.iter_mut().for_each(|w| w.deliveries.push_back(delivery.clone()));
    }

    fn deliver(&mut self, index: usize) -> bool {
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
                    told::confirmed(&step, resumed, standing, position, &mut effects);
                    self.tell(&step, effects, position);
                }
            }
            Delivery::Resumed(ticket, found, position) => {
                if let Some((step, start)) = worker.subscriptions.resume(ticket) {
                    let mut effects = Vec::new();
                    let standing = worker.subscriptions.standing(step.connection());
                    let has_room = || true;
                    told::answered(&step, start, found, standing, position, has_room, &mut effects);
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

impl World {
    /// The next event for a client of an audience of which it has heard all up to here.
    fn next(&self, audience: &Audience, up_to: Position) -> Option<Position> {
        let is_next = |(at, of): &&(Position, Audience)| {
            of == audience && at.epoch == up_to.epoch && at.sequence > up_to.sequence
        };
        self.broker.all.iter().find(is_next).map(|(at, _)| *at)
    }

    fn hear(&mut self, id: u64, event: &Framed) {
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
    fn expect_all_heard(&self, id: u64, position: Position) {
        for (audience, heard) in &self.clients[&id].heard {
            let next = self
                .next(audience, heard.up_to)
                .filter(|next| next.epoch == position.epoch && next.sequence <= position.sequence);
            assert_eq!(next, None, "client {id} was told {position}");
        }
    }

    fn tell(&mut self, step: &Took, effects: Vec<told::Effect>, position: Position) {
        let ConnectionId(id) = step.connection();
        for effect in effects {
            match effect {
                told::Effect::Greet { position: from, resumed, history } => {
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
                told::Effect::Replay(events) => {
                    if let Took::Join(_, audience) = step {
                        let client = self.clients.get_mut(&id).expect("it is there");
                        let Some(Since::At(up_to)) = client.joins[audience].0 else {
                            panic!("it wants to hear nothing of the past");
                        };
                        client.heard.insert(audience.clone(), Heard { up_to });
                    }
                    events.iter().for_each(|event| self.hear(id, event));
                }
                told::Effect::TellJoined(audience, resumed) => {
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
                told::Effect::TellPosition(position) => self.expect_all_heard(id, position),
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
    fn settle(&mut self) {
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

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        2 => Just(From::Nowhere),
        8 => (0u64..6).prop_map(From::Back),
        1 => (1u64..4).prop_map(From::Ahead),
        1 => Just(From::Ahead(1_000)),
        1 => Just(From::OtherEpoch),
        1 => Just(From::Nonsense),
        2 => (1usize..4).prop_map(From::Last),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        10 => (0usize..3).prop_map(Act::Publish),
        2 => Just(Act::DropOldest),
        1 => Just(Act::BeginEpoch),
        6 => (0usize..2, any::<[bool; 2]>(), from()).prop_map(|(w, g, f)| Act::Come(w, g, f)),
        3 => (0usize..4, 1usize..3, from()).prop_map(|(c, g, f)| Act::Join(c, g, f)),
        2 => (0usize..4, 1usize..3).prop_map(|(c, g)| Act::Leave(c, g)),
        4 => (0usize..4).prop_map(Act::Go),
        8 => (0usize..2).prop_map(Act::Report),
        12 => Just(Act::BrokerHears),
        14 => Just(Act::GatewayHears),
        2 => any::<bool>().prop_map(Act::SetBehind),
        12 => (0usize..2).prop_map(Act::Deliver),
        2 => Just(Act::Cut),
        4 => Just(Act::Link),
        5 => Just(Act::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn nobody_misses_anything_unnoticed_whatever_happens(
        acts in prop::collection::vec(act(), 0..150),
        workers in 1usize..3,
        // Room for two events, or for all.
        recent_bytes in prop_oneof![Just(1_100), Just(1 << 20)],
        max_replay_bytes in prop_oneof![1 => Just(3 * EACH_BYTES as usize), 3 => Just(1 << 20)],
    ) {
        let mut world = World::new(workers, recent_bytes, max_replay_bytes);
        world.link();
        acts.iter().for_each(|act| world.perform(act));
        world.settle();
    }
}

/// Clients of two workers that come back, some from a gateway that was faster, while events come.
/// Returns how many messages went over the link, and how many clients went on.
fn come_back(cut_at: Option<usize>, delivers_late: bool) -> (usize, usize) {
    let mut world = World::new(2, 1 << 20, 1 << 20);
    world.link();
    let script = [
        Act::Come(0, [true, false], From::Nowhere),
        Act::Report(0),
        Act::Publish(1),
        Act::Publish(2),
        Act::Publish(0),
        Act::Publish(1),
        Act::Come(0, [true, true], From::Back(0)),
        Act::Come(1, [true, true], From::Back(4)),
        Act::Publish(2),
        Act::Come(0, [false, true], From::Back(1)),
        Act::Report(0),
        Act::Publish(1),
        Act::Report(1),
        Act::Publish(2),
        Act::Come(1, [true, false], From::Back(2)),
        Act::Report(1),
        Act::Join(0, 2, From::Back(3)),
        Act::Report(0),
        Act::Publish(2),
    ];
    for act in script {
        world.perform(&act);
        let mut is_busy = true;
        while is_busy {
            for hears in [World::broker_hears, World::gateway_hears] {
                is_busy = hears(&mut world);
                if cut_at == Some(world.passed) && is_busy {
                    world.cut();
                    world.link();
                }
            }
            // A lagging gateway hears only what it must.
            is_busy &= matches!(act, Act::Report(_));
            if !delivers_late {
                (0..2).for_each(|worker| while world.deliver(worker) {});
            }
        }
    }
    world.settle();
    (world.passed, world.recovered)
}

#[test]
fn a_link_that_is_cut_at_any_message_changes_nothing_for_clients() {
    for delivers_late in [false, true] {
        let (passed, recovered) = come_back(None, delivers_late);
        assert!(passed > 20 && recovered >= 4, "{passed} messages, {recovered} clients went on");
        for cut_at in 1..=passed {
            let (_, went_on) = come_back(Some(cut_at), delivers_late);
            assert_eq!(went_on, recovered, "cut at message {cut_at}");
        }
    }
}
