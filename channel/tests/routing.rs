//! Which links get an event, and in which order.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod harness;

use campanile_channel::broker::BrokerConfig;
use campanile_messages::link::{DirectOutcome, RequestTicket};
use campanile_messages::{Audience, FromBroker, ToBroker, UserName, WorkerId};
use harness::{Peer, TestBroker, address, event, group, within};

#[actix::test]
async fn an_event_for_a_user_reaches_its_listeners() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let user = Audience::User(UserName::new("news").unwrap());
    let (mut theirs, _) = Peer::listener(&broker, std::slice::from_ref(&user)).await;
    let (mut others, _) = Peer::listener(&broker, &[group("news")]).await;
    let mut publisher = Peer::publisher(&broker).await;

    assert_eq!(publisher.publish_accepted(user.clone(), "for one").await, (1, 1, 1));
    assert_eq!(publisher.publish_accepted(group("news"), "for many").await, (2, 1, 1));
    assert_eq!(theirs.event().await, event(1, user, "for one"));
    assert_eq!(others.event().await, event(2, group("news"), "for many"));
}

#[actix::test]
async fn an_event_reaches_each_link_that_wants_it_once() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let all = [Audience::Everyone, group("news")];
    let (mut one, _) = Peer::listener(&broker, &all).await;
    let (mut other, _) = Peer::listener(&broker, &[Audience::Everyone]).await;
    let mut publisher = Peer::publisher(&broker).await;
    let to_news = publisher.publish_accepted(group("news"), "for news").await;
    assert_eq!(to_news, (1, 1, 1));
    let to_all = publisher.publish_accepted(Audience::Everyone, "for all").await;
    assert_eq!(to_all, (2, 2, 2));
    assert_eq!(one.event().await, event(1, group("news"), "for news"));
    assert_eq!(one.event().await, event(2, Audience::Everyone, "for all"));
    assert_eq!(other.event().await, event(2, Audience::Everyone, "for all"));
}

#[actix::test]
async fn interest_is_confirmed_before_its_events_come() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let (mut gateway, _) = Peer::listener(&broker, &[Audience::Everyone]).await;
    let mut publisher = Peer::publisher(&broker).await;
    publisher.publish_accepted(group("eu"), "before").await;
    gateway.interest(2, &[(group("eu"), Some(3))]).await;
    assert_eq!(gateway.recv().await, FromBroker::Confirmed { revision: 2, head: 1 });
    let accepted = publisher.publish_accepted(group("eu"), "after").await;
    assert_eq!(accepted, (2, 1, 3));
    assert_eq!(gateway.event().await, event(2, group("eu"), "after"));

    gateway.interest(3, &[(group("eu"), None)]).await;
    assert_eq!(gateway.recv().await, FromBroker::Confirmed { revision: 3, head: 2 });
    publisher.publish_accepted(group("eu"), "too late").await;
    publisher.publish_accepted(Audience::Everyone, "all").await;
    assert_eq!(gateway.event().await, event(4, Audience::Everyone, "all"));
}

#[actix::test]
async fn events_arrive_everywhere_in_the_same_order() {
    const EACH: u64 = 500;
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let (mut one, _) = Peer::listener(&broker, &[Audience::Everyone]).await;
    let (mut other, _) = Peer::listener(&broker, &[Audience::Everyone]).await;
    let mut tasks = Vec::new();
    for name in ["left", "right", "middle"] {
        let mut publisher = Peer::publisher(&broker).await;
        tasks.push(tokio::task::spawn_local(async move {
            for number in 0..EACH {
                let content = format!("{name} {number}");
                let content = campanile_messages::Content::Text(content.into());
                publisher.publish(number, Audience::Everyone, content).await;
            }
            for number in 0..EACH {
                let answer = publisher.recv().await;
                assert!(
                    matches!(answer, FromBroker::Accepted { number: n, .. } if n == number),
                    "{answer:?}"
                );
            }
        }));
    }
    for sequence in 1..=3 * EACH {
        let event = one.event().await;
        assert_eq!(event.sequence, sequence);
        assert_eq!(other.event().await, event);
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[actix::test]
async fn large_events_arrive_complete() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let (mut gateway, _) = Peer::listener(&broker, &[Audience::Everyone]).await;
    let mut publisher = Peer::publisher(&broker).await;
    for (number, len) in (1..).zip([0, 511, 512, 513, 70_000, 16 << 20]) {
        let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let content = campanile_messages::Content::Binary(bytes.into());
        publisher.publish(number, Audience::Everyone, content.clone()).await;
        assert_eq!(gateway.event().await.content, content);
        assert!(matches!(publisher.recv().await, FromBroker::Accepted { .. }));
    }
}

#[actix::test]
async fn a_push_reaches_its_worker_and_its_answer_comes_back() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let (mut gateway, welcome) = Peer::gateway(&broker).await;
    let worker = welcome.workers[0];
    let mut publisher = Peer::publisher(&broker).await;
    let mut other = Peer::publisher(&broker).await;
    publisher.push(5, worker, "psst").await;
    let FromBroker::Deliver { ticket, to, content } = gateway.recv().await else {
        panic!("not a push");
    };
    assert_eq!((ticket.number, to), (5, address(worker)));
    assert_eq!(content, "psst".into());
    let outcome = DirectOutcome::Written;
    gateway.send(ToBroker::Delivered { ticket, outcome }).await;
    assert_eq!(publisher.outcome(5).await, DirectOutcome::Written);
    other.assert_publishes().await;
}

#[actix::test]
async fn a_push_to_a_worker_without_a_link_is_answered_at_once() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let (gateway, welcome) = Peer::gateway(&broker).await;
    let worker = welcome.workers[0];
    let mut publisher = Peer::publisher(&broker).await;
    publisher.push(1, WorkerId(worker.0 + 1), "x").await;
    assert_eq!(publisher.outcome(1).await, DirectOutcome::UnknownWorker);
    drop(gateway);
    within(async {
        // A push may be sent to the link before its loss is noticed, and is then never answered. The
        // push to the other worker is always answered.
        for number in 2.. {
            publisher.push(number, worker, "x").await;
            publisher.push(0, WorkerId(worker.0 + 1), "x").await;
            match publisher.recv().await {
                FromBroker::Answered { number: 0, .. } => tokio::task::yield_now().await,
                FromBroker::Answered { outcome, .. } => {
                    assert_eq!(outcome, DirectOutcome::GatewayAway);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[actix::test]
async fn an_answer_to_a_publisher_that_is_gone_is_ignored() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let (mut gateway, _) = Peer::listener(&broker, &[Audience::Everyone]).await;
    for link in [0, 1, u64::MAX] {
        let ticket = RequestTicket { link, number: 1 };
        let outcome = DirectOutcome::Written;
        gateway.send(ToBroker::Delivered { ticket, outcome }).await;
    }
    let mut publisher = Peer::publisher(&broker).await;
    publisher.publish_accepted(Audience::Everyone, "hi").await;
    assert_eq!(gateway.event().await.sequence, 1);
}
