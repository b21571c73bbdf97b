//! A cluster whose services prove a secret to each other.

use std::path::Path;

use campanile_harness::{
    Cluster, Process, Signal, Websocket, command, eventually, exchange, handshake, on_disk,
    start_gateway, start_publisher,
};
use tempfile::TempDir;

/// Makes a secret for this test alone.
fn fresh() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn write(file: &Path, secrets: &[&str]) {
    std::fs::write(file, secrets.join("\n") + "\n").expect("it can be written");
}

/// Pushes a content, and expects it at the client as the next one.
async fn assert_delivers(cluster: &Cluster, client: &mut Websocket, content: &str) {
    cluster.push[0].position(&[("to_group", "g"), ("content", content)]).await;
    assert_eq!(client.contents_until(content).await, [""; 0]);
}

/// Waits until the log says that both links were proven. It may be written later than what it is about.
async fn both_are_members(cluster: &Cluster) {
    eventually("both links are up", async || {
        (cluster.broker.count("principal=member") == 2).then_some(())
    })
    .await;
}

/// Lets all processes read their files again.
async fn reread(cluster: &Cluster) {
    for process in cluster.processes() {
        process.reread().await;
    }
}

#[tokio::test]
async fn a_secret_is_exchanged_and_nothing_is_lost() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("secret");
    let (old, new) = (fresh(), fresh());
    write(&file, &[&old]);
    let flags = on_disk(&directory.path().join("data"));
    let mut cluster = Cluster::of(1).broker(&flags).secret(&file).start().await;
    let mut client = cluster.client_v1(0, &["g"]).await;
    assert_delivers(&cluster, &mut client, "with the old secret").await;
    both_are_members(&cluster).await;

    write(&file, &[&old, &new]);
    reread(&cluster).await;
    assert_delivers(&cluster, &mut client, "with both").await;
    write(&file, &[&new, &old]);
    // The broker proves the new one, the others still prefer the old one.
    cluster.broker.kill().await;
    cluster.start_broker_again().await;
    assert_delivers(&cluster, &mut client, "after a restart").await;
    write(&file, &[&new]);
    reread(&cluster).await;
    assert_delivers(&cluster, &mut client, "with the new secret").await;
    cluster.broker.kill().await;
    cluster.start_broker_again().await;
    assert_delivers(&cluster, &mut client, "after another restart").await;
    both_are_members(&cluster).await;

    // A file that is wrong changes nothing.
    write(&file, &["short"]);
    cluster.broker.signal(Signal::HUP);
    let line = cluster.broker.said("the settings stay as they were").await;
    assert!(line.contains("line 1 has 5 bytes; accepted is a secret of at least 16"), "{line}");
    assert_delivers(&cluster, &mut client, "still").await;
    for process in cluster.processes() {
        let log = process.log().concat();
        assert!(![&old, &new].iter().any(|secret| log.contains(*secret)), "{log}");
    }
}

#[tokio::test]
async fn who_does_not_have_the_secret_gets_no_link() {
    let directory = TempDir::new().expect("a directory");
    let (file, other) = (directory.path().join("secret"), directory.path().join("other"));
    write(&file, &[&fresh()]);
    write(&other, &[&fresh()]);
    let secret = |file: &Path| ["--secret-file".to_owned(), file.display().to_string()];
    let cluster = Cluster::of(1).secret(&file).start().await;

    let without = start_gateway(cluster.broker_address, &[]);
    without.said("the broker says: this broker has links only with those who prove").await;
    cluster.broker.said("the peer has none: start it with the --secret-file of the broker").await;
    let wrong = start_gateway(cluster.broker_address, &secret(&other));
    wrong.said("the broker has another cluster secret than this side").await;
    cluster.broker.said("when it saw this broker's proof: it has another cluster secret").await;
    let publisher = start_publisher(cluster.broker_address, &secret(&other));
    publisher.said("the broker has another cluster secret than this side").await;
    for gateway in [&without, &wrong] {
        let address = gateway.address("the gateway listens").await;
        assert_eq!(exchange(address, handshake("/").as_bytes()).await.status, 503);
    }

    // The other way round: a broker without a secret.
    let open = Process::start(&["broker", "--listen", "127.0.0.1:0"]);
    let broker = open.address("the broker listens").await;
    let member = start_gateway(broker, &secret(&file));
    member.said("the peer has a cluster secret, and this broker has none").await;
    open.said("the peer has a cluster secret, and this broker has none: start the broker").await;
    let mut client = cluster.client_v1(0, &["g"]).await;
    assert_delivers(&cluster, &mut client, "undisturbed").await;
}

#[tokio::test]
async fn up_has_one_secret_for_its_services() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("secret");
    write(&file, &[&fresh()]);
    let flags = ["--broker-listen", "--gateway-listen", "--publisher-listen"];
    let mut args = vec!["up", "--secret-file", file.to_str().expect("UTF-8")];
    args.extend(flags.iter().flat_map(|flag| [flag, "127.0.0.1:0"]));
    let up = Process::start(&args);
    up.said("is up").await;
    let broker = up.address("the broker listens").await;
    let stranger = start_gateway(broker, &[]);
    stranger.said("this broker has links only with those who prove").await;
}

#[test]
fn a_secret_that_cannot_be_one_is_refused_at_the_start() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("secret");
    let refused = |args: &[&str], variable: &str| {
        let output = command(args).env("CAMPANILE_GATEWAY_SECRET", variable).output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    write(&file, &["hunter2"]);
    let path = file.to_str().expect("UTF-8");
    let said = refused(&["gateway", "--secret-file", path], "");
    assert!(said.contains(&format!("--secret-file {path}: line 1 has 7 bytes")), "{said}");
    assert!(said.contains("at least 16 bytes") && !said.contains("hunter2"), "{said}");
    let said = refused(&["gateway"], "hunter2");
    assert!(said.contains("CAMPANILE_GATEWAY_SECRET: line 1 has 7 bytes"), "{said}");
    let said = refused(&["gateway", "--secret-file", path], "0123456789abcdef");
    assert!(said.contains("are both given; accepted is one of them"), "{said}");
}
