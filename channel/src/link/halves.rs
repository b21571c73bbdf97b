//! The two directions of a link, over TLS or without.

use std::fmt;
use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A stream that is sealed by TLS.
pub(crate) trait Sealed: AsyncRead + AsyncWrite + Unpin + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + fmt::Debug> Sealed for T {}

/// A link's stream.
pub(crate) enum LinkStream {
    Plain(TcpStream),
    Sealed(Box<dyn Sealed>),
}

impl LinkStream {
    pub(crate) fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Plain(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Plain(read), WriteHalf::Plain(write))
            }
            Self::Sealed(stream) => {
                let (read, write) = tokio::io::split(stream);
                (ReadHalf::Sealed(read), WriteHalf::Sealed(write))
            }
        }
    }
}

/// What is read from.
#[derive(Debug)]
pub(crate) enum ReadHalf {
    Plain(OwnedReadHalf),
    Sealed(tokio::io::ReadHalf<Box<dyn Sealed>>),
}

impl ReadHalf {
    /// Waits until something may have come. Over TLS it returns at once.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Plain(half) => half.readable().await,
            Self::Sealed(_) => Ok(()),
        }
    }

    /// Reads what has come, at least a byte; 0 at the end of the stream. May be dropped.
    pub(super) async fn read_buf(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(half) => half.read_buf(buffer).await,
            Self::Sealed(half) => half.read_buf(buffer).await,
        }
    }
}

/// What is written to. When it is dropped, the direction is closed; over TLS only after
/// [`close`](Self::close), or together with the other one.
#[derive(Debug)]
pub(crate) enum WriteHalf {
    Plain(OwnedWriteHalf),
    Sealed(tokio::io::WriteHalf<Box<dyn Sealed>>),
}

impl WriteHalf {
    /// Hands all of it to the kernel.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(half) => half.write_all(bytes).await,
            Self::Sealed(half) => {
                half.write_all(bytes).await?;
                half.flush().await
            }
        }
    }

    /// Says that nothing more comes.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(half) => half.shutdown().await,
            Self::Sealed(half) => half.shutdown().await,
        }
    }
}
