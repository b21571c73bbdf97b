use campanile_messages::{ConnectionId, Event, GroupName, IdempotencyKey, WorkerId};

use campanile_messages::link::Refusal;

use super::*;

const NOW: Duration = Duration::from_secs(1_000_000);
const RETURN_LIMIT: Duration = Duration::from_secs(20);
const EPOCH: u64 = 7;

/// An exchange with a short way to say what links say.
struct Floor {
    exchange: Exchange,
    instances: u64,
}

impl Floor {
    fn new() -> Self {
        Self::starting(|_| {})
    }

    /// A broker with a disk, on which an event is durable when that is said.
    fn on_disk() -> Self {
        Self::starting(|start| {
            start.keeps = true;
            start.durability = Durability::Disk;
            start.worker_ids = Supply::Counted(0);
        })
    }

    fn starting(change: impl FnOnce(&mut Start)) -> Self {
        let mut start = Start {
            now: NOW,
            durability: Durability::Memory,
            keeps: false,
            log: Opening {
                epoch: EPOCH,
                head: 0,
                floor: 0,
                trimmed: Vec::new(),
                max_bytes: 1 << 20,
                max_age: Duration::from_secs(300),
                keep_until: NOW + RETURN_LIMIT,
            },
            events: Vec::new(),
            ids: Vec::new(),
            worker_ids: Supply::Drawn(Box::new(|| 10)),
            first_link: 100,
            return_limit: RETURN_LIMIT,
            max_links: 4,
            max_audiences_per_link: 3,
            max_ids: 2,
        };
        change(&mut start);
        Self { exchange: Exchange::new(start), instances: 0 }
    }

    fn stored(&mut self, up_to: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.exchange.stored(up_to, NOW, &mut effects);
        effects
    }

    fn tick(&mut self, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.exchange.tick(now, &mut effects);
        effects
    }

    /// The process that came last comes back.
    fn enter_again(&mut self, role: Role) -> Entered {
        let hello = Hello { instance: InstanceId(self.instances), role };
        self.exchange.enter(hello, NOW).unwrap()
    }

    fn enter(&mut self, role: Role) -> LinkNumber {
        self.instances += 1;
        let instance = InstanceId(self.instances);
        let hello = Hello { instance, role };
        self.exchange.enter(hello, NOW).unwrap().link
    }

    fn publisher(&mut self) -> LinkNumber {
        self.enter(Role::Publisher { unanswered: 1 })
    }

    fn gateway(&mut self) -> LinkNumber {
        self.enter(gateway_role(&[]))
    }

    /// A gateway that listens to `audience` with this many connections, and is attached.
    fn listener(&mut self, audience: Audience, connections: u32) -> LinkNumber {
        let link = self.gateway();
        self.hear(link, interest(1, &[(audience, Some(connections))]));
        self.hear(link, ToBroker::Attach { cursor: None });
        link
    }

    fn say(&mut self, link: LinkNumber, message: ToBroker) -> Result<Vec<Effect>, Violation> {
        let mut effects = Vec::new();
        self.exchange.receive(link, message, NOW, &mut effects)?;
        Ok(effects)
    }

    fn hear(&mut self, link: LinkNumber, message: ToBroker) -> Vec<Effect> {
        self.say(link, message).unwrap()
    }
}

fn gateway_role(held: &[u64]) -> Role {
    Role::Gateway {
        workers: held.len().max(1) as u16,
        held: held.iter().copied().map(WorkerId).collect(),
    }
}

fn group(name: &str) -> Audience {
    Audience::Group(GroupName::new(name.to_owned()).unwrap())
}

fn interest(revision: u64, changes: &[(Audience, Option<u32>)]) -> ToBroker {
    let changes = changes
        .iter()
        .map(|(audience, connections)| InterestChange {
            audience: audience.clone(),
            connections: *connections,
        })
        .collect();
    ToBroker::Interest { revision, changes }
}

fn publish(number: Number, audience: Audience) -> ToBroker {
    let (unanswered, id, count_within_millis, content) = (1, None, None, "hi".into());
    let except = None;
    ToBroker::Publish { number, unanswered, id, count_within_millis, audience, except, content }
}

fn publish_as(key: &'static str, number: Number, content: &'static str) -> ToBroker {
    ToBroker::Publish {
        number,
        unanswered: 1,
        id: Some(IdempotencyKey::new(key).unwrap()),
        count_within_millis: None,
        audience: Audience::Everyone,
        except: None,
        content: content.into(),
    }
}

fn refused(number: Number, refusal: Refusal) -> FromBroker {
    FromBroker::Refused { number, refusal }
}

fn push(number: Number, worker: WorkerId) -> ToBroker {
    ToBroker::Direct { number, to: at(worker), content: "psst".into() }
}

fn at(worker: WorkerId) -> Address {
    Address { worker, connection: ConnectionId(7) }
}

fn event(sequence: u64, audience: Audience) -> EncodedFrame {
    FromBroker::Event(Event { sequence, audience, except: None, content: "hi".into() }).encode()
}

fn send(link: LinkNumber, message: FromBroker) -> Effect {
    Effect::Send { link, message }
}

fn accepted(number: Number, sequence: u64, gateways: u32, matched: u64) -> FromBroker {
    FromBroker::Accepted { number, sequence, gateways, matched, counting: 0, away: 0 }
}

fn cursor(epoch: u64, sequence: u64) -> ToBroker {
    let cursor = Some(Position { epoch, sequence });
    ToBroker::Attach { cursor }
}

/// What a gateway with interest of revision 1 gets on attach.
fn attached(
    link: LinkNumber,
    (from, gap): (u64, Option<Gap>),
    frames: Vec<EncodedFrame>,
    head: u64,
) -> Vec<Effect> {
    let from = Position { epoch: EPOCH, sequence: from };
    vec![
        send(link, FromBroker::Attached { from, gap }),
        Effect::Replay { link, frames },
        send(link, FromBroker::Confirmed { revision: 1, head }),
    ]
}

#[test]
fn an_event_goes_to_the_links_that_want_it_before_its_publisher_is_answered() {
    let mut floor = Floor::new();
    let news = floor.listener(group("news"), 3);
    let _other = floor.listener(group("other"), 1);
    let empty = floor.listener(group("news"), 0);
    let publisher = floor.publisher();
    assert_eq!(
        floor.hear(publisher, publish(9, group("news"))),
        [
            Effect::Route { links: vec![news, empty], frame: event(1, group("news")) },
            send(publisher, accepted(9, 1, 1, 3)),
        ]
    );
}

#[test]
fn without_a_disk_nothing_is_collected_for_it() {
    let mut floor = Floor::new();
    let publisher = floor.publisher();
    floor.hear(publisher, publish_as("k", 1, "hi"));
    floor.tick(NOW + Duration::from_secs(300));
    assert!(floor.exchange.take_changes().is_empty());
}

#[test]
fn an_event_that_nobody_wants_is_accepted_all_the_same() {
    let mut floor = Floor::new();
    let publisher = floor.publisher();
    let effects = floor.hear(publisher, publish(1, group("news")));
    assert_eq!(effects, [send(publisher, accepted(1, 1, 0, 0))]);
}

#[test]
fn interest_counts_from_attach_on_and_what_changes_later_from_its_confirmation_on() {
    let mut floor = Floor::new();
    let publisher = floor.publisher();
    let gateway = floor.gateway();
    let everyone = [(Audience::Everyone, Some(2))];
    assert_eq!(floor.hear(gateway, interest(1, &everyone)), []);
    assert_eq!(
        floor.hear(publisher, publish(1, Audience::Everyone)),
        [send(publisher, accepted(1, 1, 0, 0))]
    );
    assert_eq!(
        floor.hear(gateway, ToBroker::Attach { cursor: None }),
        attached(gateway, (1, None), vec![], 1)
    );
    assert_eq!(
        floor.hear(gateway, interest(2, &[(group("eu"), Some(1))])),
        [send(gateway, FromBroker::Confirmed { revision: 2, head: 1 })]
    );
    let withdrawn = [(Audience::Everyone, None)];
    assert_eq!(
        floor.hear(gateway, interest(3, &withdrawn)),
        [send(gateway, FromBroker::Confirmed { revision: 3, head: 1 })]
    );
    assert_eq!(
        floor.hear(publisher, publish(2, Audience::Everyone)),
        [send(publisher, accepted(2, 2, 0, 0))]
    );
}

#[test]
fn a_gateway_that_returns_gets_what_it_missed_of_its_own_audiences() {
    let mut floor = Floor::new();
    let publisher = floor.publisher();
    for (number, name) in [(1, "news"), (2, "other"), (3, "news")] {
        floor.hear(publisher, publish(number, group(name)));
    }
    let gateway = floor.gateway();
    floor.hear(gateway, interest(1, &[(group("news"), Some(1))]));
    assert_eq!(
        floor.hear(gateway, cursor(EPOCH, 1)),
        attached(gateway, (1, None), vec![event(3, group("news"))], 3)
    );
    let from_another_broker = floor.gateway();
    floor.hear(from_another_broker, interest(1, &[(group("news"), Some(1))]));
    let all = vec![event(1, group("news")), event(3, group("news"))];
    assert_eq!(
        floor.hear(from_another_broker, cursor(EPOCH + 1, 50)),
        attached(from_another_broker, (0, Some(Gap::EpochChanged)), all, 3)
    );
}

#[test]
fn an_attach_without_interest_is_not_confirmed() {
    let mut floor = Floor::new();
    let gateway = floor.gateway();
    let effects = floor.hear(gateway, ToBroker::Attach { cursor: None });
    assert_eq!(effects, attached(gateway, (0, None), vec![], 0)[..2]);
}

#[test]
fn a_push_is_handed_to_the_gateway_of_the_worker_and_its_answer_to_the_publisher() {
    let mut floor = Floor::new();
    let publisher = floor.publisher();
    let gateway = floor.enter(gateway_role(&[42]));
    let ticket = Ticket { link: publisher.0, number: 3 };
    assert_eq!(
        floor.hear(publisher, push(3, WorkerId(42))),
        [send(
            gateway,
            FromBroker::Deliver { ticket, to: at(WorkerId(42)), content: "psst".into() }
        )]
    );
    let delivered = ToBroker::Delivered { ticket, outcome: Outcome::Written };
    let answered = FromBroker::Answered { number: 3, outcome: Outcome::Written };
    assert_eq!(floor.hear(gateway, delivered.clone()), [send(publisher, answered)]);
    floor.exchange.remove(publisher, NOW);
    assert_eq!(floor.hear(gateway, delivered), []);
}

#[test]
fn an_answer_never_goes_to_a_gateway() {
    let mut floor = Floor::new();
    let (one, other) = (floor.gateway(), floor.gateway());
    let forged = ToBroker::Delivered {
        ticket: Ticket { link: other.0, number: 1 },
        outcome: Outcome::Written,
    };
    assert_eq!(floor.hear(one, forged), []);
}

#[test]
fn a_push_to_a_worker_that_is_not_linked_says_whether_it_may_come_back() {
    let mut floor = Floor::new();
    let publisher = floor.publisher();
    let gateway = floor.enter(gateway_role(&[42]));
    let outcome =
        |floor: &mut Floor, worker| match floor.hear(publisher, push(1, WorkerId(worker)))[..] {
            [Effect::Send { message: FromBroker::Answered { outcome, .. }, .. }] => outcome,
            ref effects => panic!("{effects:?}"),
        };
    assert_eq!(outcome(&mut floor, 43), Outcome::UnknownWorker);
    floor.exchange.remove(gateway, NOW);
    assert_eq!(outcome(&mut floor, 42), Outcome::GatewayAway);
    floor.tick(NOW + RETURN_LIMIT);
    assert_eq!(outcome(&mut floor, 42), Outcome::UnknownWorker);
}

#[test]
fn a_process_that_comes_back_replaces_its_earlier_link_and_keeps_its_workers() {
    let mut floor = Floor::new();
    let old = floor.listener(Audience::Everyone, 1);
    let held = [1 << 52 | 5 << 21];
    let hello = Hello { instance: InstanceId(floor.instances), role: gateway_role(&held) };
    let entered = floor.exchange.enter(hello, NOW).unwrap();
    assert_eq!(entered.replaced, Some(old));
    assert_ne!(entered.link, old);
    assert_eq!(entered.welcome.workers, held.map(WorkerId));
    let publisher = floor.publisher();
    assert_eq!(
        floor.hear(publisher, publish(1, Audience::Everyone)),
        [send(publisher, accepted(1, 1, 0, 0))]
    );
    assert_eq!(floor.hear(old, interest(2, &[])), []);
}

#[test]
fn a_gateway_and_a_publisher_of_one_instance_are_two_peers() {
    let mut floor = Floor::new();
    floor.gateway();
    let hello =
        Hello { instance: InstanceId(floor.instances), role: Role::Publisher { unanswered: 1 } };
    assert_eq!(floor.exchange.enter(hello, NOW).unwrap().replaced, None);
}

#[test]
fn a_refused_hello_changes_nothing() {
    let mut floor = Floor::new();
    let gateway = floor.enter(gateway_role(&[42]));
    let hello = |instance, role| Hello { instance: InstanceId(instance), role };
    let contradiction = Role::Gateway { workers: 2, held: vec![WorkerId(42)] };
    let entered = floor.exchange.enter(hello(1, contradiction), NOW);
    assert!(matches!(entered, Err(Unwelcome::InvalidWorkers(_))));
    let entered = floor.exchange.enter(hello(2, gateway_role(&[42])), NOW);
    assert!(matches!(entered, Err(Unwelcome::InvalidWorkers(_))));
    assert_eq!(floor.exchange.workers.find(WorkerId(42), NOW), Whereabouts::At(gateway));
    assert_eq!(floor.exchange.links.len(), 1);
}

#[test]
fn a_full_broker_refuses_a_new_process_and_takes_back_a_known_one() {
    let mut floor = Floor::new();
    for _ in 0..4 {
        floor.publisher();
    }
    let hello = |instance| Hello {
        instance: InstanceId(instance),
        role: Role::Publisher { unanswered: 1 },
    };
    let refused = floor.exchange.enter(hello(99), NOW);
    assert_eq!(refused, Err(Unwelcome::TooManyLinks { max: 4 }));
    assert!(floor.exchange.enter(hello(1), NOW).is_ok());
}

#[test]
fn interest_past_the_bound_is_a_violation() {
    let mut floor = Floor::new();
    let gateway = floor.gateway();
    let changes: Vec<_> = (0..4).map(|n| (group(&n.to_string()), Some(1))).collect();
    assert_eq!(
        floor.say(gateway, interest(1, &changes)),
        Err(Violation::TooManyAudiences(TooManyAudiences { max: 3 }))
    );
}

#[test]
fn a_broker_that_closes_refuses_publishes_and_links_and_answers_pushes() {
    let mut floor = Floor::new();
    let publisher = floor.publisher();
    floor.exchange.close();
    let refused = refused(1, Refusal::ShuttingDown);
    assert_eq!(floor.hear(publisher, publish(1, Audience::Everyone)), [send(publisher, refused)]);
    let unknown = FromBroker::Answered { number: 2, outcome: Outcome::UnknownWorker };
    assert_eq!(floor.hear(publisher, push(2, WorkerId(1))), [send(publisher, unknown)]);
    let hello = Hello { instance: InstanceId(99), role: Role::Publisher { unanswered: 1 } };
    let entered = floor.exchange.enter(hello, NOW);
    assert_eq!(entered, Err(Unwelcome::ShuttingDown));
}

#[test]
fn nobody_sees_an_event_before_it_is_durable() {
    let mut floor = Floor::on_disk();
    let gateway = floor.listener(Audience::Everyone, 2);
    let publisher = floor.publisher();
    assert_eq!(floor.hear(publisher, publish(1, Audience::Everyone)), []);
    assert_eq!(floor.hear(publisher, publish(2, Audience::Everyone)), []);
    let changes = floor.exchange.take_changes();
    assert_eq!(changes.events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2]);
    let newcomer = floor.gateway();
    floor.hear(newcomer, interest(1, &[(Audience::Everyone, Some(1))]));
    assert_eq!(floor.hear(newcomer, cursor(EPOCH, 0)), attached(newcomer, (0, None), vec![], 0));
    assert_eq!(
        floor.stored(1),
        [
            Effect::Route { links: vec![gateway, newcomer], frame: event(1, Audience::Everyone) },
            send(publisher, accepted(1, 1, 1, 2)),
        ]
    );
    assert_eq!(floor.exchange.log.head().sequence, 1);
    assert_eq!(floor.stored(1), []);
}

#[test]
fn a_number_that_is_repeated_is_accepted_once_and_answered_again() {
    let mut floor = Floor::on_disk();
    let publisher = floor.publisher();
    floor.hear(publisher, publish(5, Audience::Everyone));
    assert_eq!(floor.hear(publisher, publish(5, Audience::Everyone)), []);
    floor.exchange.remove(publisher, NOW);
    assert_eq!(floor.stored(1), [], "there is nobody to tell");
    let again = floor.enter_again(Role::Publisher { unanswered: 5 }).link;
    assert_eq!(
        floor.hear(again, publish(5, Audience::Everyone)),
        [send(again, accepted(5, 1, 0, 0))]
    );
    floor.exchange.close();
    assert_eq!(
        floor.hear(again, publish(5, Audience::Everyone)),
        [send(again, accepted(5, 1, 0, 0))],
        "it was accepted, whatever happens now"
    );
    assert_eq!(floor.exchange.take_changes().events.len(), 1);
}

#[test]
fn a_publisher_that_comes_back_before_its_event_is_durable_is_told_on_its_new_link() {
    let mut floor = Floor::on_disk();
    let publisher = floor.publisher();
    floor.hear(publisher, publish(5, Audience::Everyone));
    let again = floor.enter_again(Role::Publisher { unanswered: 5 });
    assert_eq!(again.replaced, Some(publisher));
    assert_eq!(floor.hear(again.link, publish(5, Audience::Everyone)), []);
    assert_eq!(floor.stored(1), [send(again.link, accepted(5, 1, 0, 0))]);
}

#[test]
fn a_key_that_is_repeated_by_anybody_is_accepted_once() {
    let mut floor = Floor::on_disk();
    let (one, other) = (floor.publisher(), floor.publisher());
    floor.hear(one, publish_as("k", 1, "hi"));
    assert_eq!(floor.hear(other, publish_as("k", 7, "hi")), [], "it waits for the first");
    assert_eq!(
        floor.hear(other, publish_as("k", 8, "something else")),
        [send(other, refused(8, Refusal::IdTaken))]
    );
    assert_eq!(
        floor.stored(1),
        [send(one, accepted(1, 1, 0, 0)), send(other, accepted(7, 1, 0, 0))]
    );
    assert_eq!(floor.hear(other, publish_as("k", 9, "hi")), [send(other, accepted(9, 1, 0, 0))]);
    let changes = floor.exchange.take_changes();
    assert_eq!((changes.events.len(), changes.ids.len()), (1, 1));
}

#[test]
fn past_the_bound_in_keys_new_ones_are_refused_until_old_ones_are_old_enough() {
    let mut floor = Floor::new();
    let publisher = floor.publisher();
    floor.hear(publisher, publish_as("a", 1, "hi"));
    floor.hear(publisher, publish_as("b", 2, "hi"));
    assert_eq!(
        floor.hear(publisher, publish_as("c", 3, "hi")),
        [send(publisher, refused(3, Refusal::IdsFull))]
    );
    assert_eq!(
        floor.hear(publisher, publish_as("a", 4, "hi")),
        [send(publisher, accepted(4, 1, 0, 0))]
    );
    floor.tick(NOW + crate::broker::ids::REMEMBERED);
    assert_eq!(
        floor.hear(publisher, publish_as("c", 5, "hi")),
        [send(publisher, accepted(5, 3, 0, 0))]
    );
}

#[test]
fn what_an_earlier_broker_accepted_is_replayed_answered_again_and_never_numbered_again() {
    let mut earlier = Floor::on_disk();
    let publisher = earlier.publisher();
    earlier.hear(publisher, publish_as("k", 1, "hi"));
    earlier.hear(publisher, publish(2, Audience::Everyone));
    let Changes { events, ids, .. } = earlier.exchange.take_changes();
    let mut floor = Floor::starting(|start| {
        (start.keeps, start.durability) = (true, Durability::Disk);
        (start.events, start.ids, start.log.head) = (events, ids, 2);
    });
    let publisher = floor.publisher();
    assert_eq!(
        floor.hear(publisher, publish(2, Audience::Everyone)),
        [send(publisher, accepted(2, 2, 0, 0))]
    );
    assert_eq!(
        floor.hear(publisher, publish_as("k", 9, "hi")),
        [send(publisher, accepted(9, 1, 0, 0))]
    );
    floor.hear(publisher, publish(10, Audience::Everyone));
    assert_eq!(floor.stored(3), [send(publisher, accepted(10, 3, 0, 0))]);
    let gateway = floor.gateway();
    floor.hear(gateway, interest(1, &[(Audience::Everyone, Some(1))]));
    let frames = vec![event(2, Audience::Everyone), event(3, Audience::Everyone)];
    assert_eq!(floor.hear(gateway, cursor(EPOCH, 1)), attached(gateway, (1, None), frames, 3));
}

#[test]
fn a_gateway_is_told_a_gap_only_if_something_that_it_wanted_is_lost() {
    let mut floor = Floor::starting(|start| {
        start.log.trimmed = vec![(group("news"), 5), (group("other"), 9)];
        start.log.head = 20;
    });
    let attach = |floor: &mut Floor, sequence| {
        let gateway = floor.gateway();
        floor.hear(gateway, interest(1, &[(group("news"), Some(1)), (group("new"), Some(1))]));
        (gateway, floor.hear(gateway, cursor(EPOCH, sequence)))
    };
    let (gateway, effects) = attach(&mut floor, 5);
    assert_eq!(effects, attached(gateway, (5, None), vec![], 20));
    let (gateway, effects) = attach(&mut floor, 4);
    assert_eq!(effects, attached(gateway, (5, Some(Gap::Expired)), vec![], 20));
}

#[test]
fn a_gateway_that_has_seen_more_than_the_log_has_begins_a_new_epoch() {
    let mut floor = Floor::on_disk();
    let publisher = floor.publisher();
    floor.hear(publisher, publish_as("k", 1, "hi"));
    let gateway = floor.gateway();
    assert_eq!(floor.hear(gateway, cursor(EPOCH, 1)), [Effect::BeginEpoch]);
    floor.exchange.remove(publisher, NOW);
    floor.exchange.remove(gateway, NOW);
    floor.exchange.begin_epoch(EPOCH + 1);
    assert_eq!(floor.stored(1), [], "what was staged belongs to the old epoch");
    assert!(floor.exchange.take_changes().is_empty());
    let publisher = floor.publisher();
    floor.hear(publisher, publish_as("k", 1, "hi"));
    assert_eq!(floor.stored(2), [send(publisher, accepted(1, 2, 0, 0))]);
}

#[test]
fn the_past_of_audiences_is_fetched_in_the_frames_of_the_log() {
    let mut floor = Floor::new();
    let publisher = floor.publisher();
    for (number, name) in [(1, "news"), (2, "other"), (3, "news")] {
        floor.hear(publisher, publish(number, group(name)));
    }
    let gateway = floor.gateway();
    let want = |since, names: &[&'static str]| Want {
        since,
        audiences: names.iter().copied().map(group).collect(),
    };
    let past = |name, events, complete_after| {
        let audience = group(name);
        FromBroker::Past { audience, events, expired: 0, complete_after }.encode()
    };
    let mut fetch =
        |wants, max_bytes| floor.hear(gateway, ToBroker::Fetch { number: 4, wants, max_bytes });
    let fetched = |served| FromBroker::Fetched { number: 4, served }.encode();
    let wants = vec![want(1, &["news", "quiet"]), want(0, &["news", "other"])];
    let first = [past("news", 1, 1), event(3, group("news")), past("quiet", 0, 1)];
    let second = [
        past("news", 1, 0),
        event(1, group("news")),
        past("other", 1, 0),
        event(2, group("other")),
    ];
    let replay = |frames: Vec<_>| [Effect::Replay { link: gateway, frames }];
    assert_eq!(
        fetch(wants.clone(), 1_000),
        replay([&first[..], &second, &[fetched(2)]].concat()),
        "no event twice"
    );
    assert_eq!(fetch(wants, 1), replay([&first[..], &[fetched(1)]].concat()), "the rest later");
}

#[test]
fn a_quiet_gateway_is_told_once_where_the_log_ends() {
    let mut floor = Floor::new();
    let publisher = floor.publisher();
    let quiet = floor.listener(group("quiet"), 1);
    let _not_attached = floor.gateway();
    floor.hear(publisher, publish(1, group("news")));
    assert_eq!(floor.tick(NOW), [send(quiet, FromBroker::Mark { head: 1 })]);
    assert_eq!(floor.tick(NOW), []);
}

#[test]
fn gateways_count_when_a_publisher_asks_and_their_tallies_go_to_it() {
    let mut floor = Floor::new();
    let publisher = floor.publisher();
    let one = floor.listener(Audience::Everyone, 3);
    let other = floor.listener(Audience::Everyone, 0);
    let mut asked = publish(6, Audience::Everyone);
    let ToBroker::Publish { count_within_millis, .. } = &mut asked else { unreachable!() };
    *count_within_millis = Some(500);
    let lost = floor.gateway();
    floor.exchange.remove(lost, NOW);
    let ticket = Ticket { link: publisher.0, number: 6 };
    let count = FromBroker::Count { ticket, sequence: 1, within_millis: 500 };
    assert_eq!(
        floor.hear(publisher, asked),
        [
            send(one, count.clone()),
            send(other, count),
            Effect::Route { links: vec![one, other], frame: event(1, Audience::Everyone) },
            send(
                publisher,
                FromBroker::Accepted {
                    number: 6,
                    sequence: 1,
                    gateways: 1,
                    matched: 3,
                    counting: 2,
                    away: 1
                }
            ),
        ]
    );
    let tally = Tally { matched: 3, written: 2, too_slow: 1 };
    assert_eq!(
        floor.hear(one, ToBroker::Counted { ticket, tally }),
        [send(publisher, FromBroker::Counted { number: 6, tally })]
    );
}

#[test]
fn what_is_dropped_from_the_log_goes_from_the_disk_when_its_publisher_cannot_repeat_it() {
    let mut floor = Floor::on_disk();
    let publisher = floor.publisher();
    floor.hear(publisher, publish(1, Audience::Everyone));
    floor.hear(publisher, publish(2, Audience::Everyone));
    floor.stored(2);
    floor.exchange.take_changes();
    let mut third = publish(3, group("news"));
    let ToBroker::Publish { unanswered, .. } = &mut third else { unreachable!() };
    *unanswered = 2;
    floor.hear(publisher, third);
    floor.tick(NOW + Duration::from_secs(300));
    let trim = floor.exchange.take_changes().trim.unwrap();
    assert_eq!(trim.last, [(Audience::Everyone, 1), (Audience::Everyone, 2)]);
    assert_eq!(trim.below, 2, "the second may be repeated");
}

#[test]
fn what_is_dropped_of_what_an_earlier_broker_left_goes_to_disk_too() {
    let mut earlier = Floor::on_disk();
    let publisher = earlier.publisher();
    for number in 1..=3 {
        earlier.hear(publisher, publish(number, group("news")));
    }
    let events = earlier.exchange.take_changes().events;
    let mut floor = Floor::starting(|start| {
        (start.keeps, start.durability) = (true, Durability::Disk);
        (start.events, start.log.head, start.log.max_bytes) = (events, 3, 1_000);
    });
    let trim = floor.exchange.take_changes().trim.unwrap();
    assert_eq!(trim.last, [(group("news"), 1), (group("news"), 2)]);
    assert_eq!(trim.below, 1, "they may still be repeated");
}

#[test]
fn worker_ids_that_are_counted_go_on_where_they_stood() {
    let mut floor = Floor::starting(|start| start.worker_ids = Supply::Counted(4));
    let hello = |instance, role| Hello { instance: InstanceId(instance), role };
    let new = floor.exchange.enter(hello(1, gateway_role(&[])), NOW).unwrap();
    assert_eq!(new.welcome.workers, [WorkerId(4)]);
    assert_eq!(floor.exchange.next_worker(), Some(5));
    let known = floor.exchange.enter(hello(2, gateway_role(&[9])), NOW).unwrap();
    assert_eq!(known.welcome.workers, [WorkerId(9)]);
    assert_eq!(floor.exchange.next_worker(), Some(10), "this log is an older copy");
    assert_eq!(floor.exchange.workers.find(WorkerId(3), NOW), Whereabouts::Away);
    assert_eq!(floor.exchange.workers.find(WorkerId(11), NOW), Whereabouts::Unknown);
}

#[test]
fn a_head_has_all_that_was_accepted_and_nothing_that_is_staged() {
    let mut floor = Floor::on_disk();
    let publisher = floor.publisher();
    let listener = floor.listener(Audience::Everyone, 1);
    let epoch = floor.exchange.log.head().epoch;
    let head = |number, sequence| FromBroker::Head { number, head: Position { epoch, sequence } };
    floor.hear(publisher, publish(1, Audience::Everyone));
    floor.stored(1);
    floor.hear(publisher, publish(2, Audience::Everyone));
    for (number, link) in [(7, publisher), (8, listener)] {
        let said = floor.hear(link, ToBroker::AskHead { number });
        assert_eq!(said, [send(link, head(number, 1))], "the second is not accepted yet");
    }
    let released = floor.stored(2);
    let routed = Effect::Route { links: vec![listener], frame: event(2, Audience::Everyone) };
    assert_eq!(released[0], routed);
    let said = floor.hear(publisher, ToBroker::AskHead { number: 9 });
    assert_eq!(said, [send(publisher, head(9, 2))]);
}

#[test]
fn a_broker_that_starts_remembers_for_as_long_as_was_left_and_no_longer() {
    let mut earlier = Floor::on_disk();
    let publisher = earlier.publisher();
    earlier.hear(publisher, publish_as("a", 1, "hi"));
    let changes = earlier.exchange.take_changes();
    let secs = Duration::from_secs;
    // Started again 100 s later, and 250 s later; the log keeps events for 300 s.
    for (age, id_left, event_left) in [(100, 50, 200), (250, 0, 50)] {
        let (events, ids) = (changes.events.clone(), changes.ids.clone());
        let now = NOW + secs(age);
        let mut floor = Floor::starting(|start| {
            (start.keeps, start.durability, start.now) = (true, Durability::Disk, now);
            (start.events, start.ids, start.log.head) = (events, ids, 1);
            start.log.keep_until = now + RETURN_LIMIT;
        });
        let nano = Duration::from_nanos(1);
        if id_left > 0 {
            floor.tick(now + secs(id_left) - nano);
            assert_eq!(floor.exchange.take_changes().forgotten_ids, []);
        }
        floor.tick(now + secs(id_left));
        assert_eq!(floor.exchange.take_changes().forgotten_ids.len(), 1, "after {age} s");
        floor.tick(now + secs(event_left) - nano);
        assert_eq!(floor.exchange.log.tail(), 0);
        floor.tick(now + secs(event_left));
        assert_eq!(floor.exchange.log.tail(), 1, "after {age} s");
        assert!(!floor.exchange.remembers());
    }
}
