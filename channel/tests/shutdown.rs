//! A broker that is asked to stop lets its links drain first.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod harness;

use std::time::Duration;

use campanile_channel::broker::BrokerConfig;
use campanile_messages::link::{Refusal, Role};
use campanile_messages::{Audience, Content, FromBroker, InstanceId};
use harness::{Peer, TestBroker, within};
use tokio::net::TcpStream;

const REASON: &str = "the broker is shutting down";

#[actix::test]
async fn accepted_events_are_written_before_the_goodbye() {
    const EVENTS: u64 = 150;
    let broker = TestBroker::start(BrokerConfig {
        shutdown_limit: Duration::from_secs(10),
        ..BrokerConfig::default()
    })
    .await;
    let (mut gateway, _) = Peer::listener(&broker, &[Audience::Everyone]).await;
    let mut publisher = Peer::publisher(&broker).await;
    // This is more than the kernel buffers, so much of it waits in the broker.
    let content = Content::Binary(vec![b'x'; 200 << 10].into());
    for _ in 0..EVENTS {
        publisher.publish_accepted(Audience::Everyone, content.clone()).await;
    }
    let ended = broker.ask_to_stop();
    assert_eq!(publisher.goodbye().await, REASON);
    for sequence in 1..=EVENTS {
        assert_eq!(gateway.event().await.sequence, sequence);
    }
    assert_eq!(gateway.goodbye().await, REASON);
    drop((publisher, gateway));
    within(ended).await.unwrap().unwrap();
}

#[actix::test]
async fn a_publish_during_the_shutdown_is_delivered_or_refused() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let (mut gateway, _) = Peer::listener(&broker, &[Audience::Everyone]).await;
    let mut publisher = Peer::publisher(&broker).await;
    publisher.publish_accepted(Audience::Everyone, "x").await;
    let ended = broker.ask_to_stop();
    let accepted = within(async {
        let mut accepted = 1;
        loop {
            publisher.publish(accepted + 1, Audience::Everyone, "x").await;
            match publisher.recv().await {
                FromBroker::Accepted { .. } => accepted += 1,
                FromBroker::Refused { refusal, .. } => {
                    assert_eq!(refusal, Refusal::ShuttingDown);
                }
                FromBroker::Goodbye { reason } => {
                    assert_eq!(reason, REASON);
                    return accepted;
                }
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    for sequence in 1..=accepted {
        assert_eq!(gateway.event().await.sequence, sequence);
    }
    assert_eq!(gateway.goodbye().await, REASON);
    drop((publisher, gateway));
    within(ended).await.unwrap().unwrap();
}

#[actix::test]
async fn sockets_without_a_link_are_refused_at_the_shutdown() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let address = broker.address;
    let mut stranger = Peer::connect(&broker).await;
    // When a later socket has been answered, this one has been accepted.
    let publisher = Peer::publisher(&broker).await;
    let ended = broker.ask_to_stop();
    assert_eq!(stranger.welcome().await.unwrap_err(), REASON);
    drop((stranger, publisher));
    within(ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[actix::test]
async fn a_slow_gateway_cannot_exceed_the_limit_of_a_shutdown() {
    let broker = TestBroker::start(BrokerConfig {
        shutdown_limit: Duration::from_millis(300),
        ..BrokerConfig::default()
    })
    .await;
    let mut gateway = Peer::connect(&broker).await;
    let role = Role::Gateway { workers: 1, held: vec![] };
    gateway.hello(InstanceId(1), role).await.unwrap();
    gateway.attach(&[Audience::Everyone], None).await;
    assert_eq!(gateway.attached().await, None);
    let mut publisher = Peer::publisher(&broker).await;
    let content = Content::Binary(vec![b'x'; 16 << 20].into());
    for _ in 0..2 {
        publisher.publish_accepted(Audience::Everyone, content.clone()).await;
    }
    let asked = tokio::time::Instant::now();
    within(broker.ask_to_stop()).await.unwrap().unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(300));
}

#[actix::test]
async fn a_broker_without_links_stops_at_once() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let asked = tokio::time::Instant::now();
    broker.stop().await;
    assert!(asked.elapsed() < BrokerConfig::default().shutdown_limit);
}
