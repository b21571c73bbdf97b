//! A reverse proxy that has a gateway below a path of its own.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Passes requests for `path` and below on to `target`, without it; others get 404. It runs as long
/// as the test.
///
/// Only the first request of a connection is read, as a gateway ends the connection after it.
pub async fn proxy(target: SocketAddr, path: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A browser that hangs up has lost interest.
            tokio::spawn(async move { pass(stream, target, path).await.ok() });
        }
    });
    address
}

async fn pass(stream: TcpStream, target: SocketAddr, path: &str) -> std::io::Result<()> {
    let mut client = BufReader::new(stream);
    let mut line = String::new();
    client.read_line(&mut line).await?;
    let Some((method, rest)) = line.split_once(&format!(" {path}/")) else {
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return client.write_all(answer).await;
    };
    let mut gateway = TcpStream::connect(target).await?;
    gateway.write_all(format!("{method} /{rest}").as_bytes()).await?;
    copy_bidirectional(&mut client, &mut gateway).await?;
    Ok(())
}
