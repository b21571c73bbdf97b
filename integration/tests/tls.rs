//! TLS of real processes: other programs as clients, certificates that change, and what is wrong with
//! them.

use std::process::{Command, Stdio};

use campanile_harness::client::raw::{Client, request};
use campanile_harness::tls::{Authority, Files};
use campanile_harness::{Cluster, Process, PushApi, Signal, Websocket, command, output_of, until};
use rustls::ALL_VERSIONS;

/// A certificate for `push.test` in files.
fn certificate() -> Files {
    Files::new(&["push.test", "127.0.0.1"])
}

/// A cluster whose gateway and publisher speak TLS.
async fn start(files: &Files) -> Cluster {
    let flags = files.flags() + " --allow-host push.test";
    Cluster::of(1).gateway(&flags).publisher(&flags).start().await
}

/// Runs a program to its end, and returns what it wrote to standard output, or its exit code.
fn run(program: &str, args: &[&str]) -> Result<String, Option<i32>> {
    let output = output_of(Command::new(program).args(args).stdin(Stdio::null()));
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).expect("UTF-8")),
        false => Err(output.status.code()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_pushes_and_listens_over_tls() {
    let files = certificate();
    let cluster = start(&files).await;
    let (gateway, publisher) = (cluster.gateway_addresses[0], cluster.push[0].address);
    let ca = files.shown("ca.pem");
    let events = format!("https://push.test:{}/events", gateway.port());
    let resolve = |port: u16| format!("push.test:{port}:127.0.0.1");
    let mut listening = Command::new("curl");
    listening.args(["-sN", "--cacert", &ca, "--resolve", &resolve(gateway.port()), &events]);
    listening.stdin(Stdio::null()).stdout(Stdio::piped());
    let listening = Process::run("curl", listening);
    listening.said("event: sync").await;
    let push = format!("https://push.test:{}/?content=hello", publisher.port());
    let resolve = resolve(publisher.port());
    for version in ["--tlsv1.3", "--tlsv1.2"] {
        let most = version.replace("--tlsv", "");
        let args =
            ["-s", "--cacert", &ca, "--resolve", &resolve, version, "--tls-max", &most, &push];
        assert_eq!(run("curl", &args), Ok("ok".to_owned()), "{version}");
    }
    listening.said("data: hello").await;
    // 60: the authority is unknown. 35: no version in common.
    assert_eq!(run("curl", &["-s", "--resolve", &resolve, &push]), Err(Some(60)));
    let old =
        ["-s", "--cacert", &ca, "--resolve", &resolve, "--tlsv1.0", "--tls-max", "1.1", &push];
    assert_eq!(run("curl", &old), Err(Some(35)));
    let plain = push.replace("https", "http");
    let refused = run("curl", &["-s", "--resolve", &resolve, &plain]);
    assert_eq!(refused, Ok("this port speaks TLS: use https or wss\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn node_and_python_talk_to_it_over_tls() {
    let files = certificate();
    let cluster = start(&files).await;
    let gateway = cluster.gateway_addresses[0];
    let (ca, port) = (files.shown("ca.pem"), gateway.port().to_string());
    let node = "const [ca, port] = process.argv.slice(1); \
        const options = { host: '127.0.0.1', port, servername: 'push.test', \
            ca: require('fs').readFileSync(ca), headers: { Connection: 'Upgrade', Upgrade: 'websocket', \
            'Sec-WebSocket-Version': 13, 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' } }; \
        const request = require('https').request(options); \
        request.on('upgrade', (answer, socket, head) => { \
            const said = text => { if (!text) return; console.log(text); socket.destroy(); }; \
            said(head.toString()); socket.on('data', data => said(data.toString())); }); \
        request.on('error', error => { console.error(error); process.exit(1); }); request.end();";
    let said = run("node", &["-e", node, &ca, &port]).expect("node speaks TLS");
    assert!(said.contains("workerID:"), "{said:?}");
    let python = "import socket, ssl, sys\n\
        context = ssl.create_default_context(cafile=sys.argv[1])\n\
        tcp = socket.create_connection(('127.0.0.1', int(sys.argv[2])), 30)\n\
        tls = context.wrap_socket(tcp, server_hostname='push.test')\n\
        tls.sendall(b'GET /health/ready HTTP/1.1\\r\\nHost: push.test\\r\\n\\r\\n')\n\
        answer = b''.join(iter(lambda: tls.recv(4096), b''))\n\
        print(tls.version(), answer.decode().splitlines()[-1])\n";
    let said = run("python3", &["-c", python, &ca, &port]).expect("python speaks TLS");
    assert_eq!(said, "TLSv1.3 ok\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_again_at_sighup() {
    let mut files = certificate();
    let cluster = start(&files).await;
    let gateway = &cluster.gateways[0];
    let address = cluster.gateway_addresses[0];
    let is_trusted = |authority: &Authority| {
        let mut client = Client::secure(address, &authority.client(ALL_VERSIONS), "push.test");
        client.try_send(&request("/", &[])).is_ok()
    };
    let old = std::mem::take(&mut files.authority);
    let mut before = Client::secure(address, &old.client(ALL_VERSIONS), "push.test");
    before.send(&request("/", &[]));
    before.upgraded();
    // The key belongs to another certificate until both files are written.
    let issued = files.authority.issue(&["push.test"]);
    files.write("cert.pem", &issued.chain);
    gateway.signal(Signal::HUP);
    let said = gateway.said("the settings stay as they were").await;
    assert!(said.contains("cert.pem") && said.contains("does not belong"), "{said}");
    assert!(is_trusted(&old) && !is_trusted(&files.authority));
    files.write("key.pem", &issued.key);
    gateway.reread().await;
    assert!(!is_trusted(&old) && is_trusted(&files.authority));
    assert!(before.recv().payload.starts_with(b"workerID:"), "it stays connected");
}

#[test]
fn certificates_that_cannot_be_used_are_an_error_at_the_start() {
    let files = certificate();
    let another = Authority::new().issue(&["push.test"]);
    files.write("another.pem", another.key);
    let [cert, key, other, none] =
        ["cert.pem", "key.pem", "another.pem", "none.pem"].map(|name| files.shown(name));
    for service in ["gateway", "publisher"] {
        for (flags, parts) in [
            (vec!["--tls-cert", &cert], ["tls_cert", "--tls-key"]),
            (vec!["--tls-key", &key], ["tls_key", "--tls-cert"]),
            (vec!["--tls-cert", &cert, "--tls-key", &other], ["another.pem", "does not belong"]),
            (vec!["--tls-cert", &none, "--tls-key", &key], ["none.pem", "cannot read it"]),
            (vec!["--tls-cert", &key, "--tls-key", &key], ["key.pem", "no certificate in it"]),
            (vec!["--tls-cert", &cert, "--tls-key", &cert], ["cert.pem", "no private key in it"]),
        ] {
            let mut args = vec![service];
            args.extend(flags);
            let output = output_of(&mut command(&args));
            let said = String::from_utf8(output.stderr).expect("UTF-8");
            assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
            assert!(parts.iter().all(|part| said.contains(part)), "{args:?}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_file_lists_certificates_by_name() {
    let files = certificate();
    let second = files.authority.issue(&["second.test"]);
    files.write("second.pem", [second.chain, second.key].concat());
    let settings = format!(
        "[[tls.certificates]]\ncert = {:?}\nkey = {:?}\n[[tls.certificates]]\ncert = {:?}\nkey = {:?}\n",
        files.path("cert.pem"),
        files.path("key.pem"),
        files.path("second.pem"),
        files.path("second.pem")
    );
    files.write("campanile.toml", settings);
    let config = files.shown("campanile.toml");
    let up = Process::start(&[
        "up",
        "--config",
        &config,
        "--broker-listen=127.0.0.1:0",
        "--gateway-listen=127.0.0.1:0",
        "--publisher-listen=127.0.0.1:0",
    ]);
    let page = up.said("open       https://127.0.0.1:").await;
    up.said("push       curl 'https://127.0.0.1:").await;
    let address = page.trim().trim_start_matches("open       https://").trim_end_matches('/');
    let address = address.parse().expect("an address");
    let trusting = files.authority.client(ALL_VERSIONS);
    for (name, is_served) in [("push.test", true), ("second.test", true), ("third.test", false)] {
        let mut client = Client::secure(address, &trusting, name);
        assert_eq!(client.try_send(&request("/", &[])).is_ok(), is_served, "{name}");
    }
}

/// A broker whose links need TLS, and certificates of the authority.
async fn start_broker(files: &Files) -> (Process, String) {
    let flags = files.flags();
    let mut args = vec!["broker", "--listen=127.0.0.1:0"];
    args.extend(flags.split(' '));
    let ca = files.shown("ca.pem");
    args.extend(["--client-ca", &ca]);
    let broker = Process::start(&args);
    let address = broker.address("the broker listens").await;
    (broker, format!("tls://{address}"))
}

/// A service that is linked with these files.
fn start_linked(service: &str, broker: &str, files: &Files, own: Option<[&str; 2]>) -> Process {
    let ca = files.shown("ca.pem");
    let own = own.map(|names| names.map(|name| files.shown(name)));
    let mut args = vec![service, "--listen=127.0.0.1:0", "--broker", broker, "--broker-ca", &ca];
    if let Some([cert, key]) = &own {
        args.extend(["--link-cert", cert, "--link-key", key]);
    }
    Process::start(&args)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_linked_over_tls_with_certificates_on_both_sides() {
    let files = certificate();
    let (_broker, address) = start_broker(&files).await;
    let own = Some(["cert.pem", "key.pem"]);
    let gateway = start_linked("gateway", &address, &files, own);
    let publisher = start_linked("publisher", &address, &files, own);
    gateway.said("the gateway takes connections").await;
    let listens = gateway.address("the gateway listens").await;
    let push = PushApi::new(publisher.address("the publisher listens").await);
    let mut client = Websocket::plain(listens, &["news"]).await;
    // Larger than what is sealed at a time, and many in a row.
    let large = "x".repeat(900_000);
    let post = async |content: &str| {
        let answer =
            push.post(&[("to_group", "news")], Some("text/plain"), content.to_owned()).await;
        assert_eq!(answer.body, "ok");
    };
    post(&large).await;
    assert!(client.text().await == large);
    for number in 0..100 {
        let content = format!("{number} {}", "y".repeat(number * 100));
        post(&content).await;
        assert_eq!(client.text().await, content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_without_the_right_certificates_fails_with_a_sentence() {
    let files = certificate();
    let (broker, address) = start_broker(&files).await;
    let own = Some(["cert.pem", "key.pem"]);
    let fails = async |service: Process, sentence: &str| {
        let said = service.said("no link to the broker").await;
        assert!(said.contains(sentence), "{said}");
    };
    fails(start_linked("gateway", &address, &files, None), "CertificateRequired").await;
    let strangers = certificate();
    fails(start_linked("gateway", &address, &strangers, own), "UnknownIssuer").await;
    let plain = address.trim_start_matches("tls://");
    let speaks = "the broker speaks TLS: give its address as tls://HOST:PORT";
    fails(Process::start(&["publisher", "--listen=127.0.0.1:0", "--broker", plain]), speaks).await;
    let elsewhere = Cluster::of(0).start().await;
    let without = format!("tls://{}", elsewhere.broker_address);
    fails(start_linked("publisher", &without, &files, own), "no TLS with the broker").await;
    // The broker is there for those who have a right to it.
    let gateway = start_linked("gateway", &address, &files, own);
    gateway.said("the gateway takes connections").await;
    assert_eq!(broker.count("panicked"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_over_good_tls_needs_the_secret_too() {
    let files = certificate();
    let (secret, wrong) = (files.shown("secret"), files.shown("wrong"));
    files.write("secret", "one secret of this test");
    files.write("wrong", "another secret of this test");
    let (flags, ca) = (files.flags(), files.shown("ca.pem"));
    let mut args = vec!["broker", "--listen=127.0.0.1:0", "--secret-file", &secret];
    args.extend(flags.split(' '));
    let broker = Process::start(&args);
    let address = format!("tls://{}", broker.address("the broker listens").await);
    let start = |service, with: &[&str]| {
        let args = [service, "--listen=127.0.0.1:0", "--broker", &address, "--broker-ca", &ca];
        Process::start(&[&args[..], with].concat())
    };
    for (with, sentence) in [
        (vec!["--secret-file", &wrong], "the broker has another cluster secret than this side"),
        (vec![], "this broker has links only with those who prove"),
    ] {
        for service in ["gateway", "publisher"] {
            let refused = start(service, &with);
            let said = refused.said("no link to the broker").await;
            assert!(said.contains(sentence), "{said}");
            assert_eq!(refused.count("linked to the broker"), 0);
        }
    }
    let with = ["--secret-file", &secret];
    let (gateway, publisher) = (start("gateway", &with), start("publisher", &with));
    gateway.said("the gateway takes connections").await;
    let mut client =
        Websocket::plain(gateway.address("the gateway listens").await, &["news"]).await;
    let push = PushApi::new(publisher.address("the publisher listens").await);
    push.position(&[("to_group", "news"), ("content", "a")]).await;
    assert_eq!(client.text().await, "a");
    until(|| broker.count("principal=member") >= 2).await;
}

#[test]
fn flags_for_tls_of_links_that_contradict_each_other_are_an_error() {
    let files = certificate();
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| files.shown(name));
    for (args, part) in [
        (vec!["gateway", "--broker", "tls://127.0.0.1:1"], "needs --broker-ca"),
        (vec!["publisher", "--broker", "127.0.0.1:1", "--broker-ca", &ca], "tls://127.0.0.1:1"),
        (
            vec!["gateway", "--broker", "127.0.0.1:1,127.0.0.1:2", "--broker-ca", &ca],
            "accepted is tls://127.0.0.1:1,tls://127.0.0.1:2",
        ),
        (vec!["publisher", "--link-cert", &cert], "--link-key"),
        (vec!["broker", "--client-ca", &ca], "--tls-cert"),
        (vec!["broker", "--tls-key", &key], "--tls-cert"),
        (
            vec!["broker", "--tls-cert", &cert, "--tls-key", &key, "--client-ca", &key],
            "--client-ca",
        ),
    ] {
        let output = output_of(&mut command(&args));
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
    }
}
