//! Gateways and publishers that were given several brokers.

use campanile_harness::link::script::{PublishingLink, Script};
use campanile_harness::{Process, PushApi, exchange, reserved_port, until};
use campanile_messages::Position;
use campanile_messages::link::Number;

const OWN_LOG: &str = "keeps a log of its own, and --broker gives more than one address";

/// Flags that let a push wait for as long as the test.
const PATIENT: [&str; 2] = ["--broker-wait=60s", "--confirm-limit=60s"];

#[tokio::test]
async fn independent_brokers_in_a_list_end_the_start() {
    let brokers = ["broker", "broker"].map(|name| Process::start(&[name, "--listen=127.0.0.1:0"]));
    let mut addresses = Vec::new();
    for broker in &brokers {
        addresses.push(broker.address("the broker listens").await.to_string());
    }
    for service in ["gateway", "publisher"] {
        let list = addresses.join(",");
        let args = [service, "--listen=127.0.0.1:0", "--admin-listen=off", "--broker", &list];
        let mut process = Process::start(&args);
        let said = process.said(OWN_LOG).await;
        assert!(addresses.iter().any(|address| said.contains(address)), "{said}");
        assert_eq!(process.ended().await.code(), Some(1), "{said}");
        assert_eq!(process.count(OWN_LOG), 1);
        assert_eq!(process.count("panicked"), 0);
    }
}

/// A position in the log of the scripted broker.
fn at(sequence: u64) -> Position {
    Position { epoch: 1, sequence }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_goes_to_no_broker_with_a_log_of_its_own() {
    let script = Script::new();
    // Nobody is there yet.
    let (port, independent) = reserved_port();
    let list = format!("{independent},{}", script.address);
    let args = ["publisher", "--listen=127.0.0.1:0", "--admin-listen=off", "--broker", &list];
    let publisher = Process::start(&[&args[..], &PATIENT].concat());
    let address = publisher.address("the publisher listens").await;
    let push = PushApi::new(address);
    let ready =
        async || exchange(address, b"GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    let (script, link) = accepted(script).await;
    until(|| publisher.count("linked to the broker") == 1).await;
    assert_eq!(ready().await.status, 200);

    let answer = tokio::spawn({
        let push = push.clone();
        async move { push.get(&[("content", "once")]).await }
    });
    let (link, number) = published(link).await;
    drop(port);
    let broker = Process::start(&["broker", "--listen", &independent.to_string()]);
    broker.said("the broker listens").await;
    // The scripted broker is gone before it has answered.
    drop(link);
    publisher.said(OWN_LOG).await;
    assert_eq!(ready().await.brief(), (503, "no_broker"));
    assert!(!answer.is_finished(), "the other broker has not accepted it");

    // It comes back, and the push is repeated to it.
    let (_script, link) = accepted(script).await;
    let (mut link, again) = published(link).await;
    assert_eq!(again, number);
    link.accept(number, 1);
    assert_eq!(answer.await.expect("answered").body, "ok");
    assert_eq!(publisher.count(OWN_LOG), 1, "one line");
}

/// Waits for a link of the publisher to the scripted broker.
async fn accepted(script: Script) -> (Script, PublishingLink) {
    let accept = move || {
        let link = script.accept_publisher_of(at(0), "shared 1");
        (script, link)
    };
    tokio::task::spawn_blocking(accept).await.expect("a link")
}

/// Waits for the next publish, and returns its number.
async fn published(mut link: PublishingLink) -> (PublishingLink, Number) {
    let next = move || {
        let (number, content) = link.published();
        assert_eq!(content, "once");
        (link, number)
    };
    tokio::task::spawn_blocking(next).await.expect("a publish")
}
