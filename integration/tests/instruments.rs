//! What the tests of faults measure with, on a cluster that is well and on one that loses something. A
//! fault that is not seen would prove nothing.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use campanile_harness::{Disk, Fault, Protocol, Seed, Setup, SmallDisk, Stage, binary};

/// Few clients, and no log on disk.
fn small() -> Setup {
    let mut setup = Setup { disk: Disk::None, ..Setup::default() };
    setup.audiences.clients = 40;
    setup.audiences.protocols = vec![Protocol::V1];
    setup
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_cluster_gets_a_clean_verdict_each_time() {
    let mut stage = Stage::set(small(), Seed::from_environment()).await;
    for _ in 0..2 {
        let load = stage.load();
        load.more_accepted(stage.pushes_in(Duration::from_secs(1))).await;
        assert!(stage.crowd.caught_up(stage.now()).await.is_some());
        let verdict = stage.judge(load).await;
        assert!(verdict.is_clean(), "{verdict:?}");
        assert!(verdict.accepted >= 220 && verdict.deliveries >= 40 * 55, "{verdict:?}");
        assert_eq!((verdict.unknown, verdict.refused, verdict.explained_gaps), (0, 0, 0));
    }
    assert_eq!(stage.crowd.greetings(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_link_gets_a_clean_verdict_and_a_forgetful_broker_does_not() {
    let setup = Setup { is_proxied: true, ..small() };
    let mut stage = Stage::set(setup, Seed::from_environment()).await;
    let load = stage.load();
    load.more_accepted(100).await;
    Fault::LinkCut.inflict(&mut stage).await;
    assert!(stage.crowd.caught_up(stage.now()).await.is_some());
    let verdict = stage.judge(load).await;
    assert!(verdict.is_clean() && verdict.deliveries > 0, "{verdict:?}");

    let load = stage.load();
    load.more_accepted(100).await;
    Fault::BrokerKill.inflict(&mut stage).await;
    load.more_accepted(100).await;
    let verdict = stage.judge(load).await;
    assert!(verdict.unexplained_gaps + verdict.explained_gaps >= 40, "{verdict:?}");
}

#[test]
fn the_binary_under_test_is_that_of_this_package() {
    assert_eq!(binary(), Path::new(env!("CARGO_BIN_EXE_campanile")));
}

#[test]
fn a_small_disk_can_be_filled_and_is_hidden_from_others() {
    let disk = SmallDisk::new(1 << 20);
    let write = |name: &str| {
        let program = disk.program();
        let script = format!("printf something > {}/{name}", disk.path());
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).args(["sh", "-c", &script]);
        command.stderr(Stdio::null()).status().expect("it runs").success()
    };
    assert!(write("before"));
    disk.fill();
    assert!(!write("meanwhile"));
    disk.free();
    assert!(write("after"));
    assert_eq!(std::fs::read_dir(disk.path()).expect("a directory").count(), 0);
}
