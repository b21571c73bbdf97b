mod clients;
mod counts;
mod inquiries;
mod links;
mod publishes;
mod restarts;
mod spans;
mod streams;
mod traces;

use campanile_messages::link::{
    DirectOutcome, Gap, Matched, Number, Refusal, RequestTicket, Tally, Want,
};
use campanile_messages::{
    Address, Audience, ConnectionId, EncodedFrame, Event, GroupName, IdempotencyKey, Position,
    UserName, WorkerId,
};

use super::*;
use crate::broker::worker_ids::Whereabouts;

const NOW: Duration = Duration::from_secs(1_000_000);
const RETURN_LIMIT: Duration = Duration::from_secs(20);
const EPOCH: u64 = 7;

/// An exchange, and short ways to say what its peers say.
struct TestBroker {
    exchange: Exchange,
    instances: u64,
}

impl TestBroker {
    fn new() -> Self {
        Self::starting(|_| {})
    }

    /// A broker with a disk, on which events are durable when the test says so.
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
            identity: LogIdentity::own(0xab),
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

    /// The process that came last returns.
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

    /// An attached gateway with this many connections that listen to `audience`.
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
    let (except, from) = (None, None);
    ToBroker::Publish {
        number,
        unanswered,
        id,
        count_within_millis,
        audience,
        except,
        content,
        from,
    }
}

fn publish_as(key: &'static str, number: Number, content: &'static str) -> ToBroker {
    let mut publish = publish(number, Audience::Everyone);
    let ToBroker::Publish { id, content: said, .. } = &mut publish else { unreachable!() };
    (*id, *said) = (Some(IdempotencyKey::new(key).unwrap()), content.into());
    publish
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
    let (except, content, from) = (None, "hi".into(), None);
    FromBroker::Event(Event { sequence, audience, except, content, from }).encode()
}

fn send(link: LinkNumber, message: FromBroker) -> Effect {
    Effect::Send { link, message }
}

fn accepted(number: Number, sequence: u64, gateways: u32, matched: u64) -> FromBroker {
    let matched = Some(Matched { gateways, connections: matched });
    FromBroker::Accepted { number, sequence, matched, counting: 0, away: 0 }
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
        Effect::CatchUp { link, frames },
        send(link, FromBroker::Confirmed { revision: 1, head }),
    ]
}
