//! Who uses the cluster meanwhile: clients and backends that take whatever they get.

use std::net::SocketAddr;
use std::time::Duration;

use campanile_harness::{Cluster, connect};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{interval, sleep};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Tasks that end when this is dropped.
#[derive(Default)]
pub struct Load(Vec<AbortHandle>);

impl Drop for Load {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Load {
    fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.0.push(spawn_local(task).abort_handle());
    }

    /// 20 clients of the first gateway, and five small pushes per second.
    pub fn usual(cluster: &Cluster) -> Self {
        Self::default().clients(cluster.gateway_addresses[0], 20).pushes(cluster, 5, 1, 64)
    }

    /// Clients that read all they get, and come back a second after they were closed.
    pub fn clients(mut self, gateway: SocketAddr, count: usize) -> Self {
        for _ in 0..count {
            self.spawn(async move {
                loop {
                    if let Some(client) = open(TcpStream::connect(gateway).await.ok()).await {
                        read_to_the_end(client).await;
                    }
                    sleep(Duration::from_secs(1)).await;
                }
            });
        }
        self
    }

    /// Clients whose connections break after this time. They come back at once.
    pub fn breaking(mut self, gateway: SocketAddr, count: usize, after: Duration) -> Self {
        for _ in 0..count {
            self.spawn(async move {
                loop {
                    let client = open(TcpStream::connect(gateway).await.ok()).await;
                    sleep(after).await;
                    drop(client);
                }
            });
        }
        self
    }

    /// Clients that read nothing for 30 s, then up to their end, and come back.
    pub fn slow_readers(mut self, gateway: SocketAddr, count: usize) -> Self {
        for _ in 0..count {
            self.spawn(async move {
                loop {
                    let client = open(Some(connect(gateway, Some(4096)).await)).await;
                    sleep(Duration::from_secs(30)).await;
                    if let Some(client) = client {
                        read_to_the_end(client).await;
                    }
                }
            });
        }
        self
    }

    /// Pushes to everyone: so many requests per second, with so many items of `bytes` each. With one item
    /// it is a plain push, else a batch. Whatever the answer is, the next one follows.
    pub fn pushes(
        mut self,
        cluster: &Cluster,
        per_second: u32,
        items: usize,
        bytes: usize,
    ) -> Self {
        let address = cluster.push[0].address;
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let content = "x".repeat(bytes);
        let batch = json!(vec![json!({ "content": content }); items]).to_string();
        self.spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / per_second);
            loop {
                ticks.tick().await;
                let request = match items {
                    1 => http.post(format!("http://{address}/")).body(content.clone()),
                    _ => http
                        .post(format!("http://{address}/batch"))
                        .header("Content-Type", "application/json")
                        .body(batch.clone()),
                };
                spawn_local(async move { drop(request.send().await) });
            }
        });
        self
    }
}

/// A client, if the gateway takes it.
async fn open(stream: Option<TcpStream>) -> Option<WebSocketStream<TcpStream>> {
    let stream = stream?;
    let address = stream.peer_addr().ok()?;
    Some(client_async(format!("ws://{address}/"), stream).await.ok()?.0)
}

async fn read_to_the_end(mut client: WebSocketStream<TcpStream>) {
    while let Some(Ok(_)) = client.next().await {}
}
