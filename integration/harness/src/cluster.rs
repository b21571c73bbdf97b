//! A cluster of processes.

mod disk;
mod log_pipe;
mod process;
mod returning;

use std::net::SocketAddr;
use std::path::Path;

use crate::client::{PushApi, Websocket};

pub use disk::SmallDisk;
pub use log_pipe::LogPipe;
pub use process::{Process, Signal, binary, command, command_in, output_of};
pub use returning::{NO_GROUPS, PROTOCOLS, not_recovered, on_disk, open_feed, recovered};

/// One broker, some gateways, some publishers. The processes are public, for the tests that kill or stop
/// them.
pub struct Cluster {
    pub broker: Process,
    pub broker_address: SocketAddr,
    pub gateways: Vec<Process>,
    pub gateway_addresses: Vec<SocketAddr>,
    pub publishers: Vec<Process>,
    /// How to push, one for each publisher.
    pub push: Vec<PushApi>,
    flags: Builder,
}

/// What a cluster is made of.
#[derive(Clone, Default)]
pub struct Builder {
    broker: Vec<String>,
    gateway: Vec<String>,
    publisher: Vec<String>,
    gateways: usize,
    publishers: usize,
}

impl Builder {
    /// More flags for the broker, separated by spaces.
    pub fn broker(mut self, flags: &str) -> Self {
        self.broker.extend(flags.split_whitespace().map(str::to_owned));
        self
    }

    /// More flags for each gateway, separated by spaces.
    pub fn gateway(mut self, flags: &str) -> Self {
        self.gateway.extend(flags.split_whitespace().map(str::to_owned));
        self
    }

    /// More flags for each publisher, separated by spaces.
    pub fn publisher(mut self, flags: &str) -> Self {
        self.publisher.extend(flags.split_whitespace().map(str::to_owned));
        self
    }

    /// Gives all processes the secret in this file.
    pub fn secret(self, file: &Path) -> Self {
        let flag = format!("--secret-file {}", file.display());
        self.broker(&flag).gateway(&flag).publisher(&flag)
    }

    /// Sets how many publishers there are; by default, one.
    pub fn publishers(mut self, publishers: usize) -> Self {
        self.publishers = publishers;
        self
    }

    /// Starts the processes and waits until each gateway takes connections.
    pub async fn start(self) -> Cluster {
        let broker = start("broker", "127.0.0.1:0", None, &self.broker);
        let broker_address = broker.address("the broker listens").await;
        let mut cluster = Cluster {
            broker,
            broker_address,
            gateways: Vec::new(),
            gateway_addresses: Vec::new(),
            publishers: Vec::new(),
            push: Vec::new(),
            flags: self,
        };
        for _ in 0..cluster.flags.publishers {
            cluster.add_publisher().await;
        }
        for _ in 0..cluster.flags.gateways {
            cluster.add_gateway().await;
        }
        cluster
    }
}

impl Cluster {
    /// A cluster of one broker, one publisher and this many gateways.
    pub fn of(gateways: usize) -> Builder {
        Builder { gateways, publishers: 1, ..Builder::default() }
    }

    /// A cluster of processes that were started one by one, and will not be replaced. Waits until the
    /// gateway takes connections.
    pub async fn from_processes(broker: Process, gateway: Process, publisher: Process) -> Self {
        gateway.said("the gateway takes connections").await;
        Self {
            broker_address: broker.address("the broker listens").await,
            broker,
            gateway_addresses: vec![gateway.address("the gateway listens").await],
            gateways: vec![gateway],
            push: vec![PushApi::new(publisher.address("the publisher listens").await)],
            publishers: vec![publisher],
            flags: Builder::default(),
        }
    }

    /// Starts one more gateway and waits until it takes connections. Returns its number.
    pub async fn add_gateway(&mut self) -> usize {
        let gateway = start_gateway(self.broker_address, &self.flags.gateway);
        self.gateway_addresses.push(gateway.address("the gateway listens").await);
        gateway.said("the gateway takes connections").await;
        self.gateways.push(gateway);
        self.gateways.len() - 1
    }

    /// Starts one more publisher. Returns its number.
    pub async fn add_publisher(&mut self) -> usize {
        let publisher = start_publisher(self.broker_address, &self.flags.publisher);
        self.push.push(PushApi::new(publisher.address("the publisher listens").await));
        self.publishers.push(publisher);
        self.publishers.len() - 1
    }

    /// Kills a gateway and starts another one on its port.
    pub async fn replace_gateway(&mut self, number: usize) {
        self.gateways[number].kill().await;
        self.replace_gateway_that_ended(number).await;
    }

    /// Starts a gateway on the port of one that ended.
    pub async fn replace_gateway_that_ended(&mut self, number: usize) {
        let listen = self.gateway_addresses[number].to_string();
        let gateway = start("gateway", &listen, Some(self.broker_address), &self.flags.gateway);
        gateway.said("the gateway takes connections").await;
        self.gateways[number] = gateway;
    }

    /// Starts a broker on the port of the one that ended.
    pub async fn start_broker_again(&mut self) {
        assert!(!self.broker.is_running(), "its port is still taken");
        let listen = self.broker_address.to_string();
        self.broker = start("broker", &listen, None, &self.flags.broker);
        self.broker.said("the broker listens").await;
    }

    /// All processes, the broker first.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        [&self.broker].into_iter().chain(&self.gateways).chain(&self.publishers)
    }

    /// A plain client of a gateway that listens to these groups.
    pub async fn client(&self, gateway: usize, groups: &[&str]) -> Websocket {
        Websocket::plain(self.gateway_addresses[gateway], groups).await
    }

    /// A client of a gateway that speaks `campanile.v1` and listens to these groups.
    pub async fn client_v1(&self, gateway: usize, groups: &[&str]) -> Websocket {
        Websocket::v1(self.gateway_addresses[gateway], groups).await
    }
}

/// A gateway on a free port, for a broker that may not be there yet.
pub fn start_gateway(broker: SocketAddr, flags: &[String]) -> Process {
    start("gateway", "127.0.0.1:0", Some(broker), flags)
}

/// A publisher on a free port, for a broker that may not be there yet.
pub fn start_publisher(broker: SocketAddr, flags: &[String]) -> Process {
    start("publisher", "127.0.0.1:0", Some(broker), flags)
}

fn start(service: &str, listen: &str, broker: Option<SocketAddr>, flags: &[String]) -> Process {
    let broker = broker.map(|broker| broker.to_string());
    let mut args = vec![service, "--listen", listen];
    args.extend(broker.iter().flat_map(|broker| ["--broker", broker]));
    args.extend(flags.iter().map(String::as_str));
    Process::start(&args)
}
