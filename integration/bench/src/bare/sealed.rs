//! The bare server of websockets over TLS: what `websockets` does, with a `ServerConnection` of rustls
//! for each client. One epoll thread. A delivery is one frame, sealed by rustls as one record, and one
//! call (`writev` with one slice, as rustls writes).
//!
//! Versions, suites, key exchange and protocol are those of a gateway, and so is the number of tickets
//! for each client. Tickets are sealed by the ticketer of rustls.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use campanile_edge::tls::provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, ServerConnection};

use super::websockets::{self, Client, key, welcome};

struct Sealed {
    socket: TcpStream,
    tls: ServerConnection,
}

/// Serves websockets over TLS; see [`websockets::serve`]. The control connection is without TLS.
pub fn serve(certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let config = config(certificate, key)?;
    Ok(websockets::serve_to(|socket| {
        let tls = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        Ok(Sealed { socket, tls })
    })?)
}

fn config(certificate: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth();
    let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

impl Client for Sealed {
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        self.answer(buffer).is_ok()
    }

    fn send(&mut self, frames: &[u8]) -> bool {
        self.tls.writer().write_all(frames).and_then(|()| self.push()).is_ok()
    }
}

impl Sealed {
    /// Answers the handshakes of TLS and of the websocket, and takes no notice of anything else.
    fn answer(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let Self { socket, tls } = self;
        if tls.read_tls(socket)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        let read = match tls.reader().read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if let Some(key) = key(&buffer[..read]) {
            tls.writer().write_all(&welcome(key))?;
        }
        self.push()
    }

    /// # Errors
    /// If the socket does not take all that waits.
    fn push(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}
