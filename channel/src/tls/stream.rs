//! A peer's TCP stream, with TLS or without.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use campanile_edge::tls::{MAX_PLAINTEXT_BYTES, ServerConfig, TlsSession};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::sealed;

/// Reads and writes plaintext, whatever is on the wire.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    tls: Option<Box<TlsSession>>,
}

impl Stream {
    /// Performs the server's side of a TLS handshake, whose first bytes are already `received`.
    ///
    /// # Errors
    /// If the peer is gone or breaks the protocol.
    pub async fn shake_hands(
        tcp: TcpStream,
        config: Arc<ServerConfig>,
        received: Vec<u8>,
    ) -> Result<Self, HandshakeFailure> {
        let mut session = match TlsSession::new(config) {
            Ok(session) => Box::new(session),
            Err(error) => {
                let error = io::Error::other(error);
                return Err(HandshakeFailure { error, tcp, alert: Vec::new() });
            }
        };
        match drive(&tcp, &mut session, received).await {
            Ok(()) => Ok(Self::sealed(tcp, session)),
            Err(error) => Err(HandshakeFailure { error, tcp, alert: session.unsent().to_vec() }),
        }
    }

    /// A stream whose TLS handshake is done.
    pub fn sealed(tcp: TcpStream, session: Box<TlsSession>) -> Self {
        Self { tcp, tls: Some(session) }
    }

    /// What is below TLS, if TLS is spoken.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Whether TLS is spoken on it.
    pub fn is_sealed(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether something that was written has not been handed to the kernel, so that it needs a flush.
    pub fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|session| !session.unsent().is_empty())
    }

    /// The TCP stream, and the TLS session if there is one.
    pub fn into_parts(self) -> (TcpStream, Option<Box<TlsSession>>) {
        (self.tcp, self.tls)
    }
}

impl From<TcpStream> for Stream {
    /// A stream without TLS.
    fn from(tcp: TcpStream) -> Self {
        Self { tcp, tls: None }
    }
}

/// A handshake that came to nothing.
#[derive(Debug)]
pub struct HandshakeFailure {
    /// Why.
    pub error: io::Error,
    /// Where the alert should be sent.
    pub tcp: TcpStream,
    /// What says to the peer why; may be empty.
    pub alert: Vec<u8>,
}

async fn drive(tcp: &TcpStream, session: &mut TlsSession, mut received: Vec<u8>) -> io::Result<()> {
    session.receive(&mut received).map_err(io::Error::other)?;
    drop(received);
    loop {
        poll_fn(|cx| poll_flush(tcp, session, cx)).await?;
        if !session.is_handshaking() {
            return Ok(());
        }
        tcp.readable().await?;
        match sealed::read(tcp, session) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => without_block(read.map(drop))?,
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

fn without_block(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        result => result,
    }
}

fn poll_flush(
    tcp: &TcpStream,
    session: &mut TlsSession,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    loop {
        match sealed::flush(tcp, session) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(tcp.poll_write_ready(cx))?;
            }
            result => return Poll::Ready(result),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { tcp, tls } = self.get_mut();
        let Some(session) = tls else { return Pin::new(tcp).poll_read(cx, buffer) };
        loop {
            let taken = session.take(buffer.initialize_unfilled());
            buffer.advance(taken);
            if taken > 0 || session.is_ended() {
                return Poll::Ready(Ok(()));
            }
            ready!(tcp.poll_read_ready(cx))?;
            let read = sealed::read(tcp, session);
            // What TLS itself has to answer leaves with the next write if it does not leave now.
            let _ = sealed::flush(tcp, session);
            match read {
                Ok(0) => return Poll::Ready(Ok(())),
                read => without_block(read.map(drop))?,
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { tcp, tls } = self.get_mut();
        let Some(session) = tls else { return Pin::new(tcp).poll_write(cx, bytes) };
        ready!(poll_flush(tcp, session, cx))?;
        let part = &bytes[..bytes.len().min(MAX_PLAINTEXT_BYTES)];
        sealed::write(session, part, |sealed| tcp.try_write(sealed))?;
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, tls } = self.get_mut();
        match tls {
            None => Pin::new(tcp).poll_flush(cx),
            Some(session) => poll_flush(tcp, session, cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, tls } = self.get_mut();
        if let Some(session) = tls {
            session.close();
            ready!(poll_flush(tcp, session, cx))?;
        }
        Pin::new(tcp).poll_shutdown(cx)
    }
}
