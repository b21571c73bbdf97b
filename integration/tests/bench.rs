//! `campanile bench` itself: what it measures, prints, refuses and cleans up, not how fast anything is.

use std::fs;
use std::process::Output;

use campanile_harness::{Cluster, Process, Signal, command, eventually};
use serde_json::Value;

/// Runs a benchmark to its end.
fn bench(args: &[&str]) -> Output {
    let args: Vec<_> = std::iter::once("bench").chain(args.iter().copied()).collect();
    command(&args).env("TMPDIR", env!("CARGO_TARGET_TMPDIR")).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn found(report: &Value, what: &str) -> f64 {
    let rows = report["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["what"].as_str().is_some_and(|w| w.contains(what)));
    row.unwrap_or_else(|| panic!("no {what:?} in {report}"))["ours"].as_f64().expect("a number")
}

#[test]
fn every_scenario_measures_something_in_json_and_plots() {
    let directory = tempfile::tempdir().expect("a directory");
    let plots = directory.path().display().to_string();
    let args = ["--quick", "--runs", "1", "--connections", "200", "--json", "-", "--plots", &plots];
    let output = bench(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    for what in [
        "resident memory per idle websocket, 200 of them",
        "resident memory of the gateway when all have left",
        "resident memory per idle event stream, 200 of them",
        "CPU of the gateway per idle websocket and second, 200 of them",
        "CPU per heartbeat",
        "CPU per handshake, 200 at once",
        "CPU per delivery, one 64-byte event at a time, 200 websockets",
        "websockets; limit: one send per connection for each event",
        "websockets; limit: one send per connection for 100 events",
        "CPU per event, HTTP push to one of 100,000 groups of one",
        "in 8 gateways",
        "frame out, p50",
        "HTTP over 64 kept connections, in memory",
        "CPU per push, HTTP with a new connection per push",
        "publish stream in MessagePack, on disk; limit: an echo, one send per answer",
        "publish stream in MessagePack, in memory; limit: an echo that joins its answers",
        "CPU per client that comes back",
        "until 200 clients that were sent away are back",
        "CPU of the gateway per client that was sent away",
        "readers while 1 % do not read",
        "p99 of 200 readers beside 2,000 hostile connections a second; limit: they go to a listener",
        "p99 of 200 readers beside 2,000 hostile connections a second, of which 110 are let in",
        "connections of that flood",
        "resident memory per idle websocket over TLS, 200 of them",
        "CPU per full handshake of TLS and websocket, 200 at once",
        "CPU per resumed handshake of TLS and websocket, 200 at once",
        "CPU per delivery over TLS, one 64-byte event at a time, 200 websockets",
        "websockets; limit: one record for each event",
        "websockets; limit: one record for 100 events",
    ] {
        assert!(found(&report, what) > 0.0, "{what}: {report}");
    }
    for name in ["cpu.svg", "memory.svg"] {
        let svg = fs::read_to_string(directory.path().join(name)).expect("a plot");
        assert!(svg.starts_with("<svg") && svg.contains("the limit"), "{svg}");
    }
}

#[test]
fn tls_is_measured_alone_or_with_what_else_is_asked_for() {
    let common = ["--tls", "--quick", "--runs", "1", "--connections", "100", "--json", "-"];
    for (args, has_storm) in [(&[][..], false), (&["--only", "storm"], true)] {
        let output = bench(&[&common[..], args].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let rows = report["rows"].as_array().expect("rows");
        let what = |row: &Value| row["what"].as_str().expect("text").to_owned();
        let storms = rows.iter().filter(|row| what(row) == "CPU per handshake, 100 at once");
        assert_eq!(storms.count(), usize::from(has_storm), "{report}");
        let of_tls = rows.iter().filter(|row| what(row).contains("TLS")).count();
        assert_eq!(of_tls + usize::from(has_storm), rows.len(), "{report}");
        let beside = rows.iter().filter(|row| row["limit"].as_f64().is_some_and(|l| l > 0.0));
        assert_eq!(beside.count(), 6 + usize::from(has_storm), "{report}");
    }
}

#[test]
fn a_failed_check_names_its_row_below_the_table() {
    let args = ["--quick", "--runs", "1", "--connections", "100", "--only", "idle"];
    let output = bench(&[&args[..], &["--check", "0.001"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("| resident memory per idle websocket, 100 of them"));
    let said = text(&output.stderr);
    assert!(said.contains("error: resident memory per idle websocket"), "{said}");
    assert!(said.contains("over 0.001 times its gate"), "{said}");
}

#[test]
fn more_connections_than_files_are_refused_by_the_limit() {
    let binary = env!("CARGO_BIN_EXE_campanile");
    let run = format!("ulimit -n 300; exec {binary} bench --only idle --quick");
    let output = std::process::Command::new("sh").args(["-c", &run]).output().expect("sh runs");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("2,000 connections are more than the limit of open files"), "{said}");
    assert!(said.contains("ulimit -n") && said.contains("--connections"), "{said}");
}

#[test]
fn a_data_directory_in_memory_is_refused() {
    let output =
        command(&["bench", "--only", "publish", "--quick"]).env("TMPDIR", "/dev/shm").output();
    let output = output.expect("it runs");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: /dev/shm is in memory (tmpfs)"), "{said}");
}

#[test]
fn contradictory_flags_are_refused_in_a_sentence() {
    for (args, part) in [
        (&["--check", "nan"][..], "a number above 0"),
        (&["--only", "everything"], "possible values"),
        (&["--url", "ws://127.0.0.1:1/"], "--push-command"),
        (&["--url", "wss://h/", "--push-command", "true {content}"], "without TLS"),
        (&["--url", "ws://127.0.0.1:1/", "--push-command", "true"], "{content}"),
        (&["--url", "ws://127.0.0.1:1/", "--push-command", "true {content}"], "--pid"),
        (&["--gateway", "127.0.0.1:1"], "--publisher"),
        (&["--gateway", "here", "--publisher", "127.0.0.1:1"], "accepted is HOST:PORT"),
        (&["--runs", "0"], "1..=99"),
    ] {
        let output = bench(args);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(part), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn a_running_cluster_or_websocket_server_can_be_measured() {
    let cluster = Cluster::of(1).start().await;
    let pids = cluster.gateways[0].id().to_string();
    let gateway = cluster.gateway_addresses[0].to_string();
    let publisher = cluster.push[0].address.to_string();
    let common = ["--quick", "--runs", "1", "--connections", "100", "--json", "-", "--pid", &pids];
    let own = ["--only", "broadcasts,burst", "--gateway", &gateway, "--publisher", &publisher];
    let url = format!("ws://{gateway}/");
    let push = format!("curl -sf 'http://{publisher}/?content={{content}}'");
    let other = ["--only", "broadcasts,groups", "--url", &url, "--push-command", &push];
    for args in [&own[..], &other] {
        let args: Vec<String> = common.iter().chain(args).map(|arg| (*arg).to_owned()).collect();
        let run = move || bench(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let output = tokio::task::spawn_blocking(run).await.expect("no panic");
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(found(&report, "CPU per delivery, one 64-byte event at a time") > 0.0);
        let left_out = said.contains("groups: left out: it is measured with a cluster of its own");
        assert_ne!(left_out, has_burst(&report), "{said}");
    }
}

/// A burst goes through the push API, so only a cluster has one.
fn has_burst(report: &Value) -> bool {
    report["rows"].to_string().contains("/batch")
}

#[tokio::test]
async fn its_processes_end_with_it_in_any_case() {
    for signal in [Signal::TERM, Signal::KILL] {
        let args = ["bench", "--only", "idle", "--quick", "--runs", "9", "--connections", "100"];
        let mut bench = Process::start(&args);
        let children = eventually("it has started a cluster", async || {
            let children = children(bench.id());
            (children.len() >= 3).then_some(children)
        });
        let children = children.await;
        bench.signal(signal);
        bench.ended().await;
        eventually("its processes have ended", async || {
            children.iter().all(|child| !is_running(child)).then_some(())
        })
        .await;
    }
}

fn children(id: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
    let lists = tasks.flatten().map(|task| fs::read_to_string(task.path().join("children")));
    let lists: Vec<String> = lists.map_while(Result::ok).collect();
    lists.join(" ").split_whitespace().map(str::to_owned).collect()
}

fn is_running(id: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    status.contains("State:") && !status.contains("State:\tZ")
}
