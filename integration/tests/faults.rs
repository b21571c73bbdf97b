//! Faults under load: what was accepted reaches every client exactly once and in order, across
//! reconnects, and nobody gets a gap.
//!
//! `CAMPANILE_TEST_SEED` repeats the choices of a run; `--nocapture` shows the table of verdicts.

use std::time::Duration;

use campanile_harness::{Disk, Fault, Setup, scenario};

async fn inflict(name: &str, fault: Fault) {
    let setup = Setup { is_proxied: fault.is_of_links(), ..Setup::default() };
    scenario(name, setup, async |stage, _| fault.inflict(stage).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_broker_is_killed() {
    inflict("broker SIGKILL, restart", Fault::BrokerKill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_broker_is_restarted() {
    inflict("broker SIGTERM, restart", Fault::BrokerRestart).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_broker_stands_still_for_5_s() {
    scenario("broker SIGSTOP 5 s", Setup::default(), async |stage, _| {
        stage.pause_broker(Duration::from_secs(5)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_a_gateway_is_killed() {
    inflict("gateway SIGKILL, restart", Fault::GatewayKill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_in_a_rolling_restart_of_the_gateways() {
    inflict("gateways SIGTERM, rolling", Fault::RollingRestart).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_link_of_a_gateway_is_cut() {
    inflict("gateway link cut 4 times", Fault::LinkCut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_link_of_a_gateway_takes_over_one_that_is_half_open() {
    inflict("gateway link half-open", Fault::LinkHalfOpen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_a_gateway_link_becomes_a_black_hole() {
    inflict("gateway link black hole", Fault::LinkBlackhole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_gateway_links_are_truncated() {
    inflict("gateway link truncated", Fault::LinkTruncate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_bytes_of_a_link_come_one_by_one() {
    inflict("gateway link byte by byte", Fault::LinkSplit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_a_publisher_link_is_cut() {
    inflict("publisher link cut 4 times", Fault::PublisherLinkCut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_publisher_links_are_truncated() {
    inflict("publisher link truncated", Fault::PublisherLinkTruncate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_a_publisher_link_is_half_open() {
    inflict("publisher link half-open", Fault::PublisherLinkHalfOpen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_repeat_by_id_at_another_publisher() {
    inflict("publisher SIGKILL, restart", Fault::PublisherKill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_clients_drop_their_connections() {
    inflict("a third of the clients drop", Fault::ClientsDrop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_disk_of_the_broker_is_full() {
    let setup = Setup { disk: Disk::Small(16 << 20), ..Setup::default() };
    scenario("disk full", setup, async |stage, load| {
        let disk = stage.small_disk.take().expect("set up");
        disk.fill();
        let status = stage.broker.process.ended().await;
        let log = stage.broker.process.log();
        assert!(status.code().is_some_and(|code| code != 0), "{status}: {log:?}");
        let last = log.last().map(|line| line.to_lowercase()).unwrap_or_default();
        assert!(last.contains("no space") || last.contains("disk"), "no clear line: {log:?}");
        load.more_failed(20).await;
        disk.free();
        stage.broker.come_back().await;
        stage.small_disk = Some(disk);
    })
    .await;
}
