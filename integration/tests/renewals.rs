//! A crowd whose tokens expire in the same second.

#[path = "tokens/issuer.rs"]
mod issuer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use campanile_harness::{Cluster, Frame, Websocket, connect, raise_file_limit, within};
use futures_util::StreamExt as _;
use futures_util::stream;
use issuer::{fresh, now, settings, token};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// How many clients there are. Each has a user of its own.
const CLIENTS: usize = 5_000;

/// How many connect at a time.
const CONNECTING: usize = 100;

/// When their tokens expire, in seconds from now. All of them have to be connected some time before.
const EXPIRES_IN: u64 = 20;

/// How far a clock of whole seconds, and a timer of a busy gateway, may be off.
const TOLERANCE: f64 = 1.5;

fn clock() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

struct Member {
    client: Websocket,
    connected: f64,
}

impl Member {
    async fn connect(gateway: SocketAddr, token: &str) -> Self {
        let query = format!("?group=news&token={token}");
        let connected = clock();
        let stream = connect(gateway, None).await;
        let client = Websocket::open_with(stream, &query, Some("campanile.v1")).await;
        Self { client: client.greeted().await, connected }
    }

    /// The next message that is no position. An end of the connection is none.
    async fn next(&mut self) -> Value {
        loop {
            match self.client.next().await {
                Frame::Text(text) => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    if message["type"] != "position" {
                        return message;
                    }
                }
                other => panic!("no message: {other:?}"),
            }
        }
    }

    /// Gets what is pushed before, renews its token when it is asked for one, and gets what is pushed
    /// after all have done so. Returns when it was asked.
    async fn live(mut self, new: &str, expires: u64, renewed: &Barrier) -> f64 {
        assert_eq!(self.next().await["content"], "before");
        let asked = self.next().await;
        let at = clock();
        assert_eq!(asked["type"], "token", "{asked}");
        self.client.say(&json!({ "type": "auth", "token": new }).to_string()).await;
        let answer = self.next().await;
        assert_eq!(answer["type"], "renewed", "{answer}");
        within("everybody renews", renewed.wait()).await;
        assert_eq!(self.next().await["content"], "after");
        let tenth = (expires as f64 - self.connected) / 10.0;
        let begins = expires as f64 - tenth;
        assert!(at > begins - TOLERANCE, "asked {} s before the last tenth", begins - at);
        at
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_clients_renew_at_random_moments_and_stay() {
    raise_file_limit();
    let directory = TempDir::new().expect("a directory");
    let (file, key) = (directory.path().join("campanile.toml"), directory.path().join("key"));
    let secret = fresh();
    std::fs::write(&key, &secret).expect("it can be written");
    std::fs::write(&file, settings(&key)).expect("it can be written");
    let cluster = Cluster::of(1).gateway(&format!("--config {}", file.display())).start().await;
    let (gateway, push) = (cluster.gateway_addresses[0], &cluster.push[0]);

    let expires = now() + EXPIRES_IN;
    let [old, new] = [expires, expires + 3_600].map(|at| {
        let secret = &secret;
        move |user: usize| token(secret, json!({ "sub": user.to_string(), "exp": at }))
    });
    let renewed = Arc::new(Barrier::new(CLIENTS + 1));
    let mut members = JoinSet::new();
    let connecting = stream::iter(0..CLIENTS).map(|user| {
        let old = old(user);
        async move { (user, Member::connect(gateway, &old).await) }
    });
    let mut connecting = connecting.buffer_unordered(CONNECTING);
    while let Some((user, member)) = connecting.next().await {
        let (new, renewed) = (new(user), renewed.clone());
        members.spawn(async move { member.live(&new, expires, &renewed).await });
    }
    let early = expires as f64 - clock();
    assert!(early > 0.15 * EXPIRES_IN as f64, "connected only {early} s before the tokens expire");
    let to_news = |content| [("to_group", "news"), ("content", content)];
    assert_eq!(push.receipt(&to_news("before")).await.matched, CLIENTS as u64);
    within("everybody renews", renewed.wait()).await;
    // The old tokens are over by now.
    let left = (expires as f64 - clock()).max(0.0);
    tokio::time::sleep(Duration::from_secs_f64(left)).await;
    assert_eq!(push.receipt(&to_news("after")).await.matched, CLIENTS as u64);

    let mut asked = Vec::new();
    while let Some(at) = within("everybody has heard it", members.join_next()).await {
        asked.push(at.expect("no panic"));
    }
    // The gateway looks at each client once a second, so a moment is a sweep of one of its workers.
    asked.sort_by(f64::total_cmp);
    let spread = asked[CLIENTS * 9 / 10] - asked[CLIENTS / 10];
    let in_a_moment = asked.iter().map(|at| {
        let until = asked.partition_point(|other| *other < at + 0.25);
        until - asked.partition_point(|other| other < at)
    });
    let most = in_a_moment.max().expect("clients");
    assert!(spread >= 0.5 && most < CLIENTS * 6 / 10, "spread over {spread} s, {most} at once");
}
