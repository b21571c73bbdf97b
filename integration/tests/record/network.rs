//! A network that is too slow.

use std::net::SocketAddr;
use std::time::Duration;

use campanile_harness::connect;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::interval;

/// How many times per second a part of what is allowed passes.
const PARTS: u32 = 20;

/// A relay that lets so many bytes per second through from its target. It ends when it is dropped.
pub struct SlowNetwork {
    /// Where it listens.
    pub address: SocketAddr,
    task: AbortHandle,
}

impl SlowNetwork {
    /// A relay to `target`.
    pub async fn to(target: SocketAddr, bytes_per_second: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let task = spawn_local(async move {
            while let Ok((client, _)) = listener.accept().await {
                spawn_local(relay(client, target, bytes_per_second));
            }
        });
        Self { address, task: task.abort_handle() }
    }
}

impl Drop for SlowNetwork {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(client: TcpStream, target: SocketAddr, bytes_per_second: u32) {
    // Little waits in the kernel on the way.
    let target = connect(target, Some(64 << 10)).await;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_target, mut to_target) = target.into_split();
    let up = async {
        let _ = copy(&mut from_client, &mut to_target).await;
    };
    let down = async {
        let mut part = vec![0; (bytes_per_second / PARTS) as usize];
        let mut ticks = interval(Duration::from_secs(1) / PARTS);
        loop {
            ticks.tick().await;
            let Ok(read @ 1..) = from_target.read(&mut part).await else { return };
            if to_client.write_all(&part[..read]).await.is_err() {
                return;
            }
        }
    };
    // The end of one direction is that of both.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
