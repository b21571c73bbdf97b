//! A process that passes bytes on: what a hop costs at least.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// Passes on what each connection says, one after the other.
pub fn serve(to: SocketAddr) -> io::Result<()> {
    let listener = super::listen("relay")?;
    loop {
        let (mut from, _) = listener.accept()?;
        let mut to = TcpStream::connect(to)?;
        to.set_nodelay(true)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            to.write_all(&buffer[..read])?;
        }
    }
}
