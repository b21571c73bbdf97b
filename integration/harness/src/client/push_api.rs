//! Pushes over HTTP, through one publisher.

use std::net::SocketAddr;

use serde_json::Value;

use super::http::Answer;
use super::query::encode;
use super::websocket::Websocket;
use crate::deadline::within;

/// How to push through one publisher. Clones share their connections.
#[derive(Clone)]
pub struct PushApi {
    http: reqwest::Client,
    pub address: SocketAddr,
}

/// The receipt of an accepted event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Of the broker that accepted it.
    pub epoch: String,
    pub sequence: u64,
    /// `u64::MAX` of a repeat, if the broker does not know it any more; as `matched`.
    pub gateways: u64,
    pub matched: u64,
}

/// A count that a receipt does not have.
pub const NOT_COUNTED: u64 = u64::MAX;

impl PushApi {
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

    /// A push by GET, with a query that is not encoded.
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

    /// A push by another method.
    pub async fn request(&self, method: &str, parameters: &[(&str, &str)]) -> Answer {
        let method = method.parse().expect("a method");
        answer(self.http.request(method, self.url(parameters))).await
    }

    /// A push by GET that asks for a JSON receipt.
    pub async fn get_json(&self, parameters: &[(&str, &str)]) -> Answer {
        answer(self.http.get(self.url(parameters)).header("Accept", "application/json")).await
    }

    /// A push that must be answered `ok`.
    pub async fn ok(&self, parameters: &[(&str, &str)]) {
        let answer = self.get(parameters).await;
        assert_eq!((answer.status, &*answer.body), (200, "ok"), "{parameters:?}");
    }

    /// Pushes to everyone.
    pub async fn everyone(&self, content: &str) {
        self.ok(&[("content", content)]).await;
    }

    /// Pushes to a group.
    pub async fn group(&self, group: &str, content: &str) {
        self.ok(&[("to_group", group), ("content", content)]).await;
    }

    /// Pushes to one client.
    pub async fn to(&self, client: &Websocket, content: &str) {
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
        gateways: count(&json["gateways"]),
        matched: count(&json["matched"]),
    }
}

fn count(json: &Value) -> u64 {
    if json.is_null() { NOT_COUNTED } else { json.as_u64().expect("a number") }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let answered = async {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let lines = headers.map(|(name, value)| {
            format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()))
        });
        let head = format!("HTTP/1.1 {status}\r\n{}\r\n", lines.collect::<String>());
        Answer { status, head, body: response.text().await.expect("a body") }
    };
    within("an answer of the publisher", answered).await
}
