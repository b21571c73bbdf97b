//! Moves ciphertext between a TCP stream and a TLS session. The buffers are shared by all connections of
//! a thread: an idle connection needs none.

use std::cell::RefCell;
use std::io;

use campanile_edge::tls::{MAX_PLAINTEXT_BYTES, TlsSession};
use tokio::net::TcpStream;

/// How much ciphertext one read asks for: a whole record.
const READ_BYTES: usize = MAX_PLAINTEXT_BYTES + 512;

thread_local! {
    static RECEIVED: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
    static SEALED: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Reads ciphertext into the session, and returns how many bytes that are; 0 at the end of the stream.
///
/// # Errors
/// Of kind `WouldBlock` if nothing has come. After any other, the connection has ended, and an alert for
/// the peer may wait in the session.
pub fn read(stream: &TcpStream, session: &mut TlsSession) -> io::Result<usize> {
    RECEIVED.with_borrow_mut(|buffer| {
        let len = stream.try_read(buffer)?;
        session.receive(&mut buffer[..len]).map_err(invalid)?;
        Ok(len)
    })
}

/// Sends what waits in the session.
///
/// # Errors
/// Of kind `WouldBlock` if the kernel takes no more and something still waits.
pub fn flush(stream: &TcpStream, session: &mut TlsSession) -> io::Result<()> {
    while !session.unsent().is_empty() {
        let sent = stream.try_write(session.unsent())?;
        session.sent(sent);
    }
    Ok(())
}

/// Seals plaintext and sends it. What `send` does not take waits in the session, in which nothing may
/// wait before. At most [`MAX_PLAINTEXT_BYTES`] become one record.
///
/// # Errors
/// Any error means that the connection has ended.
pub fn write(
    session: &mut TlsSession,
    plaintext: &[u8],
    send: impl FnOnce(&[u8]) -> io::Result<usize>,
) -> io::Result<()> {
    SEALED.with_borrow_mut(|sealed| {
        let len = session.seal(plaintext, sealed).map_err(invalid)?;
        let sent = match send(&sealed[..len]) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if sent < len {
            session.keep(&sealed[sent..len], plaintext.len());
        }
        Ok(())
    })
}

fn invalid(error: campanile_edge::tls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
