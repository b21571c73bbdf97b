//! What operators see of a whole cluster, at any of its publishers.

use std::net::SocketAddr;

use campanile_harness::{Answer, Process, eventually, exchange};

async fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    exchange(address, request.as_bytes()).await
}

async fn cluster(admin: SocketAddr) -> serde_json::Value {
    let answer = get(admin, "/cluster").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

#[tokio::test]
async fn a_publisher_shows_every_process_of_its_cluster() {
    let broker = Process::start(&["broker", "--listen=127.0.0.1:0"]);
    let at = broker.address("the broker listens").await.to_string();
    let gateway = |workers: &str| {
        Process::start(&["gateway", "--listen=127.0.0.1:0", "--broker", &at, "--workers", workers])
    };
    let (_one, _two) = (gateway("1"), gateway("2"));
    let publisher = Process::start(&[
        "publisher",
        "--listen=127.0.0.1:0",
        "--broker",
        &at,
        "--admin-listen=127.0.0.1:0",
    ]);
    let admin = publisher.address("operators are answered").await;
    let seen = eventually("all are seen", async || {
        let answer = get(admin, "/cluster").await;
        let seen: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
        let gateways = seen["gateways"].as_array()?;
        (gateways.len() == 2 && seen["publishers"].as_array()?.len() == 1).then_some(seen)
    })
    .await;
    let gateways = seen["gateways"].as_array().expect("gateways");
    let mut workers: Vec<_> = gateways
        .iter()
        .map(|gateway| gateway["workers"].as_array().expect("workers").len())
        .collect();
    workers.sort_unstable();
    assert_eq!(workers, [1, 2]);
    assert_eq!(seen["broker"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(seen["silent"].as_array().map(Vec::len), Some(0));
    assert_eq!(cluster(admin).await["broker"], seen["broker"]);

    drop(broker);
    let answer = eventually("it is noticed", async || {
        let answer = get(admin, "/cluster").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(answer.body, "this publisher has no link to its broker: try again\n");
}
