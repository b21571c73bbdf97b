//! The bare server of websockets over TLS: what `websockets` does, with a `ServerConnection` of rustls
//! for each client. One epoll thread. A delivery is one frame, sealed by rustls as one record, and one
//! call (`writev` with one slice, as rustls writes).
//!
//! Versions, suites, key exchange and protocol are those of a gateway, and so is the number of tickets
//! for each client. Tickets are sealed by the ticketer of rustls.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use campanile_edge::tls::provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, ServerConnection};
use slab::Slab;

use super::websockets::{CLIENTS, CONTROL, frames, key, welcome};
use super::{accept, listen};
use crate::poll::Poll;

struct Client {
    socket: TcpStream,
    tls: ServerConnection,
}

struct Server {
    poll: Poll,
    config: Arc<ServerConfig>,
    clients: Slab<Client>,
    buffer: Vec<u8>,
}

/// Serves websockets over TLS; see [`websockets::serve`](super::websockets::serve). The control
/// connection is without TLS.
pub fn serve(certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let config = config(certificate, key)?;
    let clients = listen("limit")?;
    let control = listen("control")?;
    clients.set_nonblocking(true)?;
    let poll = Poll::new()?;
    let mut server = Server { poll, config, clients: Slab::new(), buffer: vec![0; 64 << 10] };
    server.poll.add(&clients, CLIENTS, false)?;
    let (mut control, _) = control.accept()?;
    server.poll.add(&control, CONTROL, false)?;
    loop {
        let ready: Vec<u64> = server.poll.wait(None)?.collect();
        for token in ready {
            match token {
                CLIENTS => server.accept(&clients)?,
                CONTROL => {
                    let frames = frames(&mut control)?;
                    server.clients.retain(|_, client| client.send(&frames).is_ok());
                }
                token => server.read(token as usize),
            }
        }
    }
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

impl Server {
    fn accept(&mut self, listener: &TcpListener) -> anyhow::Result<()> {
        while let Some(socket) = accept(listener)? {
            let tls = ServerConnection::new(Arc::clone(&self.config))?;
            let place = self.clients.vacant_entry();
            self.poll.add(&socket, place.key() as u64, false)?;
            place.insert(Client { socket, tls });
        }
        Ok(())
    }

    fn read(&mut self, place: usize) {
        let Some(client) = self.clients.get_mut(place) else { return };
        if client.read(&mut self.buffer).is_err() {
            self.clients.remove(place);
        }
    }
}

impl Client {
    /// Answers the handshakes of TLS and of the websocket, and takes no notice of anything else.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
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
    /// If the socket does not take all of them.
    fn send(&mut self, frames: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(frames)?;
        self.push()
    }

    fn push(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}
