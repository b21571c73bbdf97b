//! TLS of a link, at the end of the gateway or publisher.

use std::io;
use std::sync::Arc;

use campanile_edge::tls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::LinkError;
use super::halves::LinkStream;

/// Whom a link over TLS trusts, and who it is. The next link gets the latest.
pub type LinkTls = watch::Receiver<Arc<ClientConfig>>;

/// Makes sure that `stream` ends at the broker (`HOST:PORT`), and seals it.
///
/// # Errors
/// [`LinkError::Tls`].
pub(super) async fn seal(
    stream: TcpStream,
    broker: &str,
    settings: &LinkTls,
) -> Result<LinkStream, LinkError> {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| LinkError::Tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let connector = TlsConnector::from(settings.borrow().clone());
    let stream = connector.connect(name, stream).await.map_err(LinkError::Tls)?;
    Ok(LinkStream::Sealed(Box::new(stream)))
}
