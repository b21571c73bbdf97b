//! Limits that change while a process runs, by SIGHUP.

use std::net::SocketAddr;
use std::path::Path;

use campanile_harness::client::raw::{Client, TEXT};
use campanile_harness::{Process, Signal, command, exchange, handshake, until};
use tempfile::TempDir;

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).expect("it can be written");
}

async fn reread(process: &Process) {
    let done = process.count("the settings were read again");
    process.signal(Signal::HUP);
    until(|| process.count("the settings were read again") > done).await;
}

async fn status(address: SocketAddr, request: &str) -> u16 {
    exchange(address, request.as_bytes()).await.status
}

fn address(line: &str) -> SocketAddr {
    line.split_whitespace().last().and_then(|word| word.parse().ok()).expect("an address")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_of_a_gateway_and_a_publisher_change_at_a_hangup() {
    let directory = TempDir::new().expect("a directory");
    let (file, key) = (directory.path().join("settings.toml"), directory.path().join("key"));
    write(&key, "cpk_not-a-real-key");
    let text = |max: usize, pushes: u32, groups: usize| {
        format!(
            "[broker]\nlisten = \"127.0.0.1:0\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n\
             max_connections = {max}\nmax_unauthenticated = {max}\n\
             max_publishes_per_second = {max}\nmax_groups = {groups}\n\
             [publisher]\nlisten = \"127.0.0.1:0\"\nmax_pushes_per_second = {pushes}\n\
             [[keys]]\nname = \"a\"\nscopes = [\"everyone\"]\nsecret_file = {key:?}\n"
        )
    };
    write(&file, &text(1, 0, 100));
    let up = Process::run("up", command(&["up", "--config", file.to_str().expect("UTF-8")]));
    let publisher = address(&up.said("  publisher  ").await);
    let gateway = address(&up.said("  gateway ").await);
    up.said("  push ").await;

    let mut held = Client::open(gateway);
    // The greeting.
    held.recv();
    assert_eq!(status(gateway, &handshake("/")).await, 503);
    let push = "GET /?content=a HTTP/1.1\r\nHost: localhost\r\n\
                Authorization: Bearer cpk_not-a-real-key\r\n\r\n";
    for _ in 0..5 {
        assert_eq!(status(publisher, push).await, 200);
    }
    write(&file, &text(2, 1, 100));
    reread(&up).await;
    assert_eq!(status(gateway, &handshake("/")).await, 101);
    let mut accepted = 5;
    let refused = loop {
        match status(publisher, push).await {
            200 => accepted += 1,
            other => break other,
        }
        assert!(accepted < 100, "the rate does not count");
    };
    assert_eq!(refused, 429);
    assert_eq!(up.count("only with a restart"), 0);

    // Fewer than there are closes nobody.
    write(&file, &text(1, 0, 7));
    reread(&up).await;
    let line = up.said("only with a restart").await;
    assert!(line.ends_with(": [gateway] max_groups"), "{line}");
    assert_eq!(status(publisher, push).await, 200);
    assert_eq!(status(gateway, &handshake("/")).await, 503);
    for _ in 0..=accepted {
        held.expect(TEXT, "a");
    }
}
