//! Clients that have missed more than 4 MiB of events per worker, counted with 64 bytes for each client
//! and event: a gateway once stopped reading its link at that size.

#[path = "storms/scenario.rs"]
mod scenario;

use scenario::Storm;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_after_a_killed_broker_gets_everything_it_missed() {
    let storm =
        Storm { clients: 1_500, missed: 500, is_warm: false, has_directory: true, workers: 2 };
    storm.come().await;
}
