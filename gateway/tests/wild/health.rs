//! Health checks of load balancers and orchestrators.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use campanile_harness::client::raw::{Client, request};
use campanile_harness::link::script::{Script, at};
use campanile_harness::{DEADLINE, bind};
use campanile_messages::FromBroker;

use super::answer;
use super::harness::Gateway;

/// Sends a health check as load balancers do: HTTP/1.0, without a host.
fn check(gateway: SocketAddr, method: &str, target: &str) -> (u16, String) {
    let request = format!("{method} {target} HTTP/1.0\r\n\r\n");
    let (status, head, body) = answer(gateway, request.as_bytes());
    let length = format!("\r\ncontent-length: {}\r\n", body.len());
    assert!(head.to_ascii_lowercase().contains(&length) || method == "HEAD", "{head}");
    assert!(method != "HEAD" || body.is_empty(), "{body}");
    (status, body)
}

#[test]
fn the_default_checks_of_load_balancers_are_answered_200() {
    for gateway in [Gateway::start(|_| {}), Gateway::start_on(bind().1, |_| {})] {
        for (method, target) in [("OPTIONS", "/"), ("OPTIONS", "*"), ("HEAD", "/"), ("GET", "/")] {
            assert_eq!(check(gateway.address, method, target).0, 200, "{method} {target}");
        }
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert_eq!(check(gateway.address, method, "/health/live").0, 200, "{method}");
        }
        assert_eq!(check(gateway.address, "GET", "/health/live?_=1").1, "ok\n");
        assert_eq!(check(gateway.address, "POST", "/health/live").0, 405);
        assert_eq!(check(gateway.address, "GET", "/health").0, 404);
        assert_eq!(check(gateway.address, "GET", "/health/").0, 404);
    }
}

/// Waits until the gateway answers readiness checks of every method with this status and word.
#[track_caller]
fn becomes(gateway: SocketAddr, status: u16, word: &str) {
    let ready = |method| check(gateway, method, "/health/ready");
    let begun = Instant::now();
    while ready("GET") != (status, format!("{word}\n")) {
        assert!(begun.elapsed() < DEADLINE, "not {word}: {:?}", ready("GET"));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((ready("HEAD").0, ready("OPTIONS").0), (status, status));
}

#[test]
fn a_readiness_check_says_in_one_word_what_is_missing() {
    let script = Script::new();
    let gateway = Gateway::start_on(script.address, |config| {
        config.drain = Duration::from_secs(2);
    });
    let address = gateway.address;
    let becomes = |status, word| becomes(address, status, word);
    becomes(503, "starting");
    let link = script.accept(at(1), None);
    let gateway = gateway.until_ready();
    becomes(200, "ok");
    drop(link);
    becomes(503, "no_broker");
    let _link = script.accept(at(1), None);
    becomes(200, "ok");
    let mut client = Client::open(address);
    assert!(client.recv().payload.starts_with(b"workerID:"));
    let stopping = std::thread::spawn(move || drop(gateway));
    becomes(503, "draining");
    assert_eq!(check(address, "GET", "/health/live"), (200, "ok\n".to_owned()));
    client.expect_close(1001);
    stopping.join().expect("it ends");
}

#[test]
fn a_readiness_check_reports_a_broker_that_waits_for_its_disk() {
    let script = Script::new();
    let gateway = Gateway::start_on(script.address, |_| {});
    let link = script.accept(at(1), None);
    let gateway = gateway.until_ready();
    let becomes = |status, word| becomes(gateway.address, status, word);
    let disk = |is_waiting| FromBroker::Disk { is_waiting };
    becomes(200, "ok");
    for _ in 0..2 {
        link.send([disk(true)]);
        becomes(503, "disk");
        // Only load balancers notice: events and clients are still accepted.
        let mut client = Client::open(gateway.address);
        assert!(client.recv().payload.starts_with(b"workerID:"));
        link.send([disk(false)]);
        becomes(200, "ok");
    }
    link.send([disk(true)]);
    becomes(503, "disk");
    drop(link);
    becomes(503, "no_broker");
    // The next broker says nothing about its disk.
    let link = script.accept(at(1), None);
    becomes(200, "ok");
    link.send([disk(true)]);
    becomes(503, "disk");
}

#[test]
fn health_checks_are_answered_while_silent_clients_fill_it_up() {
    let gateway = Gateway::start(|config| config.max_connections = 1);
    let _seated = Client::open(gateway.address);
    // More than are turned away at a time, and none of them sends anything.
    let _silent: Vec<_> = (0..200).map(|_| Client::raw(gateway.address)).collect();
    for _ in 0..20 {
        assert_eq!(check(gateway.address, "GET", "/health/ready"), (200, "ok\n".to_owned()));
        assert_eq!(check(gateway.address, "OPTIONS", "/").0, 200);
    }
    assert_eq!(answer(gateway.address, &request("/", &[])).0, 503);
}
