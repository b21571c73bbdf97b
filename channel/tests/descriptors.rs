//! A broker without free file descriptors. It has a file, and so a process, of its own, because the limit
//! holds for the whole process.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod harness;

use std::fs::File;

use campanile_channel::broker::BrokerConfig;
use campanile_messages::Audience;
use harness::{PUBLISHER, Peer, TestBroker};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[actix::test]
async fn without_descriptors_links_continue_and_new_ones_wait() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let (mut gateway, _) = Peer::listener(&broker, &[Audience::Everyone]).await;
    let mut publisher = Peer::publisher(&broker).await;
    let limit = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut files: Vec<File> = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    files.pop();
    // This takes the last descriptor, and the broker has none for its end.
    let mut waiting = Peer::connect(&broker).await;
    for sequence in 1..50 {
        let accepted = publisher.publish_accepted(Audience::Everyone, "hi").await;
        assert_eq!(accepted, (sequence, 1, 1));
        assert_eq!(gateway.event().await.sequence, sequence);
    }
    drop(files);
    let instance = campanile_messages::InstanceId(1);
    let welcome = waiting.hello(instance, PUBLISHER).await;
    assert_eq!(welcome.unwrap().head.sequence, 49);
}
