//! The beginning of a connection that comes through a proxy that speaks the PROXY protocol.

use std::io;
use std::net::SocketAddr;

use campanile_edge::proxy_protocol::{MAX_HEADER_BYTES, Proxied, ProxyHeaderError, parse};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Why a connection has no address of its client.
#[derive(Debug, thiserror::Error)]
pub enum NotProxied {
    /// It has ended.
    #[error("the connection ended before its PROXY header")]
    Ended,
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It begins with something else.
    #[error(transparent)]
    Header(#[from] ProxyHeaderError),
}

/// Reads the PROXY header of a new connection and nothing behind it, so that whatever comes next can be
/// read from the stream. Waits for as long as the header takes; the caller sets the deadline. Returns the
/// client's address, or `peer` if the proxy speaks for itself.
///
/// # Errors
/// See [`NotProxied`]; the connection must be closed.
pub async fn read_header(
    stream: &mut TcpStream,
    peer: SocketAddr,
) -> Result<SocketAddr, NotProxied> {
    let mut header = [0; MAX_HEADER_BYTES];
    let mut taken = 0;
    loop {
        let seen = taken + stream.peek(&mut header[taken..]).await?;
        if seen == taken {
            return Err(NotProxied::Ended);
        }
        // A part of a header is taken from the stream, otherwise waiting for more would return at once.
        let parsed = parse(&header[..seen])?;
        let (proxied, len) = parsed.map_or((None, seen), |(proxied, len)| (Some(proxied), len));
        stream.read_exact(&mut header[taken..len]).await?;
        taken = len;
        match proxied {
            Some(Proxied::Client(client)) => return Ok(client),
            Some(Proxied::Itself) => return Ok(peer),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// What is read of a connection whose client sends pieces and then closes its side.
    async fn read(pieces: &[&[u8]]) -> (Result<SocketAddr, String>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let peer = "127.0.0.1:1".parse().unwrap();
        let sends = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let (read, ()) = tokio::join!(read_header(&mut stream, peer), sends);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        (read.map_err(|error| error.to_string()), rest)
    }

    #[tokio::test]
    async fn what_follows_the_header_is_left_in_the_stream() {
        let header = b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\n";
        let client = Ok("192.0.2.1:4660".parse().unwrap());
        let whole = [&header[..], b"GET /"].concat();
        assert_eq!(read(&[&whole]).await, (client.clone(), b"GET /".to_vec()));
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(read(&bytes).await, (client, b"GET /".to_vec()));
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0GET /";
        let peer = Ok("127.0.0.1:1".parse().unwrap());
        assert_eq!(read(&[&local[..7], &local[7..]]).await, (peer, b"GET /".to_vec()));
    }

    #[tokio::test]
    async fn without_a_header_the_connection_is_refused() {
        let missing = "the connection does not begin with a PROXY header".to_owned();
        assert_eq!(read(&[b"GET / HTTP/1.1"]).await.0, Err(missing));
        let ended = "the connection ended before its PROXY header".to_owned();
        assert_eq!(read(&[b"PROXY TCP4"]).await.0, Err(ended.clone()));
        assert_eq!(read(&[]).await.0, Err(ended));
    }
}
