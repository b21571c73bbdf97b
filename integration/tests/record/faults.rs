//! The faults, one function each.

use std::time::{Duration, SystemTime};

use campanile_harness::{
    Cluster, End, Mode, Process, Proxy, Signal, SmallDisk, start_gateway, start_publisher,
    tls::Files,
};
use tokio::time::sleep;

use crate::Recording;
use crate::load::Load;
use crate::network::SlowNetwork;
use crate::tape::Tape;
use crate::thread::freeze;

const ADMIN: &str = "--admin-listen 127.0.0.1:0";

/// How a fault is recorded.
type Fault = fn(Tape) -> Recording;

/// All of them, by their names.
pub fn all() -> Vec<(&'static str, Fault)> {
    vec![
        ("the broker is killed", |tape| Box::pin(killed_broker(tape))),
        ("the broker is stopped", |tape| Box::pin(stopped_broker(tape))),
        ("one of two gateways cannot reach the broker", |tape| Box::pin(cut_gateway(tape))),
        ("one of two gateways is stopped", |tape| Box::pin(stopped_gateway(tape))),
        ("the network to a gateway is too slow", |tape| Box::pin(slow_network(tape))),
        ("a gateway is paused for 1.5 s, again and again", |tape| Box::pin(paused_gateway(tape))),
        ("a third of the clients read too slowly", |tape| Box::pin(slow_readers(tape))),
        ("the connections of all clients break every 5 s", |tape| Box::pin(reconnects(tape))),
        ("a broker without a data directory is restarted", |tape| Box::pin(new_epoch(tape))),
        ("a broker with a data directory is restarted", |tape| Box::pin(same_epoch(tape))),
        ("the disk of the broker hangs", |tape| Box::pin(hanging_disk(tape))),
        ("the disk of the broker hangs for a second, again and again", |tape| {
            Box::pin(slow_disk(tape))
        }),
        ("the disk of the broker fills up", |tape| Box::pin(full_disk(tape))),
        ("a certificate gets older than 14 days before its end", |tape| {
            Box::pin(old_certificate(tape))
        }),
        ("a thread of a gateway hangs for 3.4 s", |tape| Box::pin(frozen_thread(tape))),
        ("the clients take nearly all files of a gateway", |tape| Box::pin(open_files(tape))),
    ]
}

async fn start(gateways: usize, broker: &str, gateway: &str) -> Cluster {
    Cluster::of(gateways)
        .broker(&format!("{ADMIN} {broker}"))
        .gateway(&format!("{ADMIN} {gateway}"))
        .publisher(ADMIN)
        .start()
        .await
}

/// Scrapes all processes of a cluster from now on.
async fn scrape_all(tape: &mut Tape, cluster: &Cluster) {
    tape.scrape_from_now("broker", &cluster.broker).await;
    for (number, gateway) in (1..).zip(&cluster.gateways) {
        tape.scrape_from_now(&format!("gateway-{number}"), gateway).await;
    }
    tape.scrape_from_now("publisher", &cluster.publishers[0]).await;
}

async fn killed_broker(mut tape: Tape) -> Tape {
    let mut cluster = start(1, "", "").await;
    scrape_all(&mut tape, &cluster).await;
    let _load = Load::usual(&cluster);
    tape.quiet_minutes().await;
    cluster.broker.kill().await;
    tape.run(4).await;
    tape.fires(&["CampanileNoBroker"]);
    tape.run(10).await;
    tape.fires(&[
        "CampanileNoBroker",
        "CampanileDown broker",
        "CampanileNotReady gateway-1",
        "CampanileNotReady publisher",
        "CampanileRefusedPushes",
    ]);
    tape
}

async fn cut_gateway(mut tape: Tape) -> Tape {
    let mut cluster = start(1, "", "").await;
    let proxy = Proxy::to(cluster.broker_address).await;
    let flags: Vec<_> = ADMIN.split(' ').map(str::to_owned).collect();
    cluster.gateways.push(start_gateway(proxy.address, &flags));
    scrape_all(&mut tape, &cluster).await;
    let _load = Load::usual(&cluster);
    tape.quiet_minutes().await;
    proxy.all(Mode::Cut(End::Reset));
    tape.run(8).await;
    tape.fires(&["CampanileNotReady gateway-2"]);
    tape
}

async fn stopped_gateway(mut tape: Tape) -> Tape {
    let cluster = start(2, "", "").await;
    scrape_all(&mut tape, &cluster).await;
    let _load =
        Load::default().clients(cluster.gateway_addresses[1], 20).pushes(&cluster, 50, 1, 1024);
    tape.note(
        "Its link is cut after 9 s of silence, so this is no lag but a process that is down.",
    );
    tape.quiet_minutes().await;
    cluster.gateways[1].signal(Signal::STOP);
    tape.run(8).await;
    tape.fires(&["CampanileDown gateway-2"]);
    tape
}

async fn slow_network(mut tape: Tape) -> Tape {
    let cluster = start(0, "", "").await;
    let network = SlowNetwork::to(cluster.broker_address, 256 << 10).await;
    let flags: Vec<_> = ADMIN.split(' ').map(str::to_owned).collect();
    let gateway = start_gateway(network.address, &flags);
    gateway.said("the gateway takes connections").await;
    let address = gateway.address("the gateway listens").await;
    scrape_all(&mut tape, &cluster).await;
    tape.scrape_from_now("gateway-1", &gateway).await;
    let load = Load::default().clients(address, 5).pushes(&cluster, 1, 100, 1024);
    tape.note("256 KiB of events pass per second. First 100 KiB are pushed, then 500 KiB.");
    tape.quiet_minutes().await;
    let _load = load.pushes(&cluster, 4, 100, 1024);
    tape.run(8).await;
    tape.fires(&["CampanileLag broker"]);
    tape
}

async fn paused_gateway(mut tape: Tape) -> Tape {
    let cluster = start(1, "", "--workers 1").await;
    scrape_all(&mut tape, &cluster).await;
    let _load =
        Load::default().clients(cluster.gateway_addresses[0], 40).pushes(&cluster, 2, 100, 1024);
    tape.note("As on a host that swaps: it runs for a few milliseconds in between, so its parts are late, too.");
    tape.quiet_minutes().await;
    let gateway = &cluster.gateways[0];
    let pauses = async {
        loop {
            gateway.signal(Signal::STOP);
            sleep(Duration::from_millis(1_500)).await;
            gateway.signal(Signal::CONT);
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = pauses => {}
        () = tape.run(32) => {}
    }
    gateway.signal(Signal::CONT);
    tape.fires(&["CampanileDeliveryDelay", "CampanileHangs gateway-1"]);
    tape
}

async fn stopped_broker(mut tape: Tape) -> Tape {
    let cluster = start(1, "", "").await;
    scrape_all(&mut tape, &cluster).await;
    let _load = Load::usual(&cluster);
    tape.quiet_minutes().await;
    cluster.broker.signal(Signal::STOP);
    tape.run(14).await;
    tape.fires(&[
        "CampanileNoBroker",
        "CampanileDown broker",
        "CampanileNotReady gateway-1",
        "CampanileNotReady publisher",
        "CampanileRefusedPushes",
    ]);
    tape
}

async fn slow_readers(mut tape: Tape) -> Tape {
    let cluster = start(1, "", "--max-outbox 64KiB").await;
    scrape_all(&mut tape, &cluster).await;
    let load =
        Load::default().clients(cluster.gateway_addresses[0], 30).pushes(&cluster, 5, 1, 48 << 10);
    tape.quiet_minutes().await;
    let _load = load.slow_readers(cluster.gateway_addresses[0], 15);
    tape.run(36).await;
    tape.fires(&["CampanileSlowReaders"]);
    tape
}

async fn reconnects(mut tape: Tape) -> Tape {
    let cluster = start(1, "", "").await;
    scrape_all(&mut tape, &cluster).await;
    let quiet = Load::default()
        .clients(cluster.gateway_addresses[0], 20)
        .breaking(cluster.gateway_addresses[0], 2, Duration::from_secs(6))
        .pushes(&cluster, 5, 1, 64);
    tape.note(
        "Its first minutes, in which two clients come back every 6 s, are repeated for a day.",
    );
    tape.run(8).await;
    tape.repeat(5_760);
    tape.is_quiet();
    let _load = quiet.breaking(cluster.gateway_addresses[0], 60, Duration::from_secs(5));
    tape.run(20).await;
    tape.fires(&["CampanileReconnects"]);
    tape
}

async fn new_epoch(mut tape: Tape) -> Tape {
    let mut cluster = start(1, "", "").await;
    let _load = a_quiet_quarter_of_an_hour(&mut tape, &cluster).await;
    cluster.broker.kill().await;
    cluster.start_broker_again().await;
    tape.scrape_from_now("broker", &cluster.broker).await;
    tape.run(4).await;
    tape.fires(&["CampanileEpochChange broker"]);
    tape
}

async fn same_epoch(mut tape: Tape) -> Tape {
    let disk = SmallDisk::new(64 << 20);
    let mut cluster = on_disk(&disk).await;
    let _load = a_quiet_quarter_of_an_hour(&mut tape, &cluster).await;
    cluster.broker.kill().await;
    cluster.broker = broker_on_disk(&disk, &cluster.broker_address.to_string());
    tape.scrape_from_now("broker", &cluster.broker).await;
    tape.run(4).await;
    tape.fires(&[]);
    tape
}

async fn a_quiet_quarter_of_an_hour(tape: &mut Tape, cluster: &Cluster) -> Load {
    scrape_all(tape, cluster).await;
    let load = Load::usual(cluster);
    tape.note("Its first minute is repeated for 15.");
    tape.run(4).await;
    tape.repeat(60);
    tape.is_quiet();
    load
}

fn broker_on_disk(disk: &SmallDisk, listen: &str) -> Process {
    let data = format!("{}/broker", disk.path());
    let args = ["broker", "--listen", listen, "--data-dir", &data];
    let args: Vec<_> = args.into_iter().chain(ADMIN.split(' ')).collect();
    Process::start_in(&disk.program(), &args)
}

/// A cluster whose broker has its log on a disk.
async fn on_disk(disk: &SmallDisk) -> Cluster {
    let broker = broker_on_disk(disk, "127.0.0.1:0");
    let broker_address = broker.address("the broker listens").await;
    let flags: Vec<_> = ADMIN.split(' ').map(str::to_owned).collect();
    let gateway = start_gateway(broker_address, &flags);
    let publisher = start_publisher(broker_address, &flags);
    Cluster::from_processes(broker, gateway, publisher).await
}

async fn hanging_disk(mut tape: Tape) -> Tape {
    let disk = SmallDisk::that_hangs(128 << 20);
    let cluster = on_disk(&disk).await;
    scrape_all(&mut tape, &cluster).await;
    let _load = Load::usual(&cluster);
    tape.quiet_minutes().await;
    disk.hang(true);
    tape.run(8).await;
    tape.fires(&["CampanileSlowDisk broker"]);
    disk.hang(false);
    tape
}

async fn slow_disk(mut tape: Tape) -> Tape {
    let disk = SmallDisk::that_hangs(128 << 20);
    let cluster = on_disk(&disk).await;
    scrape_all(&mut tape, &cluster).await;
    let _load = Load::usual(&cluster);
    tape.quiet_minutes().await;
    let hangs = async {
        loop {
            disk.hang(true);
            sleep(Duration::from_secs(1)).await;
            disk.hang(false);
            sleep(Duration::from_secs(2)).await;
        }
    };
    tokio::select! {
        () = hangs => {}
        () = tape.run(10) => {}
    }
    // A broker whose write hangs does not end.
    disk.hang(false);
    tape.fires(&["CampanileSlowDisk broker"]);
    tape
}

async fn full_disk(mut tape: Tape) -> Tape {
    let disk = SmallDisk::new(64 << 20);
    let cluster = on_disk(&disk).await;
    scrape_all(&mut tape, &cluster).await;
    let _load = Load::usual(&cluster);
    tape.note("Its size is looked at every 30 s.");
    tape.quiet_minutes().await;
    disk.fill_but(4 << 20);
    tape.run(26).await;
    tape.fires(&["CampanileFullDisk broker"]);
    tape
}

async fn old_certificate(mut tape: Tape) -> Tape {
    let files = Files::new(&["localhost"]);
    let end = SystemTime::now() + Duration::from_secs(14 * 86_400 + 90);
    let issued = files.authority.issue_until(&["localhost"], end);
    files.write("cert.pem", issued.chain);
    files.write("key.pem", issued.key);
    let cluster = start(1, "", &files.flags()).await;
    scrape_all(&mut tape, &cluster).await;
    tape.run(5).await;
    tape.is_quiet();
    tape.run(6).await;
    tape.fires(&["CampanileCertificateExpires gateway-1"]);
    tape
}

async fn frozen_thread(mut tape: Tape) -> Tape {
    let cluster = start(1, "", "").await;
    scrape_all(&mut tape, &cluster).await;
    let _load = Load::usual(&cluster);
    tape.quiet_minutes().await;
    freeze(&cluster.gateways[0], Duration::from_millis(3_400)).await;
    tape.run(2).await;
    tape.fires(&["CampanileHangs gateway-1"]);
    tape
}

async fn open_files(mut tape: Tape) -> Tape {
    let mut cluster = start(0, "", "").await;
    let broker = cluster.broker_address.to_string();
    let listen = ["gateway", "--listen", "127.0.0.1:0", "--broker", &broker];
    let args: Vec<_> = listen.into_iter().chain(ADMIN.split(' ')).collect();
    let program = ["prlimit", "--nofile=2000:2000"].map(str::to_owned);
    let gateway = Process::start_in(&program, &args);
    let address = gateway.address("the gateway listens").await;
    gateway.said("the gateway takes connections").await;
    cluster.gateways.push(gateway);
    scrape_all(&mut tape, &cluster).await;
    let load = Load::default().clients(address, 1_000);
    tape.quiet_minutes().await;
    let _load = load.clients(address, 840);
    tape.run(8).await;
    tape.fires(&["CampanileOpenFiles gateway-1"]);
    tape
}
