//! What proposals have to do. `model` lets random brokers stage what a naive model stages, too.

mod forming;
mod model;

use bytes::Bytes;
use campanile_messages::{
    Address, Audience, ConnectionId, Content, IdempotencyKey, UserName, WorkerId,
};

use super::queue::{MAX_REPEATS, REPEAT_BYTES};
use super::*;
use crate::broker::ledger::decisions::Decided;

const AT: Duration = Duration::from_secs(1_000);
const TOO_MANY: Taken = Taken::Refused(Refusal::TooManyUnanswered);
const A: InstanceId = InstanceId(1);
const B: InstanceId = InstanceId(2);

fn publish(publisher: InstanceId, number: Number) -> Publish {
    Publish {
        publisher,
        number,
        id: None,
        count_within_millis: None,
        audience: Audience::Everyone,
        except: None,
        content: "hi".into(),
        from: None,
        trace: None,
    }
}

fn keyed(publisher: InstanceId, number: Number, id: &str) -> Publish {
    let id = Some(IdempotencyKey::new(id.to_owned()).unwrap());
    Publish { id, ..publish(publisher, number) }
}

fn by_client(publisher: InstanceId, number: Number, id: &str) -> Publish {
    Publish { from: Some(UserName::new("42").unwrap()), ..keyed(publisher, number, id) }
}

/// A broker, and the log as far as it has applied it.
struct Fixture {
    proposals: Proposals,
    ledger: Ledger,
}

impl Fixture {
    fn new(max_ids: usize) -> Self {
        let proposals = Proposals::new(InstanceId(100), max_ids);
        Self { proposals, ledger: Ledger::new(7, 0) }
    }

    fn take(&mut self, publish: Publish) -> Taken {
        self.take_at(publish, AT)
    }

    fn take_at(&mut self, publish: Publish, now: Duration) -> Taken {
        self.proposals.take(publish, &self.ledger, false, now)
    }

    fn form(&mut self, now: Duration) -> (Option<Block>, Vec<Known>) {
        let mut known = Vec::new();
        (self.proposals.form(&self.ledger, now, &mut known), known)
    }

    fn block(&mut self) -> Block {
        let (block, known) = self.form(AT);
        assert_eq!(known, []);
        block.expect("something is staged")
    }

    /// A block becomes the next of the log.
    fn apply(&mut self, block: Block, at: Duration) -> (Applied, Vec<Option<Here>>) {
        let mut applied = self.ledger.apply(self.ledger.seen().block + 1, at, 0, block);
        let here = self.proposals.landed(&mut applied);
        (applied, here)
    }

    /// Forms a block, which comes back at once.
    fn write(&mut self) -> (Vec<Decided>, Vec<Option<Here>>) {
        let block = self.block();
        let at = block.at;
        let (applied, here) = self.apply(block, at);
        assert_eq!(applied.verdict, Verdict::Counts);
        (applied.decided, here)
    }

    /// Another broker, which has seen everything, writes this.
    fn other_writes(&mut self, publishes: Vec<Publish>, at: Duration) {
        let mut other = Proposals::new(InstanceId(200 + self.ledger.seen().block), 100);
        for publish in publishes {
            assert_eq!(other.take(publish, &self.ledger, false, at), Taken::Staged);
        }
        let block = other.form(&self.ledger, at, &mut Vec::new());
        let block = block.or_else(|| other.beat(&self.ledger, at)).expect("none is in flight");
        assert_eq!(self.apply(block, at).1, []);
    }
}

/// The numbers of the pushes of a block.
fn numbers(block: &Block) -> Vec<Number> {
    let number = |entry: &Entry| match entry {
        Entry::Push(push) => push.number,
        Entry::Workers { below } => panic!("worker ids below {below}"),
    };
    block.entries.iter().map(number).collect()
}

fn waiting(repeats: &[(InstanceId, Number)]) -> Here {
    Here { repeated_by: repeats.iter().copied().collect(), ..Here::default() }
}

#[test]
fn a_push_is_staged_until_its_block_was_applied() {
    let mut broker = Fixture::new(10);
    let asking = Publish { count_within_millis: Some(5), ..publish(A, 1) };
    assert_eq!(broker.take(asking.clone()), Taken::Staged);
    let (decided, here) = broker.write();
    let [Decided::Accepted { sequence: 0x1_0001, push }] = &decided[..] else {
        panic!("{decided:?}");
    };
    assert!(push.asks);
    assert_eq!(here, [Some(Here { count_within_millis: Some(5), ..Here::default() })]);
    assert_eq!(broker.take(asking), Taken::Repeated { first: 0x1_0001 });
    assert!(broker.proposals.is_idle());
}

#[test]
fn a_repeated_number_is_staged_once() {
    let mut broker = Fixture::new(10);
    for number in [1, 2, 1, 2] {
        assert_eq!(broker.take(publish(A, number)), Taken::Staged);
    }
    let block = broker.block();
    assert_eq!(numbers(&block), [1, 2]);
    assert_eq!(broker.take(publish(A, 1)), Taken::Staged);
    assert_eq!(broker.apply(block, AT).1.len(), 2);
    assert_eq!(broker.form(AT), (None, vec![]));
}

#[test]
fn a_refused_number_is_new_even_after_later_ones() {
    let mut broker = Fixture::new(0);
    assert_eq!(broker.take(keyed(A, 1, "a")), Taken::Refused(Refusal::IdsFull));
    assert_eq!(broker.take(publish(A, 2)), Taken::Staged);
    broker.write();
    assert_eq!(broker.take(publish(A, 1)), Taken::Staged);
    assert_eq!(numbers(&broker.block()), [1]);
}

#[test]
fn repeats_under_an_id_wait_with_the_first_in_flight_or_not() {
    let mut broker = Fixture::new(10);
    assert_eq!(broker.take(keyed(A, 1, "a")), Taken::Staged);
    assert_eq!(broker.take(keyed(B, 1, "a")), Taken::Staged);
    let block = broker.block();
    assert_eq!(broker.take(keyed(B, 2, "a")), Taken::Staged);
    assert_eq!(broker.apply(block, AT).1, [Some(waiting(&[(B, 1), (B, 2)]))]);
    assert_eq!(broker.take(keyed(B, 3, "a")), Taken::Repeated { first: 0x1_0001 });
}

#[test]
fn an_id_with_another_content_is_refused() {
    let mut broker = Fixture::new(10);
    let other = || Publish { content: "ho".into(), ..keyed(B, 1, "a") };
    assert_eq!(broker.take(keyed(A, 1, "a")), Taken::Staged);
    assert_eq!(broker.take(other()), Taken::Refused(Refusal::IdTaken));
    broker.write();
    assert_eq!(broker.take(other()), Taken::Refused(Refusal::IdTaken));
}

#[test]
fn a_client_may_repeat_a_push_on_another_connection() {
    let mut broker = Fixture::new(100);
    let but = |connection, publish| {
        let except = Address { worker: WorkerId(1), connection: ConnectionId(connection) };
        Publish { except: Some(except), ..publish }
    };
    assert_eq!(broker.take(but(1, by_client(A, 1, "a"))), Taken::Staged);
    assert_eq!(broker.take(but(2, by_client(B, 1, "a"))), Taken::Staged);
    // For a backend it is another push.
    assert_eq!(broker.take(but(1, keyed(A, 2, "a"))), Taken::Staged);
    let taken = Taken::Refused(Refusal::IdTaken);
    assert_eq!(broker.take(but(2, keyed(B, 2, "a"))), taken);
}

#[test]
fn waiting_repeats_of_a_push_are_bounded_and_counted() {
    let mut broker = Fixture::new(10);
    assert_eq!(broker.take(keyed(A, 1, "a")), Taken::Staged);
    let staged_bytes = broker.proposals.staged_bytes();
    for number in 1..=MAX_REPEATS as u64 {
        assert_eq!(broker.take(keyed(B, number, "a")), Taken::Staged);
    }
    let repeats_bytes = MAX_REPEATS * REPEAT_BYTES;
    assert_eq!(broker.proposals.staged_bytes(), staged_bytes + repeats_bytes);
    assert_eq!(broker.take(keyed(InstanceId(3), 1, "a")), TOO_MANY);
    // A repeat that already waits may come again.
    assert_eq!(broker.take(keyed(B, 7, "a")), Taken::Staged);
    assert_eq!(broker.take(keyed(A, 1, "a")), Taken::Staged);
    let (_, here) = broker.write();
    assert_eq!(here[0].as_ref().unwrap().repeated_by.len(), MAX_REPEATS);
    assert_eq!(broker.proposals.staged_bytes(), 0);
}

#[test]
fn a_full_table_of_ids_counts_staged_ones_and_those_in_flight() {
    let mut broker = Fixture::new(3);
    let full = Taken::Refused(Refusal::IdsFull);
    assert_eq!(broker.take(keyed(A, 1, "a")), Taken::Staged);
    broker.write();
    assert_eq!(broker.take(keyed(A, 2, "b")), Taken::Staged);
    let block = broker.block();
    assert_eq!(broker.take(keyed(A, 3, "c")), Taken::Staged);
    assert_eq!(broker.take(keyed(A, 4, "d")), full);
    assert_eq!(broker.take(keyed(B, 1, "c")), Taken::Staged, "it needs no room");
    assert_eq!(broker.take(publish(A, 4)), Taken::Staged);
    broker.apply(block, AT);
    assert_eq!(broker.take(keyed(A, 5, "d")), full);
    // The first two are not answered for after that time.
    let later = AT + Duration::from_secs(150);
    let block = broker.form(later).0.unwrap();
    broker.apply(block, later);
    assert_eq!(broker.take_at(keyed(A, 5, "d"), later), Taken::Staged);
    assert_eq!(broker.take_at(keyed(A, 6, "e"), later), Taken::Staged);
    assert_eq!(broker.take_at(keyed(A, 7, "f"), later), full);
}

#[test]
fn the_ids_of_clients_take_at_most_a_tenth_of_the_table() {
    let mut broker = Fixture::new(20);
    let full = Taken::Refused(Refusal::IdsFull);
    assert_eq!(broker.take(by_client(A, 1, "a")), Taken::Staged);
    broker.write();
    assert_eq!(broker.take(by_client(A, 2, "b")), Taken::Staged);
    assert_eq!(broker.take(by_client(A, 3, "c")), full);
    for number in 4..22 {
        assert_eq!(broker.take(keyed(A, number, &format!("b{number}"))), Taken::Staged);
    }
    assert_eq!(broker.take(keyed(A, 22, "d")), full, "backends have the rest");
}

#[test]
fn a_closing_broker_accepts_repeats_only() {
    let mut broker = Fixture::new(10);
    assert_eq!(broker.take(publish(A, 1)), Taken::Staged);
    broker.write();
    assert_eq!(broker.take(keyed(A, 2, "a")), Taken::Staged);
    let mut closing = |publish| broker.proposals.take(publish, &broker.ledger, true, AT);
    assert_eq!(closing(publish(A, 1)), Taken::Repeated { first: 0x1_0001 });
    assert_eq!(closing(keyed(A, 2, "a")), Taken::Staged);
    assert_eq!(closing(keyed(B, 1, "a")), Taken::Staged);
    assert_eq!(closing(publish(A, 3)), Taken::Refused(Refusal::ShuttingDown));
}

#[test]
fn a_staged_content_does_not_keep_its_read_buffer() {
    let mut broker = Fixture::new(10);
    let buffer = Bytes::from(vec![b'x'; 1_000]);
    let content = Content::Binary(buffer.slice(10..20));
    assert_eq!(broker.take(Publish { content, ..publish(A, 1) }), Taken::Staged);
    let block = broker.block();
    let Some(Entry::Push(push)) = block.entries.first() else { panic!("{block:?}") };
    assert_eq!(push.content.as_bytes(), &buffer[10..20]);
    assert!(!buffer.as_ptr_range().contains(&push.content.as_bytes().as_ptr()));
}

#[test]
fn a_publisher_without_room_is_refused_unless_it_has_news() {
    let mut broker = Fixture::new(10);
    let most = super::super::numbers::MAX_UNANSWERED as u64;
    for number in 1..=most {
        assert_eq!(broker.take(publish(A, number)), Taken::Staged);
    }
    broker.write();
    broker.write();
    assert_eq!(broker.take(publish(A, most + 1)), TOO_MANY);
    assert_eq!(broker.take(publish(A, 1)), Taken::Repeated { first: 0x1_0001 });
    broker.proposals.settle(A, 2, &broker.ledger);
    assert_eq!(broker.take(publish(A, most + 1)), Taken::Staged);
    let block = broker.block();
    assert_eq!(block.settled, [(A, 2)]);
    assert_eq!(broker.take(publish(A, most + 2)), Taken::Staged);
    broker.apply(block, AT);
    assert_eq!(broker.take(publish(A, most + 3)), TOO_MANY);
    assert_eq!(broker.take(publish(A, 1)), TOO_MANY, "nobody waits for it");
}
