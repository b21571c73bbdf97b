//! A client that comes back gets what it missed, exactly.

use campanile_harness::{
    Cluster, End, Ended, Feed, Heard, Mode, NO_GROUPS, PROTOCOLS, Process, Protocol, Proxy,
    Recovery, connect, eventually, on_disk, open_feed, recovered,
};
use tempfile::TempDir;

#[tokio::test]
async fn missed_events_come_first_and_others_do_not_come_again() {
    let cluster = Cluster::of(2).start().await;
    let push = &cluster.push[0];
    for protocol in PROTOCOLS {
        for gateway in [0, 1] {
            let (mut feed, hello) = open_feed(&cluster, 0, protocol, &["g", "h"], None).await;
            assert_eq!(hello.recovery, Recovery::NotAsked);
            push.everyone("seen").await;
            let (seen, content) = feed.event().await;
            assert_eq!(content, "seen");
            drop(feed);
            push.group("h", "missed 1").await;
            push.group("other", "not for it").await;
            push.everyone("missed 2").await;
            push.group("g", "missed 3").await;
            let since = seen.to_string();
            let mut feed = recovered(&cluster, gateway, protocol, &["g", "h"], &since).await;
            push.everyone("last").await;
            let missed = feed.contents_until("last").await;
            assert_eq!(missed, ["missed 1", "missed 2", "missed 3"], "{protocol}");
        }
    }
}

#[tokio::test]
async fn a_client_that_missed_nothing_gets_nothing_twice() {
    let cluster = Cluster::of(1).start().await;
    let push = &cluster.push[0];
    for protocol in PROTOCOLS {
        let (feed, hello) = open_feed(&cluster, 0, protocol, &["g"], None).await;
        drop(feed);
        let mut feed = recovered(&cluster, 0, protocol, &["g"], &hello.position).await;
        push.group("g", "one").await;
        let (one, _) = feed.event().await;
        drop(feed);
        let mut feed = recovered(&cluster, 0, protocol, &["g"], &one.to_string()).await;
        push.group("g", "two").await;
        assert_eq!(feed.event().await.1, "two");
    }
}

#[tokio::test]
async fn a_group_joined_by_message_is_resumed_by_url_or_message() {
    let cluster = Cluster::of(2).start().await;
    let push = &cluster.push[0];
    for in_url in [true, false] {
        let (mut feed, _) = open_feed(&cluster, 0, Protocol::V1, NO_GROUPS, None).await;
        feed.join("g", None).await;
        let joined = |recovery| Heard::Joined { group: "g".to_owned(), recovery };
        assert_eq!(feed.next_but_marks().await, joined(Recovery::NotAsked));
        push.group("g", "seen").await;
        let (seen, _) = feed.event().await;
        drop(feed);
        push.group("g", "missed 1").await;
        push.group("g", "missed 2").await;
        let since = seen.to_string();
        let groups: &[&str] = if in_url { &["g"] } else { NO_GROUPS };
        let mut feed = recovered(&cluster, 1, Protocol::V1, groups, &since).await;
        if !in_url {
            feed.join("g", Some(&since)).await;
        }
        assert_eq!(feed.event().await.1, "missed 1");
        assert_eq!(feed.event().await.1, "missed 2");
        if !in_url {
            assert_eq!(feed.next_but_marks().await, joined(Recovery::Recovered));
        }
        push.group("g", "live").await;
        assert_eq!(feed.event().await.1, "live");
    }
}

#[tokio::test]
async fn the_position_of_a_quiet_client_goes_on() {
    let cluster = Cluster::of(1).gateway("--ping-after 1s").start().await;
    for protocol in PROTOCOLS {
        let (mut feed, _) = open_feed(&cluster, 0, protocol, &["quiet"], None).await;
        let position = cluster.push[0].position(&[("to_group", "busy"), ("content", "x")]).await;
        let sequence = |position: &str| {
            let (_, sequence) = position.split_once('-').expect("a position");
            sequence.parse::<u64>().expect("a number")
        };
        loop {
            let Heard::Mark(mark) = feed.next().await else { panic!("not a mark") };
            if sequence(&mark) >= sequence(&position) {
                drop(feed);
                recovered(&cluster, 0, protocol, &["quiet"], &mark).await;
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_client_back_during_an_outage_gets_what_it_missed_after_it() {
    let directory = TempDir::new().expect("a temporary directory");
    let mut cluster = Cluster::of(1).broker(&on_disk(directory.path())).start().await;
    let mut back = Vec::new();
    for protocol in PROTOCOLS {
        let (feed, hello) = open_feed(&cluster, 0, protocol, &["g"], None).await;
        back.push((protocol, hello.position));
        drop(feed);
    }
    cluster.push[0].group("g", "missed").await;
    cluster.broker.kill().await;
    cluster.gateways[0].said("no link to the broker").await;
    let mut feeds = Vec::new();
    for (protocol, since) in &back {
        let gateway = cluster.gateway_addresses[0];
        let opened = Feed::open(gateway, *protocol, &["g"], Some(since)).await;
        feeds.push(opened.unwrap_or_else(|ended| panic!("{protocol}: {ended:?}")));
    }
    cluster.start_broker_again().await;
    for (mut feed, (protocol, since)) in feeds.into_iter().zip(back) {
        let hello = feed.hello().await;
        assert_eq!((hello.position, hello.recovery), (since, Recovery::Recovered), "{protocol}");
        assert_eq!(feed.event().await.1, "missed");
    }
}

#[tokio::test]
async fn a_half_open_client_is_given_up_and_gets_the_rest_elsewhere() {
    let cluster = Cluster::of(2).gateway("--ping-after 500ms --silence-limit 2s").start().await;
    let push = &cluster.push[0];
    for protocol in [Protocol::V1, Protocol::Events] {
        let proxy = Proxy::to(cluster.gateway_addresses[0]).await;
        let stream = connect(proxy.address, None).await;
        let opened = Feed::open_on(stream, protocol, &["g"], None).await;
        let mut half_open = opened.unwrap_or_else(|ended| panic!("{protocol}: {ended:?}"));
        half_open.hello().await;
        push.group("g", "seen").await;
        let (seen, _) = half_open.event().await;
        proxy.live(Mode::Swallow);
        push.group("g", "swallowed").await;
        let mut feed = recovered(&cluster, 1, protocol, &["g"], &seen.to_string()).await;
        assert_eq!(feed.event().await.1, "swallowed");
        if protocol == Protocol::V1 {
            // An event stream cannot notice that a client is gone.
            eventually("the gateway gives up who is silent", async || {
                let probe = push.receipt(&[("to_group", "g"), ("content", "probe")]).await;
                // Pings are answered only while somebody reads.
                assert_eq!(feed.event().await.1, "probe");
                (probe.matched == 1).then_some(())
            })
            .await;
        }
        proxy.live(Mode::Cut(End::Reset));
        push.group("g", "last").await;
        assert_eq!(feed.contents_until("last").await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_closed_and_loses_nothing() {
    // Before the gateway notices that it is gone, more is pushed than is replayed by default.
    let flags = "--max-outbox 64KiB --max-replay 64MiB --workers 1";
    let cluster = Cluster::of(2).gateway(flags).start().await;
    let push = &cluster.push[0];
    for protocol in PROTOCOLS {
        let stream = connect(cluster.gateway_addresses[0], Some(32 << 10)).await;
        let opened = Feed::open_on(stream, protocol, &["g"], None).await;
        let mut feed = opened.unwrap_or_else(|ended| panic!("{protocol}: {ended:?}"));
        let mut since = feed.hello().await.position;
        let mut pushed = 0;
        // Once nobody is counted any more, it is closed.
        loop {
            let content = format!("{pushed} {}", "x".repeat(64 << 10));
            let answer = push.post(&[("to_group", "g")], Some("text/plain"), content).await;
            assert_eq!(answer.status, 200);
            pushed += 1;
            let probe = push.receipt(&[("to_group", "g"), ("content", "probe")]).await;
            if probe.matched == 0 {
                break;
            }
            assert!(pushed < 1_000, "it is never too slow");
        }
        let number = |content: &str| content.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        let mut numbers = Vec::new();
        let ended = loop {
            match feed.next_but_marks().await {
                Heard::Event { id, content, .. } => {
                    since = id.expect("a position");
                    numbers.extend(number(&content));
                }
                Heard::Ended(ended) => break ended,
                other => panic!("{other:?}"),
            }
        };
        let closed = if protocol == Protocol::V1 { Ended::Closed(4001) } else { Ended::Lost };
        assert_eq!(ended, closed, "{protocol}");
        assert!((numbers.len() as u64) < pushed, "it was not that slow");
        let mut feed = recovered(&cluster, 1, protocol, &["g"], &since).await;
        push.group("g", "last").await;
        numbers.extend(feed.contents_until("last").await.iter().filter_map(|c| number(c)));
        assert_eq!(numbers, (0..pushed).collect::<Vec<_>>(), "{protocol}");
    }
}

/// A `curl` that listens, which is killed when it is dropped.
async fn curl(cluster: &Cluster, headers: &[&str]) -> Process {
    let url = format!("http://{}/events?group=g", cluster.gateway_addresses[0]);
    let mut command = std::process::Command::new("curl");
    command.args(["-sSN", &url]).args(headers.iter().flat_map(|header| ["-H", header]));
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let curl = Process::run("curl", command);
    curl.said("event: sync").await;
    curl
}

#[tokio::test]
async fn curl_is_enough_to_listen_and_to_come_back() {
    let cluster = Cluster::of(1).start().await;
    let push = &cluster.push[0];
    let mut first = curl(&cluster, &[]).await;
    let seen = push.position(&[("to_group", "g"), ("content", "seen")]).await;
    first.said("data: seen").await;
    first.said(&format!("id: {seen}")).await;
    first.kill().await;
    push.group("g", "missed").await;
    let second = curl(&cluster, &[&format!("Last-Event-ID: {seen}")]).await;
    second.said("\"recovered\":true").await;
    second.said("data: missed").await;
    push.group("g", "live").await;
    second.said("data: live").await;
    let log = second.log();
    let data: Vec<_> = log.iter().filter(|line| line.starts_with("data: ")).collect();
    assert_eq!(data[1..], ["data: missed", "data: live"], "{log:?}");
}
