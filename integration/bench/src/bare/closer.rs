//! A listener that closes each connection as soon as it has accepted it: what a flood costs a machine at
//! least.

use std::io;

/// Accepts and closes, one connection after the other.
pub fn serve() -> io::Result<()> {
    let listener = super::listen("closer")?;
    loop {
        match listener.accept() {
            Ok((socket, _)) => drop(socket),
            // The connection has ended before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}
