//! A client that uses the gateways' `campanile.js`, in Node or in a page of another origin.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use campanile_harness::{Process, eventually, exchange};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::chromium::Page;

const LISTEN: &str = include_str!("listen.mjs");

/// A client of some gateways.
pub enum JsClient<'a> {
    Node { process: Process, _module: TempDir },
    Browser(&'a Page),
}

impl<'a> JsClient<'a> {
    /// Starts a client in Node, with the module that the first gateway serves.
    pub async fn in_node(gateways: &[SocketAddr], options: &Value) -> JsClient<'static> {
        let request = b"GET /campanile.js HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let answer = exchange(gateways[0], request).await;
        assert_eq!(answer.status, 200);
        Self::in_node_with(&answer.body, &urls(gateways), options, None)
    }

    /// Starts a client in Node, with this module, which trusts the authority in a file.
    pub fn in_node_with(
        module: &str,
        urls: &Value,
        options: &Value,
        authority: Option<&Path>,
    ) -> JsClient<'static> {
        let directory = TempDir::new().expect("a temporary directory");
        let file = directory.path().join("campanile.mjs");
        std::fs::write(&file, module).expect("a file");
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/javascript/node.mjs");
        let mut command = Command::new("node");
        command.arg(program).arg(file).arg(urls.to_string()).arg(options.to_string());
        if let Some(authority) = authority {
            command.env("NODE_EXTRA_CA_CERTS", authority);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        JsClient::Node { process: Process::run("node", command), _module: directory }
    }

    /// Starts a client in a page of [`serve_blank_page`], which imports the module from the first gateway.
    pub async fn in_page(page: &'a Page, gateways: &[SocketAddr], options: &Value) -> Self {
        Self::in_page_with(page, &urls(gateways), options).await
    }

    /// The same with URLs.
    pub async fn in_page_with(page: &'a Page, urls: &Value, options: &Value) -> Self {
        let (urls, options) = (urls.to_string(), options.to_string());
        let body = "const [urls, options] = [...arguments].map(JSON.parse);
            window.notes = [];
            return Promise.all([import(`${urls[0]}/campanile.js`), import('/listen.mjs')]).then(
              ([{ Campanile }, { listen }]) => {
                window.client = listen(Campanile, urls, options, (note) => notes.push(note));
              })";
        page.js(body, &[&urls, &options]).await;
        JsClient::Browser(page)
    }

    /// Calls a method of the client.
    pub async fn call(&mut self, method: &str, args: &[&str]) {
        match self {
            Self::Node { process, .. } => {
                process.tell(&json!({ "method": method, "args": args }).to_string());
            }
            Self::Browser(page) => {
                let args: Vec<&str> = [method].iter().chain(args).copied().collect();
                let body = "const [method, ...args] = arguments; client[method](...args)";
                page.js(body, &args).await;
            }
        }
    }

    /// What its callbacks have noted so far.
    pub async fn notes(&self) -> Vec<Value> {
        match self {
            Self::Node { process, .. } => {
                let read = |line: &String| serde_json::from_str(line).ok();
                process.log().iter().filter_map(read).collect()
            }
            Self::Browser(page) => match page.js("return notes", &[]).await {
                Value::Array(notes) => notes,
                other => panic!("not notes: {other}"),
            },
        }
    }

    /// Waits until something is among its notes.
    pub async fn until<T>(&self, what: &str, found: impl Fn(&[Value]) -> Option<T>) -> T {
        eventually(&format!("the client notes {what}"), async || found(&self.notes().await)).await
    }

    /// Waits until it is connected for the `count`th time. Returns the gateway.
    pub async fn opened(&self, count: usize) -> SocketAddr {
        let what = format!("open, {count} times");
        let url = self.until(&what, |notes| {
            let mut opened = notes.iter().filter(|note| note["state"] == "open");
            Some(opened.nth(count - 1)?["url"].as_str().expect("a URL").to_owned())
        });
        let url = url.await;
        let rest = url.strip_prefix("ws://").unwrap_or_else(|| panic!("another URL: {url}"));
        let address = rest.split('/').next().and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("another URL: {url}"))
    }

    /// Waits until it has lost a connection or failed to get one, for the `count`th time.
    pub async fn lost(&self, count: usize) {
        self.until(&format!("waiting, {count} times"), |notes| {
            let waits = notes.iter().filter(|note| note["state"] == "waiting").count();
            (waits >= count).then_some(())
        })
        .await;
    }

    /// The audience and the content of the events up to and without the one that says `last`.
    pub async fn events_until(&self, last: &str) -> Vec<(Value, Value)> {
        let what = format!("the event {last:?}");
        self.until(&what, |notes| {
            let mut events = notes.iter().filter(|note| !note["event"].is_null());
            let at = events.clone().position(|note| note["event"] == last)?;
            let events = events.by_ref().take(at);
            Some(events.map(|note| (note["to"].clone(), note["event"].clone())).collect())
        })
        .await
    }

    /// All states so far, in order, with what came with them.
    pub async fn states(&self) -> Vec<Value> {
        self.notes().await.into_iter().filter(|note| !note["state"].is_null()).collect()
    }

    /// All gaps so far, in order.
    pub async fn gaps(&self) -> Vec<Value> {
        let notes = self.notes().await;
        notes.iter().map(|note| note["gap"].clone()).filter(|gap| !gap.is_null()).collect()
    }
}

fn urls(gateways: &[SocketAddr]) -> Value {
    gateways.iter().map(|address| format!("http://{address}")).collect()
}

/// Serves an empty page, of another origin than the gateways, for as long as the test runs.
pub async fn serve_blank_page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A browser that hangs up has lost interest.
            tokio::spawn(async move { answer(stream).await.ok() });
        }
    });
    format!("http://{address}/")
}

async fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    let mut line = first.clone();
    while !line.trim_end().is_empty() {
        line.clear();
        stream.read_line(&mut line).await?;
    }
    let (content_type, body) = match first.split(' ').nth(1) {
        Some("/listen.mjs") => ("text/javascript", LISTEN),
        _ => ("text/html", "<!doctype html><title>blank</title>"),
    };
    let len = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}; charset=utf-8\r\n\
         Content-Length: {len}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await
}
