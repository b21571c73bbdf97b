//! A part that hangs or panics ends its process with a line that names it. A process that was only
//! stopped or starved goes on. The binary has the feature `sabotage`: see `channel/src/watchdog/sabotage.rs`.

use std::collections::VecDeque;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_harness::client::raw::{FIN, TEXT, frame, request};
use campanile_harness::{Process, PushApi, Signal, Websocket, command_in, eventually};
use futures_util::stream::{self, StreamExt as _};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

/// Within this time, a part that hangs has ended its process.
const NOTICED: Duration = Duration::from_secs(10);

/// How many processes are tested at once.
const AT_ONCE: usize = 12;

/// The services, and all of them in one process.
const SERVICES: [Service; 4] = [Service::Up, Service::Broker, Service::Gateway, Service::Publisher];

/// Held exclusively by the test that needs all processors.
static PROCESSORS: RwLock<()> = RwLock::const_new(());

/// How a process is made to hang or panic, and what is watched in it.
struct Subject {
    process: Process,
    push: Option<SocketAddr>,
    gateway: Option<SocketAddr>,
    file: PathBuf,
    _directory: TempDir,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Up,
    /// With a data directory.
    UpOnDisk,
    Broker,
    /// With a listener for operators.
    BrokerForOperators,
    Gateway,
    /// With keys of tokens that come from a URL.
    GatewayWithUrl,
    Publisher,
}

impl Service {
    fn args(self, directory: &str) -> Vec<String> {
        let broker = {
            // Nobody listens there.
            let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            unused.local_addr().expect("bound").to_string()
        };
        let args = match self {
            Self::Up | Self::UpOnDisk => {
                "up --broker-listen=127.0.0.1:0 --gateway-listen=127.0.0.1:0 \
                 --publisher-listen=127.0.0.1:0 --workers=2"
            }
            Self::Broker => "broker --listen=127.0.0.1:0",
            Self::BrokerForOperators => "broker --listen=127.0.0.1:0 --admin-listen=127.0.0.1:0",
            Self::Gateway | Self::GatewayWithUrl => {
                "gateway --listen=127.0.0.1:0 --workers=2 --broker="
            }
            Self::Publisher => "publisher --listen=127.0.0.1:0 --broker=",
        };
        let more = match self {
            Self::UpOnDisk => format!(" --data-dir={directory}/data"),
            Self::Gateway | Self::Publisher => broker,
            Self::GatewayWithUrl => {
                let file = format!("{directory}/settings");
                // Nobody listens there, either.
                let text = format!("[tokens]\njwks_url = \"http://{broker}/\"\n");
                fs::write(&file, text).expect("a file");
                format!("{broker} --config={file}")
            }
            _ => String::new(),
        };
        format!("{args}{more}").split_whitespace().map(str::to_owned).collect()
    }

    /// The names of all watched parts; one that ends in `..` is a prefix.
    fn names(self) -> Vec<&'static str> {
        let broker = ["broker", "broker's service"];
        let gateway = [
            "acceptor",
            "bridge",
            "door 0",
            "door 1",
            "gateway's courier",
            "registry 0",
            "registry 1",
        ];
        let publisher = ["courier", "publisher's service", "publisher's worker 0"];
        // Nobody publishes at a gateway without a broker.
        let links = ["gateway's link", "gateway's publishing link", "publisher's link"];
        match self {
            Self::Up => {
                [&broker[..], &gateway, &publisher, &links, &["link with ..", "signals", "up"]]
                    .concat()
            }
            Self::UpOnDisk => vec!["writer"],
            Self::GatewayWithUrl => vec!["token keys"],
            Self::Broker => [&broker[..], &["signals"]].concat(),
            Self::BrokerForOperators => vec!["thread that answers operators"],
            Self::Gateway => [&gateway[..], &["gateway's link", "signals"]].concat(),
            Self::Publisher => [&publisher[..], &["publisher's link", "signals"]].concat(),
        }
    }
}

impl Subject {
    async fn start(service: Service, program: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let file = directory.path().join("sabotage");
        let program: Vec<_> = program.iter().map(|&word| word.to_owned()).collect();
        let args = service.args(directory.path().to_str().expect("UTF-8"));
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let mut command = command_in(&program, &args);
        command.env("CAMPANILE_SABOTAGE", &file);
        let process = Process::run(&format!("{service:?}"), command);
        let (mut push, mut gateway) = (None, None);
        match service {
            Service::Up | Service::UpOnDisk => {
                let address = async |service: &str| {
                    let line = process.said(&format!("  {service} ")).await;
                    let last = line.split_whitespace().last().and_then(|a| a.parse().ok());
                    Some(last.expect("an address"))
                };
                (push, gateway) = (address("publisher").await, address("gateway").await);
            }
            Service::Gateway | Service::GatewayWithUrl => {
                gateway = Some(process.address("the gateway listens").await)
            }
            Service::Broker | Service::BrokerForOperators | Service::Publisher => {
                drop(process.said("listens").await)
            }
        }
        Self { process, push, gateway, file, _directory: directory }
    }

    fn names_file(&self) -> PathBuf {
        self.file.with_extension("names")
    }

    /// The names of all watched parts now.
    fn names(&self) -> Vec<String> {
        let names = fs::read_to_string(self.names_file()).unwrap_or_default();
        names.lines().map(str::to_owned).collect()
    }

    /// The full name of a watched part.
    async fn whole(&self, name: &str) -> String {
        let start = name.strip_suffix("..");
        let is_meant = |watched: &String| match start {
            Some(start) => watched.starts_with(start),
            None => watched == name,
        };
        let what = format!("{name:?} is watched");
        eventually(&what, async || self.names().into_iter().find(is_meant)).await
    }

    /// Waits for this many turns of the watchdog.
    async fn turns(&self, turns: usize) {
        let file = self.names_file();
        let when = move || fs::metadata(&file).and_then(|data| data.modified()).ok();
        let mut last = when().unwrap_or(SystemTime::UNIX_EPOCH);
        for _ in 0..turns {
            last = eventually("a turn of the watchdog", async || when().filter(|at| *at != last))
                .await;
        }
    }

    /// Pushes, connects, publishes and shows a token with an unknown key again and again, and ignores the
    /// results: a thread that waits in the kernel beats only when there is something to do, and the link of
    /// those who publish is there from the first publish on.
    fn keep_busy(&self) -> JoinSet<()> {
        let mut busy = JoinSet::new();
        let gateway = self.gateway;
        for address in self.push.into_iter().chain(self.gateway) {
            busy.spawn(async move {
                let mut held = VecDeque::new();
                let mut times = interval(Duration::from_millis(200));
                loop {
                    times.tick().await;
                    if let Ok(mut stream) = TcpStream::connect(address).await {
                        let request = "GET /?content=x HTTP/1.1\r\nHost: localhost\r\n\
                                       Connection: close\r\n\r\n";
                        // The part that should read it may hang.
                        let _ = stream.write_all(request.as_bytes()).await;
                    }
                    if Some(address) != gateway {
                        continue;
                    }
                    for request in [publish(), show_token()] {
                        if let Ok(mut stream) = TcpStream::connect(address).await {
                            let _ = stream.write_all(&request).await;
                            held.push_back(stream);
                        }
                    }
                    held.drain(..held.len().saturating_sub(10));
                }
            });
        }
        busy
    }
}

/// A websocket that publishes something.
fn publish() -> Vec<u8> {
    let said = br#"{"type":"publish","group":"g","content":"x"}"#;
    let opening = request("/", &["Sec-WebSocket-Protocol: campanile.v1"]);
    [opening, frame(FIN | TEXT, said)].concat()
}

/// A request with a token whose key nobody knows.
fn show_token() -> Vec<u8> {
    let parts = [r#"{"alg":"EdDSA","kid":"unknown"}"#, r#"{"exp":9999999999}"#, &"x".repeat(64)];
    let token = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    request("/", &[&format!("Authorization: Bearer {token}")])
}

/// Makes a part hang or panic, and checks that its process ends in time with a line that names it.
#[expect(clippy::print_stdout, reason = "a failed test shows at which part it was")]
async fn is_noticed(service: Service, name: &str, what: &str) {
    let mut subject = Subject::start(service, &[]).await;
    let _at_work = subject.keep_busy();
    let name = subject.whole(name).await;
    fs::write(&subject.file, format!("{name} {what}\n")).expect("a file");
    let told = Instant::now();
    println!("{service:?}: {name} {what}: {}", subject.process.id());
    let status = subject.process.ended().await;
    let took = told.elapsed();
    assert_eq!(status.code(), Some(70), "{service:?}: {name} {what}");
    assert!(took < NOTICED, "{service:?}: {name} {what}: it took {took:?}");
    let is_named = |line: &String| {
        let (_, said) = line.split_once("ERROR").unwrap_or_default();
        let named = said.contains(&name) && said.contains("so this process ends");
        named
            && said.contains(if what == "panic" { "panicked, so" } else { "not answered for 5 s" })
    };
    // The last lines may be read after the process has ended.
    let line = format!("a line of {service:?} that names {name}: {what}");
    eventually(&line, async || subject.process.log().iter().any(is_named).then_some(())).await;
}

#[tokio::test]
async fn whatever_hangs_or_panics_is_noticed_and_named() {
    let _processors = PROCESSORS.read().await;
    let names = SERVICES
        .into_iter()
        .chain([Service::UpOnDisk, Service::BrokerForOperators, Service::GatewayWithUrl])
        .flat_map(|service| service.names().into_iter().map(move |name| (service, name)));
    let trials = names
        .flat_map(|(service, name)| ["stop", "panic"].map(|what| is_noticed(service, name, what)));
    stream::iter(trials).for_each_concurrent(AT_ONCE, |trial| trial).await;
}

#[tokio::test]
async fn the_tests_know_every_watched_part() {
    let _processors = PROCESSORS.read().await;
    for service in SERVICES {
        let subject = Subject::start(service, &[]).await;
        let _at_work = subject.keep_busy();
        let known = service.names();
        for name in &known {
            subject.whole(name).await;
        }
        let is_known = |watched: &String| {
            known.iter().any(|name| match name.strip_suffix("..") {
                Some(start) => watched.starts_with(start),
                None => watched == name,
            })
        };
        let is_counted = |name: &String| name.starts_with("publisher's worker ");
        let unknown: Vec<_> = subject.names().into_iter().filter(|n| !is_known(n)).collect();
        assert!(unknown.iter().all(is_counted), "{service:?}: {unknown:?}");
    }
}

/// Checks that a push reaches a client that was connected before, and that nothing has ended six turns
/// later.
async fn is_well(subject: &mut Subject, client: &mut Websocket, push: &PushApi, content: &str) {
    push.everyone(content).await;
    client.texts_until(content).await;
    subject.turns(6).await;
    assert!(subject.process.is_running());
}

async fn up_with_a_client(program: &[&str]) -> (Subject, Websocket, PushApi) {
    let subject = Subject::start(Service::Up, program).await;
    let client = Websocket::plain(subject.gateway.expect("up has one"), &[]).await;
    let push = PushApi::new(subject.push.expect("up has one"));
    (subject, client, push)
}

#[tokio::test]
async fn a_cluster_that_was_stopped_goes_on() {
    let _processors = PROCESSORS.read().await;
    let (mut subject, mut client, push) = up_with_a_client(&[]).await;
    subject.turns(1).await;
    subject.process.signal(Signal::STOP);
    sleep(Duration::from_secs(8)).await;
    subject.process.signal(Signal::CONT);
    is_well(&mut subject, &mut client, &push, "after").await;
}

#[tokio::test]
async fn a_service_that_was_stopped_goes_on() {
    let _processors = PROCESSORS.read().await;
    for stopped in [Service::Broker, Service::Gateway] {
        let mut cluster = campanile_harness::Cluster::of(1).start().await;
        let mut client = cluster.client_v1(0, &[]).await;
        let which = match stopped {
            Service::Broker => &cluster.broker,
            _ => &cluster.gateways[0],
        };
        which.signal(Signal::STOP);
        sleep(Duration::from_secs(8)).await;
        which.signal(Signal::CONT);
        let after = Instant::now();
        while after.elapsed() < Duration::from_secs(6) {
            cluster.push[0].everyone("meanwhile").await;
            sleep(Duration::from_millis(500)).await;
        }
        cluster.push[0].everyone("after").await;
        client.contents_until("after").await;
        assert!(cluster.broker.is_running() && cluster.gateways[0].is_running());
        assert!(cluster.publishers[0].is_running());
    }
}

#[tokio::test]
async fn a_starved_cluster_does_not_count_as_hung() {
    let _processors = PROCESSORS.write().await;
    let cores = std::thread::available_parallelism().expect("a number").get();
    let (mut subject, mut client, push) = up_with_a_client(&["nice", "-n", "19"]).await;
    let mut at_work = subject.keep_busy();
    let busy: Vec<_> = (0..4 * cores)
        .map(|number| {
            let mut command = Command::new("nice");
            command.args(["-n", "5", "sh", "-c", "while :; do :; done"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            Process::run(&format!("busy {number}"), command)
        })
        .collect();
    sleep(Duration::from_secs(15)).await;
    assert!(subject.process.is_running(), "{:?}", subject.process.log());
    drop(busy);
    at_work.shutdown().await;
    is_well(&mut subject, &mut client, &push, "after").await;
}
