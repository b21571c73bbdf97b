//! An operator who asks what became of events, and what the tests push.

use std::net::SocketAddr;

use campanile_harness::{Answer, Cluster, PushApi, Websocket, eventually, exchange};
use serde_json::{Value, json};

/// The operator's listener of a cluster's publisher.
pub struct Operator(pub SocketAddr);

impl Operator {
    pub async fn of(cluster: &Cluster) -> Self {
        Self(cluster.publishers[0].address("operators are answered").await)
    }

    /// Asks, and again while too much was asked within a second.
    pub async fn get(&self, query: &str) -> Answer {
        let head = format!("GET /trace?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
        let request = format!("{head}Connection: close\r\n\r\n");
        eventually("operators are answered", async || {
            let answer = exchange(self.0, request.as_bytes()).await;
            (answer.status != 503).then_some(answer)
        })
        .await
    }

    pub async fn event(&self, position: &str) -> Value {
        let answer = self.get(&format!("position={position}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// What became of an event, in the cluster and at a connection.
    pub async fn whole(&self, position: &str, (worker, connection): (u64, u64)) -> Value {
        let at = format!("position={position}&worker={worker}&connection={connection}");
        let answer = self.get(&at).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// What became of an event at a connection.
    pub async fn at(&self, position: &str, connection: (u64, u64)) -> Value {
        self.whole(position, connection).await["connection"].clone()
    }

    /// Waits until an event has this reason at a connection.
    pub async fn until(&self, position: &str, at: (u64, u64), reason: &str) -> Value {
        eventually(&format!("an event is {reason}"), async || {
            let connection = self.at(position, at).await;
            (connection["reason"] == reason).then_some(connection)
        })
        .await
    }
}

pub fn at(client: &Websocket) -> (u64, u64) {
    (client.worker, client.connection)
}

pub fn says(connection: &Value, part: &str) {
    let sentence = connection["sentence"].as_str().expect("a sentence");
    assert!(sentence.contains(part), "{part:?} is not in {connection}");
}

/// Pushes this to a group, and returns where it stands.
pub async fn push_to(push: &PushApi, group: &str, content: &str) -> String {
    push.position(&[("to_group", group), ("content", content)]).await
}

/// Pushes so many bytes to everyone or a group, and returns where they stand.
pub async fn push_large(push: &PushApi, group: Option<&str>, len: usize) -> String {
    let mut item = json!({"content": "x".repeat(len)});
    if let Some(group) = group {
        item["to"] = json!({"group": group});
    }
    let receipts = push.batch(&[item]).await;
    receipts[0]["receipt"]["position"].as_str().unwrap_or_else(|| panic!("{receipts:?}")).to_owned()
}
