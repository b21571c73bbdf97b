//! Whatever happens to the log, the cluster goes on.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;

use campanile_harness::{
    EventStream, LogPipe, Process, PushApi, Signal, SmallDisk, Websocket, connect, eventually,
    on_disk, within,
};
use tempfile::TempDir;

const UP: [&str; 5] = [
    "up",
    "--broker-listen=127.0.0.1:0",
    "--gateway-listen=127.0.0.1:0",
    "--publisher-listen=127.0.0.1:0",
    "--gateway-drain=100ms",
];

/// Where a service of `up` listens, from the announcement on standard output.
async fn announced(up: &Process, service: &str) -> SocketAddr {
    let line = up.said(&format!("  {service} ")).await;
    line.split_whitespace().last().and_then(|a| a.parse().ok()).expect("an address")
}

/// Ends it by SIGTERM.
async fn terminate(process: &mut Process) {
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code(), Some(0));
}

/// A push that waits for its broker, which may just have come back.
async fn push_patiently(push: &PushApi, content: &str) {
    eventually("a push is accepted", async || {
        (push.get(&[("content", content)]).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cluster_with_a_full_device_as_its_log_runs() {
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let mut up = Process::start_logging_to(&UP, full);
    let gateway = announced(&up, "gateway").await;
    let push = PushApi::new(announced(&up, "publisher").await);
    let mut client = Websocket::plain(gateway, &[]).await;
    push.everyone("heard").await;
    assert_eq!(client.text().await, "heard");
    // Each link to the broker is logged.
    let broker = announced(&up, "broker").await.to_string();
    let mut second = Process::start(&["gateway", "--listen=127.0.0.1:0", "--broker", &broker]);
    let second_address = second.address("the gateway listens").await;
    second.said("the gateway takes connections").await;
    let mut other = Websocket::plain(second_address, &[]).await;
    push.everyone("heard, too").await;
    assert_eq!(client.text().await, "heard, too");
    assert_eq!(other.text().await, "heard, too");
    drop((client, other));
    terminate(&mut second).await;
    terminate(&mut up).await;
}

#[tokio::test]
async fn a_cluster_whose_output_is_full_everywhere_runs() {
    let full = || File::options().write(true).open("/dev/full").expect("Linux has it");
    let mut command = campanile_harness::command(&UP);
    command.stdout(full()).stderr(full());
    let mut up = Process::run("up without any output", command);
    let up_id = up.id();
    eventually("three services listen", async || (listeners(up_id) == 3).then_some(())).await;
    terminate(&mut up).await;
}

/// How many sockets a process listens on.
fn listeners(process: u32) -> usize {
    let table = std::fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap_or_default();
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening = fields.filter(|fields| fields.get(3) == Some(&"0A"));
    let sockets: Vec<_> = listening.map(|fields| format!("socket:[{}]", fields[9])).collect();
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    targets.filter(|target| sockets.iter().any(|socket| target == Path::new(socket))).count()
}

#[tokio::test]
async fn a_broker_goes_on_when_the_reader_of_its_log_is_gone() {
    let log = LogPipe::new();
    let mut broker = Process::start_logging_to(&["broker", "--listen=127.0.0.1:0"], log.stdio());
    let (log, address) = log.address("the broker listens").await;
    drop(log);
    assert!(ignores_sigpipe(broker.id()));
    let address = address.to_string();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let gateway = Process::start(&["gateway", "--listen=127.0.0.1:0", "--broker", &address]);
        gateway.said("the gateway takes connections").await;
        let client = Websocket::plain(gateway.address("the gateway listens").await, &[]).await;
        clients.push((gateway, client));
    }
    let publisher = Process::start(&["publisher", "--listen=127.0.0.1:0", "--broker", &address]);
    let push = PushApi::new(publisher.address("the publisher listens").await);
    push.everyone("heard").await;
    for (_gateway, client) in &mut clients {
        assert_eq!(client.text().await, "heard");
    }
    terminate(&mut broker).await;
}

/// Whether a write to a pipe without a reader is an error for this process, and does not end it.
fn ignores_sigpipe(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("Linux");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a mask");
    ignored & 1 << (Signal::PIPE.as_raw() - 1) != 0
}

#[tokio::test]
async fn links_come_back_when_the_readers_of_the_logs_are_gone() {
    let directory = TempDir::new().expect("a directory");
    let flags = on_disk(directory.path());
    let start_broker = |listen: &str| {
        let args = ["broker", "--listen", listen].into_iter().chain(flags.split(' '));
        Process::start(&args.collect::<Vec<_>>())
    };
    let mut broker = start_broker("127.0.0.1:0");
    let broker_address = broker.address("the broker listens").await.to_string();
    let service = async |name: &'static str, flags: &[&str], listens: &'static str| {
        let log = LogPipe::new();
        let common = [name, "--listen=127.0.0.1:0", "--broker", &broker_address];
        let process = Process::start_logging_to(&[&common[..], flags].concat(), log.stdio());
        let (log, address) = log.address(listens).await;
        let (log, _) = log.read_to("linked to the broker").await;
        drop(log);
        (process, address)
    };
    let (mut gateway, address) =
        service("gateway", &["--drain=100ms"], "the gateway listens").await;
    let (mut publisher, push) = service("publisher", &[], "the publisher listens").await;
    let push = PushApi::new(push);
    let mut v1 = Websocket::v1(address, &[]).await;
    let stream = connect(address, None).await;
    let mut events = EventStream::open(stream, "", None).await.expect("an event stream");
    push.everyone("before").await;
    assert_eq!(v1.contents_until("before").await, [""; 0]);

    broker.kill().await;
    let broker_again = start_broker(&broker_address);
    broker_again.said("the broker listens").await;
    push_patiently(&push, "after").await;
    v1.contents_until("after").await;
    within("the event stream has it", async {
        while events.next().await.expect("it goes on").data.as_deref() != Some("after") {}
    })
    .await;
    let mut newcomer = Websocket::plain(address, &[]).await;
    push.everyone("last").await;
    assert_eq!(newcomer.text().await, "last");
    drop((v1, events, newcomer));
    terminate(&mut gateway).await;
    terminate(&mut publisher).await;
}

#[tokio::test]
async fn logs_that_nobody_reads_stop_nothing() {
    let directory = TempDir::new().expect("a directory");
    let flags = on_disk(directory.path());
    let start_broker = |listen: &str, log: &LogPipe| {
        let args = ["broker", "--listen", listen].into_iter().chain(flags.split(' '));
        Process::start_logging_to(&args.collect::<Vec<_>>(), log.stdio())
    };
    let log = LogPipe::new();
    let mut broker = start_broker("127.0.0.1:0", &log);
    let (broker_log, address) = log.address("the broker listens").await;
    broker_log.fill();
    let broker_address = address.to_string();
    let service = async |name: &'static str, flags: &[&str], listens, ready| {
        let log = LogPipe::new();
        let common = [name, "--listen=127.0.0.1:0", "--broker", &broker_address];
        let process = Process::start_logging_to(&[&common[..], flags].concat(), log.stdio());
        let (log, address) = log.address(listens).await;
        let (log, _) = log.read_to(ready).await;
        log.fill();
        (process, address, log)
    };
    let ready = ["the gateway takes connections", "linked to the broker"];
    let (mut gateway, address, gateway_log) =
        service("gateway", &["--drain=100ms"], "the gateway listens", ready[0]).await;
    let (mut publisher, push, publisher_log) =
        service("publisher", &[], "the publisher listens", ready[1]).await;
    let push = PushApi::new(push);
    let mut client = Websocket::v1(address, &[]).await;
    push.everyone("before").await;
    client.contents_until("before").await;

    broker.kill().await;
    let mut broker = start_broker(&broker_address, &broker_log);
    push_patiently(&push, "after").await;
    client.contents_until("after").await;
    drop(client);
    for process in [&mut publisher, &mut gateway, &mut broker] {
        terminate(process).await;
    }
    drop((gateway_log, publisher_log));
}

#[tokio::test]
async fn lines_that_the_disk_had_no_room_for_are_counted() {
    let disk = SmallDisk::new(1 << 20);
    let log = format!("{}/log", disk.path());
    let script = format!("exec \"$@\" 2>>{log}");
    let shell = ["sh", "-c", &script, "sh"].map(str::to_owned);
    let program = [&disk.program()[..], &shell].concat();
    let mut command = campanile_harness::command_in(&program, &UP);
    command.stderr(std::process::Stdio::null());
    disk.fill();
    let mut up = Process::run("up on a full disk", command);
    let gateway = announced(&up, "gateway").await;
    let push = PushApi::new(announced(&up, "publisher").await);
    let mut client = Websocket::plain(gateway, &[]).await;
    push.everyone("heard").await;
    assert_eq!(client.text().await, "heard");
    // The log has a thread of its own, which runs when there is a processor for it.
    let up_id = up.id();
    eventually("the log tries to write", async || (writes_of_log(up_id) > 0).then_some(())).await;
    assert_eq!(disk.read("log"), "");

    disk.free();
    up.signal(Signal::HUP);
    eventually("the log goes on", async || disk.read("log").contains("SIGHUP").then_some(())).await;
    let log = disk.read("log");
    let first = log.lines().next().expect("a line");
    let dropped = ["1 log line was dropped", "log lines were dropped"];
    assert!(dropped.iter().any(|dropped| first.ends_with(dropped)), "{log}");
    drop(client);
    terminate(&mut up).await;
    assert!(disk.read("log").contains("shutting down"));
}

/// How often the thread of a process's log has called `write`, successfully or not.
fn writes_of_log(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs").flatten();
    let is_log = |thread: &Path| {
        std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| name == "log\n")
    };
    let log = threads.map(|thread| thread.path()).find(|thread| is_log(thread));
    // Perhaps it has not started yet.
    let Some(log) = log else { return 0 };
    let counts = std::fs::read_to_string(log.join("io")).expect("the kernel counts it");
    let calls = counts.lines().find_map(|line| line.strip_prefix("syscw: ")).expect("Linux");
    calls.parse().expect("a number")
}

#[tokio::test]
async fn the_last_lines_are_written_before_the_end() {
    let log = LogPipe::new();
    let args = ["broker", "--listen=127.0.0.1:0"];
    let mut broker = Process::start_logging_to(&args, log.stdio());
    let (log, _) = log.address("the broker listens").await;
    terminate(&mut broker).await;
    let rest = log.read_to_end().await;
    assert!(rest.trim_end().lines().last().is_some_and(|l| l.contains("the broker shuts down")));
}

#[tokio::test]
async fn an_announcement_that_nobody_reads_delays_nothing() {
    let output = LogPipe::new();
    output.fill();
    let mut command = campanile_harness::command(&UP);
    command.stdout(output.stdio());
    let mut up = Process::run("up that nobody reads", command);
    up.said("role=\"gateway\"").await;
    up.said("role=\"publisher\"").await;
    terminate(&mut up).await;
    drop(output);
}
