//! The frames of a link, over a blocking socket or an asynchronous one.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream as BlockingStream;

use bytes::{Bytes, BytesMut};
use campanile_messages::EncodedFrame;
use campanile_messages::frame::{MAX_FRAME_BYTES, take_frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection, and what was read from it beyond the last frame.
pub struct Frames<S> {
    pub stream: S,
    buffer: BytesMut,
}

impl<S> Frames<S> {
    /// The frames of a connection from which nothing was read yet.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    fn take(&mut self) -> Option<Bytes> {
        take_frame(&mut self.buffer, MAX_FRAME_BYTES).expect("a frame that is not too long")
    }
}

impl Frames<BlockingStream> {
    /// The next frame; `None` at the end of the connection, in whatever way it ends.
    pub fn next(&mut self) -> Option<Bytes> {
        let mut read = [0; 16 << 10];
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            match self.stream.read(&mut read) {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.buffer.extend_from_slice(&read[..len]),
            }
        }
    }

    /// Writes a frame to a peer that reads.
    pub fn write(&mut self, EncodedFrame { head, content }: EncodedFrame) {
        self.stream.write_all(&head).expect("the link is up");
        self.stream.write_all(&content.unwrap_or_default()).expect("the link is up");
    }
}

impl Frames<TcpStream> {
    /// The next frame; `None` at an orderly end of the connection.
    ///
    /// # Errors
    /// A reset, or an end within a frame.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.take() {
                return Ok(Some(frame));
            }
            self.buffer.reserve(64 << 10);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                let is_between = self.buffer.is_empty();
                return if is_between {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn write(&mut self, EncodedFrame { head, content }: EncodedFrame) -> io::Result<()> {
        self.stream.write_all(&head).await?;
        self.stream.write_all(&content.unwrap_or_default()).await
    }
}
