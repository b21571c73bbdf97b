//! What happens to a connection before its first request: its PROXY header is read where one is required,
//! and it is counted for its address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_server::GracefulShutdownSignal;
use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;
use campanile_channel::incident;
use campanile_channel::proxied::read_header;
use campanile_edge::{AddressLimits, Crowd, Crowded, Incidents, Peer, client_behind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use crate::config::PublisherConfig;
use crate::meters::{Limit, PublisherMeters};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How many connections that exceed a limit of their address are answered at a time. Any more are closed
/// without an answer, so that a flood from one address occupies a bounded part.
const MAX_ANSWERS: usize = 32;

/// How long such a connection may take to read its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// The entrance of a publisher. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Entrance {
    crowd: Arc<Mutex<Crowd>>,
    addresses: watch::Receiver<Arc<AddressLimits>>,
    proxy_protocol: bool,
    /// Whether the connections speak TLS, so that a refused one cannot read an answer.
    is_sealed: bool,
    header_limit: Duration,
    answers: Arc<AtomicUsize>,
    incidents: Incidents,
    meters: PublisherMeters,
}

/// Counts a connection for its address until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    crowd: Arc<Mutex<Crowd>>,
    peer: Peer,
}

impl Drop for Counted {
    fn drop(&mut self) {
        lock(&self.crowd).leave(self.peer);
    }
}

impl Entrance {
    pub fn new(config: &PublisherConfig) -> Self {
        Self {
            crowd: Arc::default(),
            addresses: config.addresses.clone(),
            proxy_protocol: config.proxy_protocol,
            is_sealed: config.tls.is_some(),
            header_limit: config.head_limit,
            answers: Arc::default(),
            incidents: config.incidents.clone(),
            meters: config.meters.clone(),
        }
    }

    /// Admits a new connection. Returns the address that it is from, and what counts it; `None` if its
    /// address is not limited.
    ///
    /// # Errors
    /// The connection has ended or must be closed; where there was a reason to give, it was sent.
    pub async fn admit(
        &self,
        tcp: &mut TcpStream,
        stopping: &GracefulShutdownSignal,
    ) -> io::Result<(SocketAddr, Option<Counted>)> {
        let peer = tcp.peer_addr()?;
        let addresses = self.addresses.borrow().clone();
        let mut client = peer;
        if self.proxy_protocol {
            if !addresses.trusted_proxies.contain(peer.ip()) {
                let reason = "it does not come from a trusted proxy";
                self.log_closed("no_proxy_header", peer, reason);
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            client = tokio::select! {
                header = timeout(self.header_limit, read_header(tcp, peer)) => {
                    let header = header.map_err(io::Error::from)?;
                    header.inspect_err(|error| {
                        self.log_closed("no_proxy_header", peer, &error.to_string());
                    }).map_err(io::Error::other)?
                }
                () = stopping.notified() => return Err(io::ErrorKind::ConnectionAborted.into()),
            };
        }
        let arrived = lock(&self.crowd).arrive(client.ip(), &addresses, Instant::now());
        match arrived {
            Ok(peer) => Ok((client, peer.map(|peer| Counted { crowd: self.crowd.clone(), peer }))),
            Err(crowded) => {
                self.meters.limit_hit(Limit::MaxConnectionsPerAddress);
                self.log_closed("too_many_connections", client, &crowded.to_string());
                if !self.is_sealed {
                    self.answer(tcp, crowded).await;
                }
                Err(io::ErrorKind::ConnectionRefused.into())
            }
        }
    }

    fn log_closed(&self, name: &'static str, peer: SocketAddr, reason: &str) {
        let (incidents, address) = (&self.incidents, Some(peer.ip()));
        incident!(incidents, info, name, address, %peer, reason, "closed a connection");
    }

    async fn answer(&self, tcp: &mut TcpStream, crowded: Crowded) {
        if self.answers.fetch_add(1, Ordering::Relaxed) < MAX_ANSWERS {
            let body = format!("{crowded} (the publisher's --max-connections-per-address)\n");
            let answer = format!(
                "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 10\r\n\
                 Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            // Unread input would reset the connection, and the answer would be lost.
            let said = async {
                tcp.write_all(answer.as_bytes()).await?;
                tcp.shutdown().await?;
                while tcp.read(&mut [0; 2 << 10]).await? > 0 {}
                io::Result::Ok(())
            };
            let _ = timeout(ANSWER_LIMIT, said).await;
        }
        self.answers.fetch_sub(1, Ordering::Relaxed);
    }

    /// The peer whose share of the budget a request takes: the one of its client.
    pub fn peer(&self, request: &HttpRequest) -> Peer {
        Peer::of(self.client(request).map(|client| client.ip()))
    }

    /// Where a request comes from: behind trusted proxies, the client for which they sent it, whose port is
    /// unknown and shown as 0.
    pub fn client(&self, request: &HttpRequest) -> Option<SocketAddr> {
        let proxy = request.peer_addr()?;
        let peer = proxy.ip();
        // What is not ASCII is no address.
        let lines = request.headers().get_all(X_FORWARDED_FOR);
        let lines: Vec<_> = lines.map(|value| value.to_str().unwrap_or_default()).collect();
        if lines.is_empty() {
            return Some(proxy);
        }
        let addresses = self.addresses.borrow().clone();
        if !addresses.trusted_proxies.contain(peer) {
            self.note_forwarding(peer, &addresses);
        }
        Some(match client_behind(peer, lines.into_iter(), &addresses.trusted_proxies) {
            client if client == peer.to_canonical() => proxy,
            client => (client, 0).into(),
        })
    }

    fn note_forwarding(&self, proxy: IpAddr, addresses: &AddressLimits) {
        if lock(&self.crowd).note_forwarding(proxy, addresses) {
            warn!(
                %proxy,
                "a private address sends X-Forwarded-For and is not trusted, so all callers behind it \
                 are one address; if it is a proxy of yours, name it in --trusted-proxies"
            );
        }
    }
}

fn lock(crowd: &Mutex<Crowd>) -> MutexGuard<'_, Crowd> {
    // Every change is complete before anything can panic.
    crowd.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn behind_a_trusted_proxy_the_client_is_whom_it_names() {
        let (mut addresses, config) = (AddressLimits::default(), PublisherConfig::new("away"));
        addresses.trusted_proxies = "10.0.0.0/8".parse().expect("a list");
        let (_sender, addresses) = watch::channel(Arc::new(addresses));
        let entrance = Entrance::new(&PublisherConfig { addresses, ..config });
        let client = |peer: &str, forwarded: Option<&str>| {
            let request = TestRequest::get().peer_addr(peer.parse().expect("an address"));
            let request = match forwarded {
                Some(forwarded) => request.insert_header((X_FORWARDED_FOR, forwarded)),
                None => request,
            };
            let request = request.to_http_request();
            let client = entrance.client(&request).expect("it is known");
            assert_eq!(entrance.peer(&request), client.ip().into());
            client.to_string()
        };
        assert_eq!(client("10.0.0.1:4", Some("198.51.100.9, 192.0.2.1")), "192.0.2.1:0");
        assert_eq!(client("10.0.0.1:4", Some("unknown")), "10.0.0.1:4");
        assert_eq!(client("10.0.0.1:4", None), "10.0.0.1:4");
        assert_eq!(client("192.0.2.7:4", Some("192.0.2.1")), "192.0.2.7:4", "not trusted");
        assert_eq!(client("[::ffff:10.0.0.1]:4", Some("2001:db8::1")), "[2001:db8::1]:0");
    }
}
