//! Pushes over HTTP.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::Client;
use super::within;

/// How to push through one publisher. Clones share their connections.
#[derive(Clone)]
pub struct Publisher {
    http: reqwest::Client,
    pub address: SocketAddr,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What an accepted event is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Of the broker that accepted it.
    pub epoch: String,
    pub sequence: u64,
    pub gateways: u64,
    pub matched: u64,
}

impl Publisher {
    /// Pushes go to the publisher that listens at `address`.
    pub fn new(address: SocketAddr) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { http, address }
    }

    /// The URL of a push.
    pub fn url(&self, parameters: &[(&str, &str)]) -> String {
        format!("http://{}/?{}", self.address, encode(parameters.iter().copied()))
    }

    /// A push by GET.
    pub async fn get(&self, parameters: &[(&str, &str)]) -> Answer {
        answer(self.http.get(self.url(parameters))).await
    }

    /// A push by GET, with a query that is as it is.
    pub async fn get_raw(&self, query: &str) -> Answer {
        answer(self.http.get(format!("http://{}/?{query}", self.address))).await
    }

    /// A push by POST.
    pub async fn post(
        &self,
        parameters: &[(&str, &str)],
        content_type: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.http.post(self.url(parameters)).body(body);
        if let Some(content_type) = content_type {
            request = request.header("Content-Type", content_type);
        }
        answer(request).await
    }

    /// Pushes items with one request; returns the answer to each of them.
    pub async fn batch(&self, items: &[Value]) -> Vec<Value> {
        let body = serde_json::to_string(items).expect("JSON");
        let request = self.http.post(format!("http://{}/batch", self.address)).body(body);
        let answer = answer(request.header("Content-Type", "application/json")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).expect("a JSON array")
    }

    /// Another method.
    pub async fn request(&self, method: &str, parameters: &[(&str, &str)]) -> Answer {
        let method = method.parse().expect("a method");
        answer(self.http.request(method, self.url(parameters))).await
    }

    /// A push by GET whose receipt is to be JSON.
    pub async fn get_json(&self, parameters: &[(&str, &str)]) -> Answer {
        answer(self.http.get(self.url(parameters)).header("Accept", "application/json")).await
    }

    /// A push that must be answered `ok`.
    pub async fn ok(&self, parameters: &[(&str, &str)]) {
        let answer = self.get(parameters).await;
        assert_eq!((answer.status, &*answer.body), (200, "ok"), "{parameters:?}");
    }

    /// Tells everyone.
    pub async fn everyone(&self, content: &str) {
        self.ok(&[("content", content)]).await;
    }

    /// Tells a group.
    pub async fn group(&self, group: &str, content: &str) {
        self.ok(&[("to_group", group), ("content", content)]).await;
    }

    /// Tells one client.
    pub async fn to(&self, client: &Client, content: &str) {
        let [(worker, w), (connection, c)] = client.address();
        self.ok(&[(worker, &w), (connection, &c), ("content", content)]).await;
    }

    /// The position of a push that must be accepted.
    pub async fn position(&self, parameters: &[(&str, &str)]) -> String {
        let Receipt { epoch, sequence, .. } = self.receipt(parameters).await;
        format!("{epoch}-{sequence}")
    }

    /// The receipt of a push that must be accepted.
    pub async fn receipt(&self, parameters: &[(&str, &str)]) -> Receipt {
        let answer = self.get_json(parameters).await;
        assert_eq!(answer.status, 200, "{parameters:?}: {}", answer.body);
        receipt(&answer)
    }
}

/// Reads the receipt of an accepted event.
pub fn receipt(answer: &Answer) -> Receipt {
    let json: Value = serde_json::from_str(&answer.body).expect("JSON");
    let position = json["position"].as_str().expect("a text");
    let (epoch, sequence) = position.split_once('-').expect("an epoch and a sequence");
    Receipt {
        epoch: epoch.to_owned(),
        sequence: sequence.parse().expect("a number"),
        gateways: json["gateways"].as_u64().expect("a number"),
        matched: json["matched"].as_u64().expect("a number"),
    }
}

/// Encodes as a browser's form does.
pub fn encode<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut url = reqwest::Url::parse("http://host/").expect("a URL");
    url.query_pairs_mut().extend_pairs(parameters);
    url.query().unwrap_or_default().to_owned()
}

/// Sends bytes to a port and reads one answer, up to the end of the connection.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let read = async {
        let mut stream = TcpStream::connect(address).await.expect("a listener");
        stream.write_all(request).await.expect("an open connection");
        let mut bytes = Vec::new();
        // A reset after the answer does not take it back.
        while !is_complete(&bytes) && matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {}
        bytes
    };
    let bytes = within("an answer", read).await;
    parse(&String::from_utf8_lossy(&bytes))
}

/// Whether the body is as long as the head announces, or what follows is no HTTP any more. Else the
/// answer ends with the connection.
fn is_complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    if head.starts_with("HTTP/1.1 101") {
        return true;
    }
    let announced = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
    });
    announced.is_some_and(|len| body.len() >= len)
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(':'));
    Answer {
        status: status.unwrap_or_else(|| panic!("no status: {text:?}")),
        headers: headers.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect(),
        body: body.to_owned(),
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let answered = async {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let headers = response.headers().iter().map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let headers = headers.collect();
        Answer { status, headers, body: response.text().await.expect("a body") }
    };
    within("an answer of the publisher", answered).await
}
