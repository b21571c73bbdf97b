//! What is measured: a new cluster, one that is already running, any other websocket server, or the
//! limit.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::args::BenchArgs;
use crate::crowd::Door;
use crate::disk;
use crate::process::Process;
use crate::push::{Http, Pusher};
use crate::tls::{Identity, Trust, argument};
use crate::usage;
use crate::wire::Speech;

/// A server that is measured. Processes that were started for it end when it is dropped.
pub struct Subject {
    /// Where clients connect, one for each gateway.
    pub doors: Vec<Door>,
    pub pusher: Pusher,
    /// The processes whose CPU counts.
    pub processes: Vec<u32>,
    /// Of these, the ones that hold the connections, whose memory counts.
    pub holders: Vec<u32>,
    _own: Vec<Process>,
    /// The broker of a new cluster.
    broker: Option<Broker>,
    _data: Option<TempDir>,
}

struct Broker {
    /// `None` while it is killed.
    process: Option<Process>,
    address: String,
    /// Its other arguments.
    rest: Vec<String>,
}

/// What a cluster looks like.
#[derive(Debug, Clone)]
pub struct Shape {
    pub gateways: usize,
    /// Whether the log is on disk.
    pub on_disk: bool,
    /// Further flags of the gateways.
    pub gateway_flags: Vec<String>,
    pub speech: Speech,
    /// The certificate of the gateways, if they speak TLS.
    pub identity: Option<Arc<Identity>>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            gateways: 1,
            on_disk: false,
            gateway_flags: Vec::new(),
            speech: Speech::Plain,
            identity: None,
        }
    }
}

impl Subject {
    /// Starts a cluster on free ports: a broker, gateways and a publisher, each a process.
    ///
    /// # Errors
    /// If a process does not start; the error has its log.
    pub fn cluster(shape: &Shape) -> anyhow::Result<Self> {
        let data = shape.on_disk.then(disk::directory).transpose()?;
        let mut rest = vec!["--log-size".to_owned(), "256MiB".to_owned()];
        if let Some(data) = &data {
            rest.extend(["--data-dir".to_owned(), data.path().display().to_string()]);
        }
        let (broker, address) = broker("127.0.0.1:0", &rest)?;
        let link = ["--listen", "127.0.0.1:0", "--broker", &address];
        let tls = match &shape.identity {
            None => Vec::new(),
            Some(identity) => vec![
                "--tls-cert".to_owned(),
                argument(&identity.certificate_file())?,
                "--tls-key".to_owned(),
                argument(&identity.key_file())?,
            ],
        };
        let mut own = Vec::new();
        let mut doors = Vec::new();
        for _ in 0..shape.gateways {
            let mut arguments = vec!["gateway"];
            arguments.extend(link);
            arguments.extend(shape.gateway_flags.iter().map(String::as_str));
            arguments.extend(tls.iter().map(String::as_str));
            let mut gateway = campanile(&arguments)?;
            gateway.said("the gateway takes connections")?;
            let door = door(gateway.address("the gateway listens")?, shape.speech);
            let trust = shape.identity.as_deref().map(Identity::trust).transpose()?;
            doors.push(Door { tls: trust, ..door });
            own.push(gateway);
        }
        let holders = own.iter().map(Process::id).collect();
        let mut arguments = vec!["publisher"];
        arguments.extend(link);
        let mut publisher = campanile(&arguments)?;
        let mut pusher = Http::connect(publisher.address("the publisher listens")?)?;
        own.push(publisher);
        // It is answered only when the publisher has its link.
        pusher.push("/", "first")?;
        Ok(Self {
            doors,
            pusher: Pusher::Http(pusher),
            processes: own.iter().chain([&broker]).map(Process::id).collect(),
            holders,
            _own: own,
            broker: Some(Broker { process: Some(broker), address, rest }),
            _data: data,
        })
    }

    /// Kills the broker of a new cluster.
    ///
    /// # Errors
    /// If there is none.
    pub fn kill_broker(&mut self) -> anyhow::Result<()> {
        let process = self.broker.as_mut().and_then(|broker| broker.process.take());
        let id = process.context("there is no broker to kill")?.id();
        self.processes.retain(|process| *process != id);
        Ok(())
    }

    /// Starts the broker again where it was, and waits until it listens.
    ///
    /// # Errors
    /// If there was none, or it does not start.
    pub fn start_broker(&mut self) -> anyhow::Result<()> {
        let Broker { process, address, rest } = self.broker.as_mut().context("no broker")?;
        let (started, _) = broker(address, rest)?;
        self.processes.push(started.id());
        *process = Some(started);
        Ok(())
    }

    /// The limit: one thread that does one send per connection.
    ///
    /// # Errors
    /// If it does not start.
    pub fn limit() -> anyhow::Result<Self> {
        Self::bare(Process::start(&["websockets"])?, None)
    }

    /// The limit over TLS: one thread with rustls.
    ///
    /// # Errors
    /// If it does not start.
    pub fn sealed_limit(identity: &Identity) -> anyhow::Result<Self> {
        let [certificate, key] = [identity.certificate_file(), identity.key_file()];
        let arguments = ["sealed", &argument(&certificate)?, &argument(&key)?];
        Self::bare(Process::start(&arguments)?, Some(identity.trust()?))
    }

    fn bare(mut server: Process, tls: Option<Trust>) -> anyhow::Result<Self> {
        let door = Door { tls, ..door(server.address("the limit listens")?, Speech::Plain) };
        let control = TcpStream::connect(server.address("the control listens")?)?;
        control.set_nodelay(true)?;
        let id = server.id();
        Ok(Self {
            doors: vec![door],
            pusher: Pusher::Bare(control),
            processes: vec![id],
            holders: vec![id],
            _own: vec![server],
            broker: None,
            _data: None,
        })
    }

    /// The running server that the command line names, if it names one.
    ///
    /// # Errors
    /// If flags contradict each other, or nobody listens at an address.
    pub fn running(args: &BenchArgs, speech: Speech) -> anyhow::Result<Option<Self>> {
        let (doors, pusher) = if let Some(url) = &args.url {
            let command = args.push_command.clone().context("--url needs a --push-command")?;
            ensure!(
                command.contains("{content}"),
                "--push-command {command:?} must say where the content goes: {{content}}"
            );
            let (address, host, target) = plain_url(url)?;
            let door = Door { address, host, target, speech, greets: false, tls: None };
            (vec![door], Pusher::Command(command))
        } else if let Some(publisher) = &args.publisher {
            let doors =
                args.gateway.iter().map(|gateway| Ok(door(resolve("--gateway", gateway)?, speech)));
            let doors = doors.collect::<anyhow::Result<Vec<_>>>()?;
            let publisher = resolve("--publisher", publisher)?;
            (doors, Pusher::Http(Http::connect(publisher)?))
        } else {
            return Ok(None);
        };
        ensure!(
            !(args.pid.is_empty() && args.gateway_pid.is_empty()),
            "give the server's processes by --pid: their CPU and memory are counted, on this host"
        );
        let holders = if args.gateway_pid.is_empty() { &args.pid } else { &args.gateway_pid };
        let mut processes: Vec<u32> = args.pid.iter().chain(&args.gateway_pid).copied().collect();
        processes.sort_unstable();
        processes.dedup();
        usage::cpu(&processes)?;
        Ok(Some(Self {
            doors,
            pusher,
            processes,
            holders: holders.clone(),
            _own: Vec::new(),
            broker: None,
            _data: None,
        }))
    }
}

/// A broker that listens, and its address.
fn broker(listen: &str, rest: &[String]) -> anyhow::Result<(Process, String)> {
    let mut arguments = vec!["broker", "--listen", listen];
    arguments.extend(rest.iter().map(String::as_str));
    let mut broker = campanile(&arguments)?;
    let address = broker.address("the broker listens")?.to_string();
    Ok((broker, address))
}

fn campanile(arguments: &[&str]) -> anyhow::Result<Process> {
    let mut all = vec!["campanile", "--"];
    all.extend(arguments);
    Process::start(&all)
}

/// Where clients of a gateway connect.
pub fn door(address: SocketAddr, speech: Speech) -> Door {
    let target = if speech == Speech::Events { "/events" } else { "/" }.to_owned();
    Door { address, host: address.to_string(), target, speech, greets: true, tls: None }
}

/// Where a websocket without TLS is: its address, host and target.
fn plain_url(url: &str) -> anyhow::Result<(SocketAddr, String, String)> {
    let rest = url
        .strip_prefix("ws://")
        .with_context(|| format!("--url {url}: accepted is ws://HOST:PORT/PATH, without TLS"))?;
    let (host, target) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    Ok((resolve("--url", &with_port)?, host.to_owned(), target.to_owned()))
}

fn resolve(flag: &str, address: &str) -> anyhow::Result<SocketAddr> {
    let found = address.to_socket_addrs().with_context(|| format!("{flag} {address}"))?.next();
    found.with_context(|| format!("{flag} {address}: there is no such host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_one_with_tls_refused() {
        let (address, host, target) = plain_url("ws://127.0.0.1:8080/sub?id=1").expect("plain");
        assert_eq!((address.port(), &*host, &*target), (8080, "127.0.0.1:8080", "/sub?id=1"));
        assert_eq!(plain_url("ws://127.0.0.1").expect("plain").2, "/");
        assert!(plain_url("wss://127.0.0.1/").is_err());
    }
}
