//! A host name that has several addresses.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use campanile_harness::{Process, PushApi, Websocket, command_in};
use tempfile::NamedTempFile;

/// A hosts file in which `localhost` has both of its addresses, and a program that starts another one
/// with that file.
fn both_localhosts() -> (NamedTempFile, Vec<String>) {
    let mut hosts = NamedTempFile::new().expect("a file");
    hosts.write_all(b"::1 localhost\n127.0.0.1 localhost\n").expect("room");
    let flags = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let path = hosts.path().to_str().expect("UTF-8").to_owned();
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let program = ["unshare", flags, "sh", "-c", script, &path].map(str::to_owned).to_vec();
    (hosts, program)
}

/// The two addresses on which a service listens, as it logs them.
async fn addresses(process: &Process, listens: &str) -> [SocketAddr; 2] {
    let of = async |host: &str| {
        let line = process.said(&format!("{listens} address={host}:")).await;
        let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
        address.and_then(|a| a.parse().ok()).expect("an address")
    };
    [of("[::1]").await, of("127.0.0.1").await]
}

#[tokio::test]
async fn localhost_is_both_of_its_addresses_on_one_port() {
    let (_hosts, program) = both_localhosts();
    let start = |args: &[&str]| Process::run(&args.join(" "), command_in(&program, args));
    let broker = start(&["broker", "--listen=localhost:0"]);
    let brokers = addresses(&broker, "the broker listens").await;
    for broker in brokers.map(|broker| broker.to_string()) {
        let gateway = start(&["gateway", "--listen=localhost:0", "--broker", &broker]);
        let gateways = addresses(&gateway, "the gateway listens").await;
        let publisher = start(&["publisher", "--listen=localhost:0", "--broker", &broker]);
        let publishers = addresses(&publisher, "the publisher listens").await;
        gateway.said("the gateway takes connections").await;
        for addresses in [brokers, gateways, publishers] {
            let hosts = [IpAddr::from(Ipv6Addr::LOCALHOST), Ipv4Addr::LOCALHOST.into()];
            assert_eq!(addresses.map(|address| address.ip()), hosts);
            assert_eq!(addresses[0].port(), addresses[1].port());
        }
        let mut clients = Vec::new();
        for gateway in gateways {
            clients.push(Websocket::plain(gateway, &[]).await);
        }
        for publisher in publishers {
            PushApi::new(publisher).everyone("heard").await;
            for client in &mut clients {
                assert_eq!(client.text().await, "heard");
            }
        }
    }
}
