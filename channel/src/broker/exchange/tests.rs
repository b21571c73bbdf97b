use campanile_messages::{ConnectionId, Event, GroupName, WorkerId};

use super::*;

const NOW: Duration = Duration::from_secs(1);
const EPOCH: u64 = 7;

/// An exchange with a short way to say what links say.
struct Floor {
    exchange: Exchange,
    instances: u64,
}

impl Floor {
    fn new() -> Self {
        let exchange = Exchange::new(Start {
            epoch: EPOCH,
            first_link: 100,
            random: Box::new(|| 10),
            log_max_bytes: 1 << 20,
            log_max_age: Duration::from_secs(10),
            max_links: 4,
            max_audiences_per_link: 3,
        });
        Self { exchange, instances: 0 }
    }

    fn enter(&mut self, role: Role) -> LinkNumber {
        self.instances += 1;
        let instance = InstanceId(self.instances);
        let hello = Hello { instance, role };
        self.exchange.enter(hello, NOW).unwrap().link
    }

    fn publisher(&mut self) -> LinkNumber {
        self.enter(Role::Publisher)
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
    ToBroker::Publish { number, audience, content: "hi".into() }
}

fn push(number: Number, worker: WorkerId) -> ToBroker {
    ToBroker::Push { number, to: at(worker), content: "psst".into() }
}

fn at(worker: WorkerId) -> Address {
    Address { worker, connection: ConnectionId(7) }
}

fn event(sequence: u64, audience: Audience) -> EncodedFrame {
    FromBroker::Event(Event { sequence, audience, content: "hi".into() }).encode()
}

fn send(link: LinkNumber, message: FromBroker) -> Effect {
    Effect::Send { link, message }
}

fn accepted(number: Number, sequence: u64, gateways: u32, matched: u64) -> FromBroker {
    FromBroker::Accepted { number, sequence, gateways, matched }
}

fn cursor(epoch: u64, sequence: u64) -> ToBroker {
    let cursor = Some(Position { epoch, sequence });
    ToBroker::Attach { cursor }
}

/// What a gateway with interest of revision 1 gets on attach.
fn attached(link: LinkNumber, frames: Vec<EncodedFrame>, lost: u64, head: u64) -> Vec<Effect> {
    vec![
        Effect::Replay { link, frames },
        send(link, FromBroker::Attached { lost }),
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
        attached(gateway, vec![], 0, 1)
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
        attached(gateway, vec![event(3, group("news"))], 0, 3)
    );
    let from_another_broker = floor.gateway();
    floor.hear(from_another_broker, interest(1, &[(group("news"), Some(1))]));
    let all = vec![event(1, group("news")), event(3, group("news"))];
    assert_eq!(
        floor.hear(from_another_broker, cursor(EPOCH + 1, 50)),
        attached(from_another_broker, all, 0, 3)
    );
}

#[test]
fn an_attach_without_interest_is_not_confirmed() {
    let mut floor = Floor::new();
    let gateway = floor.gateway();
    let effects = floor.hear(gateway, ToBroker::Attach { cursor: None });
    assert_eq!(effects, attached(gateway, vec![], 0, 0)[..2]);
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
    floor.exchange.tick(NOW + Duration::from_secs(60));
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
    let hello = Hello { instance: InstanceId(floor.instances), role: Role::Publisher };
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
    let hello = |instance| Hello { instance: InstanceId(instance), role: Role::Publisher };
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
    let refused = FromBroker::Refused { number: 1, refusal: Refusal::ShuttingDown };
    assert_eq!(floor.hear(publisher, publish(1, Audience::Everyone)), [send(publisher, refused)]);
    let unknown = FromBroker::Answered { number: 2, outcome: Outcome::UnknownWorker };
    assert_eq!(floor.hear(publisher, push(2, WorkerId(1))), [send(publisher, unknown)]);
    let hello = Hello { instance: InstanceId(99), role: Role::Publisher };
    let entered = floor.exchange.enter(hello, NOW);
    assert_eq!(entered, Err(Unwelcome::ShuttingDown));
}

#[test]
fn a_full_log_is_told_to_the_publisher() {
    let mut floor = Floor::new();
    let publisher = floor.publisher();
    let large = ToBroker::Publish {
        number: 1,
        audience: Audience::Everyone,
        content: Content::Binary(vec![0; 1 << 20].into()),
    };
    let refused = FromBroker::Refused { number: 1, refusal: Refusal::LogFull };
    assert_eq!(floor.hear(publisher, large), [send(publisher, refused)]);
    assert_eq!(floor.exchange.log.head().sequence, 0);
}
