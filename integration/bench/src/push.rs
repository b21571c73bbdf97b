//! How contents are pushed, one at a time or many at once.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use bytes::BytesMut;

use crate::stop::LeftOut;
use crate::wire::{self, Response};

/// A way to push to all clients.
pub enum Pusher {
    /// The push API.
    Http(Http),
    /// The control connection of a bare server.
    Bare(TcpStream),
    /// A command line with `{content}` in it, for any other server.
    Command(String),
}

impl Pusher {
    /// Pushes a content to everyone; [`finish`](Self::finish) must follow.
    ///
    /// # Errors
    /// If the connection or the command fails.
    pub fn begin(&mut self, content: &str) -> anyhow::Result<()> {
        match self {
            Self::Http(http) => http.send("/", "text/plain", content.as_bytes()),
            Self::Bare(control) => Ok(control.write_all(&together(&[content]))?),
            Self::Command(template) => run(&template.replace("{content}", content)),
        }
    }

    /// Sends contents to each connection of a bare server, with one `send` for all of them.
    ///
    /// # Errors
    /// If the connection fails, or it is another server.
    pub fn send_together(&mut self, contents: &[String]) -> anyhow::Result<()> {
        match self {
            Self::Bare(control) => Ok(control.write_all(&together(contents))?),
            _ => Err(LeftOut("only a bare server sends contents together").into()),
        }
    }

    /// Waits for the answer, if there is one.
    ///
    /// # Errors
    /// If it is not 200.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Http(http) => http.answer().map(drop),
            Self::Bare(_) | Self::Command(_) => Ok(()),
        }
    }

    /// The push API.
    ///
    /// # Errors
    /// [`LeftOut`] if another server is measured.
    pub fn http(&mut self) -> anyhow::Result<&mut Http> {
        match self {
            Self::Http(http) => Ok(http),
            _ => Err(LeftOut("it is measured through the push API only").into()),
        }
    }
}

/// One kept connection to a publisher.
pub struct Http {
    stream: TcpStream,
    host: SocketAddr,
    input: BytesMut,
    chunk: Vec<u8>,
}

impl Http {
    pub fn connect(publisher: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(publisher)
            .with_context(|| format!("cannot connect to the publisher at {publisher}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: publisher, input: BytesMut::new(), chunk: vec![0; 64 << 10] })
    }

    /// Where the publisher listens.
    pub fn host(&self) -> SocketAddr {
        self.host
    }

    /// Pushes a content to the audience that the target names, and waits for the `ok`.
    ///
    /// # Errors
    /// If the answer is not 200.
    pub fn push(&mut self, target: &str, content: &str) -> anyhow::Result<()> {
        self.send(target, "text/plain", content.as_bytes())?;
        self.answer().map(drop)
    }

    /// Pushes a content, and returns its position.
    ///
    /// # Errors
    /// If the answer is not a receipt with a position.
    pub fn position(&mut self, target: &str, content: &str) -> anyhow::Result<String> {
        let kind = "text/plain\r\nAccept: application/json";
        self.send(target, kind, content.as_bytes())?;
        let receipt = String::from_utf8(self.answer()?.body)?;
        let position =
            receipt.split("\"position\":\"").nth(1).and_then(|rest| rest.split('"').next());
        position.map(str::to_owned).with_context(|| format!("no position in {receipt}"))
    }

    /// Pushes a batch of items, each a line of JSON; [`finish_batch`](Self::finish_batch) must follow.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn begin_batch(&mut self, items: &str) -> anyhow::Result<()> {
        self.send("/batch", "application/x-ndjson", items.as_bytes())
    }

    /// Waits for the answers to a batch of this many items.
    ///
    /// # Errors
    /// If an answer is not 200, or is missing.
    pub fn finish_batch(&mut self, items: usize) -> anyhow::Result<()> {
        let Response { body, .. } = self.answer()?;
        let mut accepted = 0;
        for answer in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            ensure!(
                wire::find(answer, b"\"status\":200").is_some(),
                "an item was answered {}",
                String::from_utf8_lossy(answer)
            );
            accepted += 1;
        }
        ensure!(accepted == items, "{items} items were pushed, and {accepted} were answered");
        Ok(())
    }

    /// The bytes of a request.
    pub fn request(&self, target: &str, kind: &str, body: &[u8]) -> Vec<u8> {
        request(self.host, target, &format!("Content-Type: {kind}"), body)
    }

    /// Sends a request and does not wait.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn send(&mut self, target: &str, kind: &str, body: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(&self.request(target, kind, body))?)
    }

    /// Waits for the answer to the oldest request that has none.
    ///
    /// # Errors
    /// If it is not 200.
    pub fn answer(&mut self) -> anyhow::Result<Response> {
        loop {
            if let Some(response) = wire::response(&mut self.input)? {
                ensure!(
                    response.status == 200,
                    "a push was answered {}: {}",
                    response.status,
                    String::from_utf8_lossy(&response.body)
                );
                return Ok(response);
            }
            let read = self.stream.read(&mut self.chunk)?;
            ensure!(read > 0, "the publisher closed the connection");
            self.input.extend_from_slice(&self.chunk[..read]);
        }
    }
}

/// The bytes of a POST. `headers` are more lines of its head, without the end of the last one.
pub fn request(host: SocketAddr, target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    let mut request = format!(
        "POST {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\nContent-Length: {len}\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// What a bare server of websockets reads, to send these contents to each connection at once.
fn together(contents: &[impl AsRef<str>]) -> Vec<u8> {
    let number = |len: usize| (len as u32).to_be_bytes();
    let mut bytes = number(contents.len()).to_vec();
    for content in contents {
        bytes.extend_from_slice(&number(content.as_ref().len()));
        bytes.extend_from_slice(content.as_ref().as_bytes());
    }
    bytes
}

/// An item of a batch or of a publish stream.
pub fn item(content: &str, group: Option<&str>) -> String {
    match group {
        None => format!(r#"{{"content":"{content}"}}"#),
        Some(group) => format!(r#"{{"content":"{content}","to":{{"group":"{group}"}}}}"#),
    }
}

fn run(command: &str) -> anyhow::Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null());
    let status = shell.status().context("cannot run sh")?;
    ensure!(status.success(), "the push command failed ({status}): {command}");
    Ok(())
}
