//! Links that come back to the same broker, or to the next one.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod harness;

use campanile_channel::broker::BrokerConfig;
use campanile_messages::link::{DirectOutcome, Gap, Role};
use campanile_messages::{Audience, Content, FromBroker, InstanceId, Position, ToBroker, WorkerId};
use harness::{Peer, TestBroker, event, group};

const GATEWAY: InstanceId = InstanceId(0xbe11);

#[actix::test]
async fn a_returning_gateway_replaces_its_earlier_link_at_once() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let (mut old, welcome) = Peer::gateway_of(&broker, GATEWAY, &[]).await;
    old.attach(&[Audience::Everyone], None).await;
    assert_eq!(old.attached().await, None);
    let held = welcome.workers;
    let (mut new, welcome) = Peer::gateway_of(&broker, GATEWAY, &held).await;
    assert_eq!(welcome.workers, held);
    new.attach(&[Audience::Everyone], Some(welcome.head)).await;
    assert_eq!(new.attached().await, None);
    assert_eq!(
        new.recv().await,
        FromBroker::Confirmed { revision: 1, head: welcome.head.sequence }
    );
    old.until_over().await;
    let mut publisher = Peer::publisher(&broker).await;
    let accepted = publisher.publish_accepted(Audience::Everyone, "hi").await;
    assert_eq!(accepted, (1, 1, 1));
    assert_eq!(new.event().await, event(1, Audience::Everyone, "hi"));
    publisher.push(2, held[0], "psst").await;
    assert!(matches!(new.recv().await, FromBroker::Deliver { .. }));
}

#[actix::test]
async fn what_a_gateway_missed_comes_before_anything_newer() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let mut publisher = Peer::publisher(&broker).await;
    for content in ["one", "two", "three"] {
        publisher.publish_accepted(group("news"), content).await;
    }
    publisher.publish_accepted(group("other"), "four").await;
    let (mut gateway, welcome) = Peer::gateway(&broker).await;
    assert_eq!(welcome.head.sequence, 4);
    let cursor = Position { sequence: 1, ..welcome.head };
    gateway.attach(&[group("news")], Some(cursor)).await;
    // An event that is published now comes after what was missed.
    assert_eq!(gateway.attached().await, None);
    assert_eq!(gateway.event().await, event(2, group("news"), "two"));
    publisher.publish_accepted(group("news"), "five").await;
    assert_eq!(gateway.event().await, event(3, group("news"), "three"));
    assert_eq!(gateway.recv().await, FromBroker::Confirmed { revision: 1, head: 4 });
    assert_eq!(gateway.event().await, event(5, group("news"), "five"));
}

#[actix::test]
async fn missed_events_may_exceed_the_bound_of_a_link() {
    const EVENTS: u64 = 200;
    let broker = TestBroker::start(BrokerConfig {
        max_link_queue_bytes: 64 << 10,
        ..BrokerConfig::default()
    })
    .await;
    let mut publisher = Peer::publisher(&broker).await;
    let content = Content::Binary(vec![b'x'; 100 << 10].into());
    for _ in 0..EVENTS {
        publisher.publish_accepted(Audience::Everyone, content.clone()).await;
    }
    let (mut gateway, welcome) = Peer::gateway(&broker).await;
    let cursor = Position { sequence: 0, ..welcome.head };
    gateway.attach(&[Audience::Everyone], Some(cursor)).await;
    assert_eq!(gateway.attached().await, None);
    assert_eq!(gateway.event().await.sequence, 1);
    publisher.publish_accepted(Audience::Everyone, "live").await;
    for sequence in 2..=EVENTS {
        assert_eq!(gateway.event().await.sequence, sequence);
    }
    assert_eq!(gateway.recv().await, FromBroker::Confirmed { revision: 1, head: EVENTS });
    assert_eq!(gateway.event().await.content, "live".into());
}

#[actix::test]
async fn a_new_broker_keeps_events_for_returning_gateways() {
    let first = TestBroker::start(BrokerConfig::default()).await;
    let address = first.address;
    let (mut gateway, welcome) = Peer::gateway_of(&first, GATEWAY, &[]).await;
    let (held, old_head) = (welcome.workers, welcome.head);
    let mut publisher = Peer::publisher(&first).await;
    publisher.publish_accepted(Audience::Everyone, "old").await;
    first.crash().await;
    gateway.until_over().await;

    let second = TestBroker::start_on(address, BrokerConfig::default()).await;
    let mut publisher = Peer::publisher(&second).await;
    let accepted = publisher.publish_accepted(Audience::Everyone, "new").await;
    assert_eq!(accepted, (1, 0, 0));
    let (mut gateway, welcome) = Peer::gateway_of(&second, GATEWAY, &held).await;
    assert_eq!(welcome.workers, held);
    assert_ne!(welcome.head.epoch, old_head.epoch);
    let cursor = Position { sequence: 1, ..old_head };
    gateway.attach(&[Audience::Everyone], Some(cursor)).await;
    assert_eq!(gateway.attached().await, Some(Gap::EpochChanged));
    assert_eq!(gateway.event().await, event(1, Audience::Everyone, "new"));
    assert_eq!(gateway.recv().await, FromBroker::Confirmed { revision: 1, head: 1 });
    publisher.publish_accepted(Audience::Everyone, "live").await;
    assert_eq!(gateway.event().await, event(2, Audience::Everyone, "live"));
}

#[actix::test]
async fn the_next_broker_gives_out_other_worker_ids() {
    let first = TestBroker::start(BrokerConfig::default()).await;
    let address = first.address;
    let (one, welcome) = Peer::gateway(&first).await;
    let mut seen = welcome.workers;
    drop(one);
    let (two, welcome) = Peer::gateway(&first).await;
    seen.extend(&welcome.workers);
    drop(two);
    first.stop().await;

    let second = TestBroker::start_on(address, BrokerConfig::default()).await;
    for _ in 0..3 {
        let (_, welcome) = Peer::gateway(&second).await;
        seen.extend(&welcome.workers);
    }
    let given = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), given);
    assert!(seen.iter().all(|id| id.0 < 1 << 53));
}

#[actix::test]
async fn an_answer_for_an_earlier_broker_reaches_nobody() {
    let first = TestBroker::start(BrokerConfig::default()).await;
    let mut publisher = Peer::publisher(&first).await;
    let (mut gateway, welcome) = Peer::gateway_of(&first, GATEWAY, &[]).await;
    publisher.push(5, welcome.workers[0], "psst").await;
    let FromBroker::Deliver { ticket, .. } = gateway.recv().await else {
        panic!("not a push");
    };
    first.crash().await;

    let second = TestBroker::start(BrokerConfig::default()).await;
    let mut publisher = Peer::publisher(&second).await;
    let (mut gateway, _) = Peer::gateway_of(&second, GATEWAY, &welcome.workers).await;
    let outcome = DirectOutcome::Written;
    gateway.send(ToBroker::Delivered { ticket, outcome }).await;
    gateway.attach(&[], None).await;
    assert_eq!(gateway.attached().await, None);
    publisher.assert_publishes().await;
}

#[actix::test]
async fn a_gateway_cannot_claim_the_worker_of_another() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let (mut owner, welcome) = Peer::gateway_of(&broker, GATEWAY, &[]).await;
    let worker = welcome.workers[0];
    let mut thief = Peer::connect(&broker).await;
    let role = Role::Gateway { workers: 1, held: vec![worker] };
    let reason = thief.hello(InstanceId(1), role).await.unwrap_err();
    assert_eq!(reason, format!("worker id {worker} belongs to the gateway of instance {GATEWAY}"));
    let mut publisher = Peer::publisher(&broker).await;
    publisher.push(1, worker, "psst").await;
    assert!(matches!(owner.recv().await, FromBroker::Deliver { .. }));
    publisher.push(2, WorkerId(worker.0 + 1), "psst").await;
    assert_eq!(publisher.outcome(2).await, DirectOutcome::UnknownWorker);
}

#[actix::test]
async fn a_gateway_that_returns_too_late_learns_of_the_gap() {
    let log_max_bytes = 300 << 10;
    let broker = TestBroker::start(BrokerConfig { log_max_bytes, ..BrokerConfig::default() }).await;
    let mut publisher = Peer::publisher(&broker).await;
    let content = Content::Binary(vec![b'x'; 100 << 10].into());
    for _ in 0..4 {
        publisher.publish_accepted(Audience::Everyone, content.clone()).await;
    }
    let (mut gateway, welcome) = Peer::gateway(&broker).await;
    let cursor = Position { sequence: 0, ..welcome.head };
    gateway.attach(&[Audience::Everyone], Some(cursor)).await;
    let from = Position { sequence: 2, ..welcome.head };
    let gap = Some(Gap::Expired);
    assert_eq!(gateway.recv().await, FromBroker::Attached { from, gap });
    assert_eq!(gateway.event().await.sequence, 3);
    assert_eq!(gateway.event().await.sequence, 4);
    assert_eq!(gateway.recv().await, FromBroker::Confirmed { revision: 1, head: 4 });
}
