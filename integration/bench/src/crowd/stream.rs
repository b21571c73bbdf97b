//! The connection of one client, over TLS or without.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustls::{ClientConnection, HandshakeKind};

/// A socket, and the state of TLS where it is spoken. When it does not block, an error of kind
/// `WouldBlock` means what it does for a socket.
pub struct Stream {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Stream {
    /// A connection over TLS if there is a state of it.
    pub fn new(socket: TcpStream, tls: Option<ClientConnection>) -> Self {
        Self { socket, tls: tls.map(Box::new) }
    }

    pub fn set_nonblocking(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// Ends both directions of the socket, without a word of TLS.
    pub fn shutdown(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Both)
    }

    /// Whether it has resumed a session of TLS.
    pub fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshake_kind() == Some(HandshakeKind::Resumed))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { socket, tls: Some(tls) } = self else { return self.socket.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            if tls.read_tls(socket)? == 0 {
                return Ok(0);
            }
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            if state.tls_bytes_to_write() > 0 {
                push(socket, tls)?;
            }
        }
    }
}

impl Write for Stream {
    /// During the handshake, what is written waits for its end.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { socket, tls: Some(tls) } = self else { return self.socket.write(bytes) };
        let written = tls.writer().write(bytes)?;
        push(socket, tls)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends what TLS has to say. A client says so little that the kernel has always room for it.
fn push(socket: &mut TcpStream, tls: &mut ClientConnection) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(socket)?;
    }
    Ok(())
}
