//! Programs that know nothing of Campanile, as clients over TLS with tokens. Those of pages are in `browser`,
//! and curl is in `tls.rs`.

#[path = "tokens/issuer.rs"]
mod issuer;
#[path = "tokens/over_tls.rs"]
mod over_tls;

use std::process::{Command, Stdio};

use campanile_harness::{Process, output_of};
use issuer::{fresh, token};
use over_tls::OverTls;
use serde_json::json;

/// Python's `websockets`: the token is in the first message.
const PYTHON: &str = r#"
import asyncio, json, ssl, sys, websockets
ca, port, token = sys.argv[1:]
async def main():
    context = ssl.create_default_context(cafile=ca)
    url = f"wss://localhost:{port}/?group=news"
    async with websockets.connect(url, ssl=context, subprotocols=["campanile.v1"]) as socket:
        await socket.send(json.dumps({"type": "auth", "token": token}))
        async for message in socket:
            print(message, flush=True)
asyncio.run(main())
"#;

/// Node's `ws`: the token is in a header.
const NODE_WS: &str = r#"
const [ca, port, token] = process.argv.slice(1);
const WebSocket = require('ws');
const options = { ca: require('fs').readFileSync(ca), headers: { Authorization: `Bearer ${token}` } };
const socket = new WebSocket(`wss://localhost:${port}/?group=news`, ['campanile.v1'], options);
socket.on('message', (message) => console.log(message.toString()));
socket.on('error', (error) => { console.error(error); process.exit(1); });
"#;

/// Node's `eventsource`: the same with an event stream.
const NODE_EVENT_SOURCE: &str = r#"
const [ca, port, token] = process.argv.slice(1);
const EventSource = require('eventsource');
const source = new EventSource(`https://localhost:${port}/events?group=news`, {
  headers: { Authorization: `Bearer ${token}` },
  https: { ca: require('fs').readFileSync(ca) },
});
source.addEventListener('sync', ({ data }) => console.log(`welcome ${data}`));
source.onmessage = ({ data }) => console.log(data);
source.onerror = (error) => console.error(error);
"#;

/// Where Debian has the modules of its packages.
const NODE_PATH: &str = "/usr/share/nodejs:/usr/lib/nodejs:/usr/share/node_modules";

/// A Python that has `websockets`. The first one in the path may be another than that of the system.
fn python() -> &'static str {
    let has_it = |python: &&str| {
        let mut command = Command::new(python);
        command.args(["-c", "import websockets"]).stdin(Stdio::null());
        output_of(&mut command).status.success()
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has_it);
    found.expect("Python has websockets (Debian: python3-websockets)")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_python_and_node_listen_over_tls_with_a_token() {
    let over_tls = OverTls::start("").await;
    let OverTls { cluster, files, .. } = &over_tls;
    let port = cluster.gateway_addresses[0].port().to_string();
    let good = over_tls.token(json!({ "sub": "42" }));
    let bad = token(&fresh(), json!({ "sub": "42" }));
    let start = |program: &str, flag: &str, script: &str, token: &str| {
        let mut command = Command::new(program);
        command.args([flag, script]).arg(files.path("ca.pem")).args([&port, token]);
        command.env("NODE_PATH", NODE_PATH);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Process::run(program, command)
    };
    let python = python();
    let clients =
        [(python, "-c", PYTHON), ("node", "-e", NODE_WS), ("node", "-e", NODE_EVENT_SOURCE)];
    let listening = clients.map(|(program, flag, script)| start(program, flag, script, &good));
    for client in &listening {
        client.said("welcome").await;
    }
    cluster.push[0].group("news", "안녕 over TLS").await;
    for client in &listening {
        client.said("안녕 over TLS").await;
    }
    for ((program, flag, script), refused) in
        clients.into_iter().zip(["invalid_token", "invalid_token", "401"])
    {
        let client = start(program, flag, script, &bad);
        client.said(refused).await;
        assert_eq!(client.count("welcome"), 0);
    }
}
