//! Joining and leaving while events come: what is accepted after `joined` arrives, exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use campanile_harness::{Cluster, Feed, Heard, Protocol, PushApi, Recovery};
use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A caller that pushes 0, 1, 2, .. to a group, each when the one before was accepted.
struct Caller {
    stop: Arc<AtomicBool>,
    /// The number of the next push: all below were accepted, none above was begun.
    next: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Caller {
    fn start(push: PushApi, group: String) -> Self {
        let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, number) = (stop.clone(), next.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                push.group(&group, &number.load(Ordering::Relaxed).to_string()).await;
                number.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, next, task }
    }

    /// The first number that has not been pushed yet: it must reach everybody who has joined by now.
    fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed) + 1
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no panic");
    }
}

/// A member that comes and goes.
struct Member {
    feed: Feed,
    group: String,
    /// The last number that it got.
    last: Option<u64>,
}

impl Member {
    async fn new(cluster: &Cluster, group: &str) -> Self {
        let gateway = cluster.gateway_addresses[0];
        let Ok(mut feed) = Feed::open(gateway, Protocol::V1, &[""; 0], None).await else {
            panic!("no client");
        };
        feed.hello().await;
        Self { feed, group: group.to_owned(), last: None }
    }

    async fn join(&mut self) {
        self.feed.join(&self.group, None).await;
        let group = self.group.clone();
        let joined = Heard::Joined { group, recovery: Recovery::NotAsked };
        assert_eq!(self.feed.next_but_marks().await, joined, "nothing comes before it has joined");
    }

    /// Reads the events of the group up to a number, and checks that none is missing.
    async fn read_from(&mut self, first: u64, up_to: u64) {
        let mut is_first = true;
        while self.last.is_none_or(|last| last < up_to) {
            let (_, content) = self.feed.event().await;
            let number = content.parse().expect("a number");
            self.note(number, is_first.then_some(first));
            is_first = false;
        }
    }

    fn note(&mut self, number: u64, expected_by: Option<u64>) {
        match expected_by {
            Some(first) => {
                assert!(number <= first, "{first} must come, the first is {number}");
                assert!(self.last.is_none_or(|last| number > last), "{number} comes again");
            }
            None => assert_eq!(Some(number), self.last.map(|last| last + 1)),
        }
        self.last = Some(number);
    }

    /// Leaves; what comes before the confirmation must be in order, too.
    async fn leave(&mut self) {
        self.feed.say(&json!({ "type": "leave", "group": self.group })).await;
        loop {
            match self.feed.next_but_marks().await {
                Heard::Event { content, .. } => self.note(content.parse().expect("a number"), None),
                Heard::Other(text) => {
                    assert!(text.contains(r#""type":"left""#), "{text}");
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_member_may_leave_and_rejoin_at_any_time() {
    let cluster = Cluster::of(1).gateway("--workers 2").start().await;
    let caller = Caller::start(cluster.push[0].clone(), "g".to_owned());
    let mut member = Member::new(&cluster, "g").await;
    for _ in 0..50 {
        member.join().await;
        let first = caller.next();
        member.read_from(first, first + 2).await;
        member.leave().await;
    }
    caller.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_on_several_workers_come_and_go_independently() {
    let cluster = Cluster::of(1).gateway("--workers 2").start().await;
    let caller = Caller::start(cluster.push[0].clone(), "g".to_owned());
    let come_and_go = (0..4).map(async |_| {
        let mut member = Member::new(&cluster, "g").await;
        for _ in 0..20 {
            member.join().await;
            let first = caller.next();
            member.read_from(first, first + 1).await;
            member.leave().await;
        }
    });
    join_all(come_and_go).await;
    caller.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_can_be_joined_while_its_interest_is_withdrawn() {
    let cluster = Cluster::of(1).gateway("--workers 1").start().await;
    // Interest is withdrawn 5 s after the last member has left.
    let rejoin = (0..16).map(async |number: u32| {
        let group = format!("g{number}");
        let caller = Caller::start(cluster.push[0].clone(), group.clone());
        let mut member = Member::new(&cluster, &group).await;
        member.join().await;
        let first = caller.next();
        member.read_from(first, first).await;
        member.leave().await;
        sleep(Duration::from_millis(4_900) + Duration::from_millis(15) * number).await;
        member.join().await;
        let first = caller.next();
        member.read_from(first, first + 3).await;
        caller.stop().await;
    });
    join_all(rejoin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leave_followed_by_a_join_leaves_no_hole() {
    let cluster = Cluster::of(1).gateway("--workers 1").start().await;
    let caller = Caller::start(cluster.push[0].clone(), "g".to_owned());
    let mut member = Member::new(&cluster, "g").await;
    member.join().await;
    for _ in 0..30 {
        let first = caller.next();
        member.read_from(first, first).await;
        member.feed.say(&json!({ "type": "leave", "group": "g" })).await;
        member.feed.join("g", None).await;
        let mut has_left = false;
        loop {
            match member.feed.next_but_marks().await {
                // Between the two, events may be missing.
                Heard::Event { content, .. } => {
                    let number: u64 = content.parse().expect("a number");
                    assert!(member.last.is_none_or(|last| number > last), "{number} comes again");
                    assert!(!has_left, "{number} comes after it has left, before it has joined");
                    member.last = Some(number);
                }
                Heard::Other(text) => {
                    assert!(text.contains(r#""type":"left""#), "{text}");
                    has_left = true;
                }
                Heard::Joined { .. } => break,
                other => panic!("{other:?}"),
            }
        }
    }
    caller.stop().await;
}
