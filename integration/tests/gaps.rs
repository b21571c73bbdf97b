//! A client that cannot get what it missed gets a gap with the reason, and is never left to believe that
//! it has everything.

use std::path::Path;

use campanile_harness::{
    Cluster, Feed, Heard, NO_GROUPS, PROTOCOLS, Protocol, PushApi, Recovery, Signal, not_recovered,
    on_disk, open_feed, recovered,
};
use tempfile::TempDir;

#[tokio::test]
async fn a_join_since_a_malformed_or_foreign_position_says_so() {
    let cluster = Cluster::of(1).start().await;
    let (mut feed, _) = open_feed(&cluster, 0, Protocol::V1, NO_GROUPS, None).await;
    for (since, reason) in [("what", "malformed"), ("0123456789abcdef-1", "epoch_changed")] {
        feed.join(reason, Some(since)).await;
        let group = reason.to_owned();
        let recovery = Recovery::NotRecovered(reason.to_owned());
        assert_eq!(feed.next_but_marks().await, Heard::Joined { group, recovery });
        cluster.push[0].group(reason, "live").await;
        assert_eq!(feed.event().await.1, "live");
    }
}

#[tokio::test]
async fn malformed_and_foreign_positions_have_different_reasons() {
    let cluster = Cluster::of(1).start().await;
    for protocol in PROTOCOLS {
        let position = cluster.push[0].position(&[("content", "x")]).await;
        let (epoch, sequence) = position.split_once('-').expect("a position");
        for (since, reason) in [
            ("yesterday", "malformed"),
            (&*format!("{epoch}-"), "malformed"),
            (&format!("{epoch}-0{sequence}"), "malformed"),
            (&format!("{epoch}-99999999"), "epoch_changed"),
            (&format!("{:016x}-{sequence}", 0xdead_beef_u64), "epoch_changed"),
        ] {
            let mut feed = not_recovered(&cluster, protocol, since, reason).await;
            cluster.push[0].group("g", "live").await;
            assert_eq!(feed.event().await.1, "live");
        }
    }
}

/// Pushes more than a log of 64 KiB keeps.
async fn push_much(push: &PushApi, group: &str) {
    for _ in 0..40 {
        let large = "x".repeat(8 << 10);
        let answer = push.post(&[("to_group", group)], Some("text/plain"), large).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test]
async fn a_dropped_event_is_expired_and_a_quiet_group_still_recovers() {
    for protocol in PROTOCOLS {
        let cluster = Cluster::of(1).broker("--log-size 64KiB").start().await;
        let push = &cluster.push[0];
        let before = push.position(&[("content", "before")]).await;
        push.group("g", "for g").await;
        // Nobody listens, so only the broker has it.
        push_much(push, "noise").await;
        let mut feed = not_recovered(&cluster, protocol, &before, "expired").await;
        push.group("g", "live").await;
        assert_eq!(feed.event().await.1, "live");
        drop(feed);
        let old = push.position(&[("content", "old")]).await;
        push_much(push, "noise").await;
        let mut feed = recovered(&cluster, 0, protocol, &["quiet"], &old).await;
        push.group("quiet", "live").await;
        assert_eq!(feed.event().await.1, "live");
    }
}

#[tokio::test]
async fn clients_that_stay_or_come_back_get_a_gap_if_the_broker_forgot() {
    let mut cluster = Cluster::of(1).start().await;
    let mut stayed = Vec::new();
    for protocol in PROTOCOLS {
        stayed.push(open_feed(&cluster, 0, protocol, &["g"], None).await.0);
    }
    let old = cluster.push[0].position(&[("content", "old")]).await;
    cluster.broker.kill().await;
    cluster.start_broker_again().await;
    cluster.push[0].group("g", "new").await;
    for feed in &mut stayed {
        assert_eq!(feed.event().await.1, "old");
        expect_gap(feed, &old).await;
        assert_eq!(feed.event().await.1, "new");
    }
    for protocol in PROTOCOLS {
        let mut feed = not_recovered(&cluster, protocol, &old, "epoch_changed").await;
        cluster.push[0].group("g", "newer").await;
        assert_eq!(feed.event().await.1, "newer");
    }
}

/// Waits for a gap into another epoch than that of `old`.
async fn expect_gap(feed: &mut Feed, old: &str) {
    let Heard::Gap { reason, position } = feed.next_but_marks().await else {
        panic!("no gap");
    };
    assert_eq!(reason, "epoch_changed");
    assert_ne!(position.split('-').next(), old.split('-').next());
}

#[tokio::test]
async fn a_data_directory_restored_from_an_older_copy_is_a_gap() {
    let directory = TempDir::new().expect("a temporary directory");
    let (data, copy) = (directory.path().join("data"), directory.path().join("copy"));
    let mut cluster = Cluster::of(1).broker(&on_disk(&data)).start().await;
    cluster.push[0].everyone("in the copy").await;
    let stop = async |cluster: &mut Cluster| {
        cluster.broker.signal(Signal::TERM);
        assert_eq!(cluster.broker.ended().await.code(), Some(0));
    };
    stop(&mut cluster).await;
    copy_directory(&data, &copy);
    cluster.start_broker_again().await;
    let mut stayed = Vec::new();
    for protocol in PROTOCOLS {
        stayed.push(open_feed(&cluster, 0, protocol, &["g"], None).await.0);
    }
    for content in ["later 1", "later 2"] {
        cluster.push[0].everyone(content).await;
    }
    let mut last = String::new();
    for feed in &mut stayed {
        assert_eq!(feed.event().await.1, "later 1");
        last = feed.event().await.0.to_string();
    }
    stop(&mut cluster).await;
    std::fs::remove_dir_all(&data).expect("it was there");
    copy_directory(&copy, &data);
    cluster.start_broker_again().await;
    for feed in &mut stayed {
        expect_gap(feed, &last).await;
    }
    for protocol in PROTOCOLS {
        stayed.push(not_recovered(&cluster, protocol, &last, "epoch_changed").await);
    }
    cluster.push[0].group("g", "after").await;
    for feed in &mut stayed {
        assert_eq!(feed.event().await.1, "after");
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a new directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a file");
        }
    }
}
