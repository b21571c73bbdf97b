//! What happens when a process is gone for a while.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use campanile_harness::{
    Cluster, EventStream, Frame, PushApi, Signal, Websocket, connect, eventually, exchange,
    handshake, on_disk, receipt, start_gateway, within,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

const GROUPS: [Option<&str>; 3] = [None, Some("a"), Some("nobody")];

/// The audience and the content of an event.
type Event = (Option<&'static str>, String);

/// The outcome of the pushes of one caller.
#[derive(Default)]
struct Pushed {
    /// Accepted: by the epoch of the broker and the sequence.
    accepted: HashMap<String, BTreeMap<u64, Event>>,
    /// Answered 503.
    refused: HashSet<String>,
}

/// Callers that push steadily until they are stopped.
struct Callers {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Pushed>>,
}

impl Callers {
    fn start(publishers: &[PushApi], callers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (accepted, failed) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let tasks = (0..callers).map(|caller| {
            let push = publishers[caller % publishers.len()].clone();
            let (stop, accepted, failed) = (stop.clone(), accepted.clone(), failed.clone());
            tokio::spawn(async move {
                let mut pushed = Pushed::default();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let is_ok = push_one(&push, caller, number, &mut pushed).await;
                    let count = if is_ok { &accepted } else { &failed };
                    count.fetch_add(1, Ordering::Relaxed);
                }
                pushed
            })
        });
        let tasks = tasks.collect();
        Self { stop, accepted, failed, tasks }
    }

    async fn more_accepted(&self, count: usize) {
        more("accepted pushes", &self.accepted, count).await;
    }

    async fn more_failed(&self, count: usize) {
        more("failed pushes", &self.failed, count).await;
    }

    async fn stop(self) -> Pushed {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Pushed::default();
        for task in self.tasks {
            let pushed = task.await.expect("no panic");
            all.refused.extend(pushed.refused);
            for (epoch, events) in pushed.accepted {
                let log = all.accepted.entry(epoch).or_default();
                for (sequence, event) in events {
                    assert_eq!(log.insert(sequence, event), None, "two events have a sequence");
                }
            }
        }
        all
    }
}

async fn more(what: &str, counter: &AtomicUsize, count: usize) {
    let enough = counter.load(Ordering::Relaxed) + count;
    eventually(what, async || (counter.load(Ordering::Relaxed) >= enough).then_some(())).await;
}

async fn push_one(push: &PushApi, caller: usize, number: usize, pushed: &mut Pushed) -> bool {
    let content = format!("{caller}/{number}");
    let group = GROUPS[number % GROUPS.len()];
    let to = group.map(|group| ("to_group", group));
    let parameters: Vec<_> = to.into_iter().chain([("content", &*content)]).collect();
    let answer = push.get_json(&parameters).await;
    match answer.status {
        200 => {
            let receipt = receipt(&answer);
            let log = pushed.accepted.entry(receipt.epoch).or_default();
            log.insert(receipt.sequence, (group, content));
            true
        }
        503 => !pushed.refused.insert(content),
        504 => false,
        other => panic!("{other}: {}", answer.body),
    }
}

/// Waits until the broker knows of this many clients.
async fn whole_again(push: &PushApi, clients: u64) {
    eventually("the cluster is whole again", async || {
        let answer = push.get_json(&[("content", "probe")]).await;
        (answer.status == 200 && receipt(&answer).matched == clients).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_a_new_broker_arrives_once_and_in_order() {
    let mut cluster = Cluster::of(2).publishers(2).publisher("--broker-wait 100ms").start().await;
    let mut readers = Vec::new();
    let mut addressed = Vec::new();
    for gateway in [0, 0, 1, 1] {
        for groups in [&[][..], &["a"]] {
            let mut client = cluster.client(gateway, groups).await;
            addressed.push(client.address());
            let read = tokio::spawn(async move { client.texts_until("last").await });
            readers.push((groups, read));
        }
    }
    let callers = Callers::start(&cluster.push, 4);
    for _ in 0..3 {
        callers.more_accepted(100).await;
        cluster.broker.kill().await;
        callers.more_failed(8).await;
        cluster.start_broker_again().await;
        // The gateways still get what was accepted before they came back.
        callers.more_accepted(20).await;
        whole_again(&cluster.push[0], 8).await;
    }
    callers.more_accepted(100).await;
    let pushed = callers.stop().await;
    for [(worker, w), (connection, c)] in &addressed {
        cluster.push[0].ok(&[(worker, w), (connection, c), ("content", "still there")]).await;
    }
    let last = cluster.push[0].receipt(&[("content", "last")]).await;
    assert_eq!(last.matched, 8, "clients stay connected");
    assert_eq!(pushed.accepted.len(), 4, "each broker has an epoch");
    assert!(!pushed.refused.is_empty());

    for (groups, read) in readers {
        let mut seen = read.await.expect("no panic");
        seen.retain(|content| content != "probe");
        let addressed = seen.iter().filter(|content| *content == "still there").count();
        assert_eq!(addressed, 1, "an address stays good");
        check(groups, &seen, &pushed, &last.epoch);
    }
}

/// What the last broker accepted was seen once and in order. So was what an earlier one accepted, except
/// for what was lost with it. What was refused was not seen.
fn check(groups: &[&str], seen: &[String], pushed: &Pushed, last_epoch: &str) {
    let once: HashSet<_> = seen.iter().collect();
    assert_eq!(once.len(), seen.len(), "an event came twice");
    assert!(seen.iter().all(|content| !pushed.refused.contains(content)), "503 was sent later");
    for (epoch, log) in &pushed.accepted {
        let listens = |group: Option<&str>| group.is_none_or(|group| groups.contains(&group));
        let expected: Vec<_> =
            log.values().filter(|(group, _)| listens(*group)).map(|(_, content)| content).collect();
        let all: HashSet<_> = log.values().map(|(_, content)| content).collect();
        let seen: Vec<_> = seen.iter().filter(|content| all.contains(content)).collect();
        if epoch == last_epoch {
            assert!(seen == expected, "{groups:?} saw {seen:?} of {expected:?}");
        } else {
            assert!(expected.starts_with(&seen), "{groups:?} saw {seen:?} of {expected:?}");
            let lost = expected.len() - seen.len();
            assert!(lost <= 20, "{lost} of {} lost, long before the end", expected.len());
        }
    }
}

#[tokio::test]
async fn a_broker_that_stood_still_is_found_again() {
    let cluster = Cluster::of(2).publisher("--broker-wait 500ms --confirm-limit 500ms").start();
    let cluster = cluster.await;
    let mut plain = cluster.client(0, &["a"]).await;
    let mut v1 = cluster.client_v1(1, &[]).await;
    let push = &cluster.push[0];
    cluster.broker.signal(Signal::STOP);
    for gateway in &cluster.gateways {
        gateway.said("nothing heard for 9 s").await;
    }
    cluster.publishers[0].said("nothing heard for 9 s").await;
    let answer = push.get(&[("content", "meanwhile")]).await;
    assert!(matches!(answer.status, 503 | 504), "{answer:?}");
    cluster.broker.signal(Signal::CONT);

    whole_again(push, 2).await;
    push.group("a", "to the group").await;
    push.to(&plain, "to one").await;
    v1.join_among_events("b").await;
    push.group("b", "to the joined").await;
    push.everyone("last").await;
    let mut seen = plain.texts_until("last").await;
    seen.retain(|content| content != "probe" && content != "meanwhile");
    seen.sort();
    assert_eq!(seen, ["to one", "to the group"]);
    let mut seen = v1.contents_until("last").await;
    seen.retain(|content| content != "probe" && content != "meanwhile");
    assert_eq!(seen, ["to the joined"]);
}

#[tokio::test]
async fn a_new_broker_waits_for_gateways_before_clients_count_as_gone() {
    let mut cluster = Cluster::of(1).start().await;
    let mut client = cluster.client(0, &[]).await;
    let [(worker, w), (connection, c)] = client.address();
    let to = [(worker, &*w), (connection, &*c), ("content", "psst")];
    cluster.gateways[0].signal(Signal::STOP);
    cluster.broker.kill().await;
    cluster.start_broker_again().await;
    let answer = cluster.push[0].get(&to).await;
    cluster.gateways[0].signal(Signal::CONT);
    assert_eq!(answer.status, 503, "{}", answer.body);
    eventually("the address is good again", async || {
        (cluster.push[0].get(&to).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(client.text().await, "psst");
}

#[tokio::test]
async fn a_client_that_comes_during_an_outage_is_greeted_after_it() {
    let mut cluster = Cluster::of(1).start().await;
    let mut old = cluster.client_v1(0, &[]).await;
    cluster.broker.kill().await;
    cluster.gateways[0].said("no link to the broker").await;
    let stream = connect(cluster.gateway_addresses[0], None).await;
    let new = Websocket::open(stream, &["a"], None).await;
    old.say(r#"{"type":"join","group":"a"}"#).await;
    old.say(r#"{"type":"ping"}"#).await;
    assert_eq!(old.json().await["type"], "pong", "nothing is joined without a broker");
    cluster.start_broker_again().await;
    let mut new = new.greeted().await;
    assert_eq!(old.json().await["type"], "gap", "the log was in memory only");
    assert_eq!(old.json().await["type"], "joined");
    cluster.push[0].group("a", "hi").await;
    assert_eq!(new.text().await, "hi");
    assert_eq!(old.json().await["content"], "hi");
}

#[tokio::test]
async fn a_client_without_a_greeting_in_time_is_closed_with_1013() {
    let mut cluster = Cluster::of(1).gateway("--handshake-limit 1s").start().await;
    let mut old = cluster.client(0, &[]).await;
    cluster.broker.kill().await;
    cluster.gateways[0].said("no link to the broker").await;
    let stream = connect(cluster.gateway_addresses[0], None).await;
    let new = Websocket::open(stream, &[], None).await;
    assert_eq!(new.closed().await, (0, 1013));
    cluster.start_broker_again().await;
    cluster.push[0].everyone("hi").await;
    assert_eq!(old.text().await, "hi", "who was greeted before stays");
}

/// Asks a gateway whether it is ready for clients; returns the status and the word.
async fn readiness(gateway: SocketAddr) -> (u16, String) {
    let check = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(gateway, check).await;
    (answer.status, answer.body.trim_end().to_owned())
}

#[tokio::test]
async fn past_the_return_limit_clients_and_their_addresses_are_gone() {
    let directory = TempDir::new().expect("a directory");
    let flags = "--return-limit 1s --drain 500ms";
    let cluster = Cluster::of(1).broker(&on_disk(directory.path())).gateway(flags).start();
    let mut cluster = cluster.await;
    let forever = ["--return-limit=0s", "--drain=0s"].map(str::to_owned);
    let keeping = start_gateway(cluster.broker_address, &forever);
    let keeps = keeping.address("the gateway listens").await;
    keeping.said("the gateway takes connections").await;
    let mut kept = Websocket::v1(keeps, &[]).await;
    let address = cluster.gateway_addresses[0];
    let mut plain = cluster.client(0, &[]).await;
    let mut v1 = cluster.client_v1(0, &["a"]).await;
    let stream = connect(address, None).await;
    let mut events = EventStream::open(stream, "", None).await.expect("an event stream");

    let begun = Instant::now();
    cluster.broker.kill().await;
    let reason = "no link to the broker, try again later or elsewhere".to_owned();
    assert_eq!(plain.next().await, Frame::Closed(1013, reason.clone()));
    assert_eq!(v1.next().await, Frame::Closed(1013, reason));
    let last = within("the end of the event stream", async {
        let mut last = None;
        while let Ok(block) = events.next().await {
            last = Some(block);
        }
        last.expect("a first block")
    });
    assert!(last.await.retry.is_some());
    let took = begun.elapsed();
    // The gateway checks once per second.
    let expected = Duration::from_secs(1)..Duration::from_millis(1_000 + 500 + 1_000 + 2_000);
    assert!(expected.contains(&took), "{took:?}");

    assert_eq!(readiness(address).await, (503, "no_broker".to_owned()));
    let newcomer = exchange(address, handshake("/").as_bytes()).await;
    assert!(newcomer.status == 503 && newcomer.header("retry-after").is_some(), "{newcomer:?}");
    kept.say(r#"{"type":"ping"}"#).await;
    assert_eq!(kept.json().await["type"], "pong", "it is kept for ever");

    cluster.start_broker_again().await;
    eventually("the gateways are back", async || {
        let ready = (200, "ok".to_owned());
        let are_ready = readiness(address).await == ready && readiness(keeps).await == ready;
        are_ready.then_some(())
    })
    .await;
    let push = &cluster.push[0];
    for client in [&plain, &v1] {
        let [(worker, w), (connection, c)] = client.address();
        let to = [(worker, &*w), (connection, &*c), ("content", "x")];
        // Its publisher may not be back yet.
        let answer = eventually("an answer from the broker", async || {
            Some(push.get(&to).await).filter(|answer| answer.status != 503)
        });
        let answer = answer.await;
        let is_gone = answer.status == 404 && answer.body.contains("no such connection");
        assert!(is_gone, "{answer:?}");
    }
    push.to(&kept, "to one").await;
    push.everyone("last").await;
    assert_eq!(kept.contents_until("last").await, ["to one"]);
}

#[tokio::test]
async fn a_killed_gateway_loses_only_its_own_clients() {
    let mut cluster = Cluster::of(2).start().await;
    let lost = cluster.client(0, &["a"]).await;
    let mut other = cluster.client(1, &["a"]).await;
    let [(worker, w), (connection, c)] = lost.address();
    cluster.gateways[0].kill().await;
    let push = &cluster.push[0];
    eventually("the broker notices", async || {
        let receipt = push.receipt(&[("to_group", "a"), ("content", "probe")]).await;
        (receipt.matched == 1).then_some(())
    })
    .await;
    let answer = push.get(&[(worker, &w), (connection, &c), ("content", "x")]).await;
    assert!(matches!(answer.status, 404 | 503), "{answer:?}");
    push.to(&other, "to one").await;
    push.everyone("last").await;
    let mut seen = other.texts_until("last").await;
    seen.retain(|content| content != "probe");
    assert_eq!(seen, ["to one"]);

    // Its port is free for the next gateway, but its worker ids are not.
    cluster.replace_gateway_that_ended(0).await;
    let mut new = cluster.client(0, &["a"]).await;
    assert_ne!(new.worker, lost.worker);
    let answer = cluster.push[0].get(&[(worker, &w), (connection, &c), ("content", "x")]).await;
    assert!(matches!(answer.status, 404 | 503), "{answer:?}");
    cluster.push[0].group("a", "hi").await;
    assert_eq!(new.text().await, "hi");
}
