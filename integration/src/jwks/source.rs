//! The URL of the keys of tokens.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use tokio::time::timeout;

/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// How long a fetch may take in all.
pub const FETCH_LIMIT: Duration = Duration::from_secs(5);

/// A URL that keys may come from: with https, or on this host.
#[derive(Clone, PartialEq, Eq)]
pub struct JwksUrl(Url);

impl JwksUrl {
    /// A client for it, which follows no redirect and uses no proxy.
    pub fn client(&self) -> Result<Client, FetchError> {
        let here = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        let builder = match self.0.scheme() {
            // Without TLS, the certificates of the system are not needed, and perhaps there are none.
            "http" => Client::builder().tls_certs_only([]),
            _ => Client::builder(),
        };
        builder
            .no_proxy()
            .redirect(Policy::none())
            // The name must not lead anywhere else. The port is that of the URL.
            .resolve_to_addrs("localhost", &here.map(|ip| SocketAddr::new(ip, 0)))
            .build()
            .map_err(|error| FetchError::Failed(error.without_url()))
    }

    /// Fetches what the URL has now: at most 1 MiB, within `limit`.
    ///
    /// # Errors
    /// What was answered instead.
    pub async fn fetch(&self, client: &Client, limit: Duration) -> Result<Vec<u8>, FetchError> {
        let fetched = timeout(limit, self.fetch_slowly(client));
        fetched.await.map_err(|_| FetchError::TooSlow(limit))?
    }

    async fn fetch_slowly(&self, client: &Client) -> Result<Vec<u8>, FetchError> {
        let failed = |error: reqwest::Error| FetchError::Failed(error.without_url());
        let accepted = "application/jwk-set+json, application/json";
        let asked = client.get(self.0.clone()).header(ACCEPT, accepted);
        let mut response = asked.send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(FetchError::TooLarge);
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(answer)
    }
}

/// Why no keys came.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It took too long.
    #[error("no complete answer came within {0:?}")]
    TooSlow(Duration),
    /// The answer is no 200.
    #[error("the answer has the status {0}, but must have 200 (redirects are not followed)")]
    Status(u16),
    /// The answer is larger than [`MAX_ANSWER_BYTES`].
    #[error("the answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    /// There is no connection, or it broke.
    #[error("{}", causes(.0))]
    Failed(reqwest::Error),
}

/// An error with its causes, of which the last one says most.
fn causes(error: &reqwest::Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        sentence = format!("{sentence}: {error}");
        cause = error.source();
    }
    sentence
}

impl FromStr for JwksUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What follows an @ or a ? may be a secret.
        let accepted = "accepted is https://HOST[:PORT]/PATH, or http:// with a loopback address";
        let url =
            Url::parse(text).map_err(|error| format!("this is no URL ({error}): {accepted}"))?;
        let is_here = || match url.host_str() {
            Some("localhost") => true,
            Some(host) => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
            }
            None => false,
        };
        match url.scheme() {
            _ if url.host_str().is_none() => Err(format!("this URL has no host: {accepted}")),
            _ if !url.username().is_empty() || url.password().is_some() => {
                Err(format!("this URL has a user or a password: {accepted}"))
            }
            "https" => Ok(Self(url)),
            "http" if is_here() => Ok(Self(url)),
            "http" => Err(format!(
                "keys that come unencrypted from another host can be exchanged: {accepted}"
            )),
            other => Err(format!("the scheme is {other:?}: {accepted}")),
        }
    }
}

impl fmt::Display for JwksUrl {
    /// Leaves out the query, which may have a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.0.clone();
        url.set_query(None);
        url.set_fragment(None);
        write!(f, "{url}")
    }
}

impl fmt::Debug for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwksUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn url(text: &str) -> Result<JwksUrl, String> {
        text.parse()
    }

    #[test]
    fn keys_come_over_https_or_from_this_host() {
        for good in [
            "https://id.example/jwks.json",
            "http://127.0.0.1:8080/",
            "http://[::1]/keys",
            "http://localhost/keys",
            "http://127.9.9.9/",
        ] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example/",
            "http://10.0.0.1/",
            "http://localhost.example/",
            "http://127.0.0.1.example/",
            "http://0.0.0.0/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "https://user:secret@id.example/",
            "id.example/jwks.json",
            "",
        ] {
            let error = url(bad).expect_err(bad);
            assert!(error.contains("accepted is https://"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_query_of_a_url_is_not_shown() {
        let url = url("https://id.example/jwks.json?key=secret#x").expect("a URL");
        assert_eq!(url.to_string(), "https://id.example/jwks.json");
        assert_eq!(format!("{url:?}"), "JwksUrl(https://id.example/jwks.json)");
    }

    /// Answers one request with these bytes, and then closes the connection, if there is time to fetch all.
    async fn fetched(answer: Vec<u8>, limit: Duration) -> Result<Vec<u8>, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut request).await.expect("a request"), 0);
            }
            // The client may have enough before the end.
            let _ = stream.write_all(&answer).await;
            if limit < FETCH_LIMIT {
                std::future::pending::<()>().await;
            }
            String::from_utf8(request).expect("text")
        });
        let url = url(&format!("http://localhost:{}/keys?a=b", address.port())).expect("a URL");
        let client = url.client().expect("a client");
        let fetched = url.fetch(&client, limit).await.map_err(|error| error.to_string());
        if limit == FETCH_LIMIT {
            let request = server.await.expect("no panic").to_lowercase();
            assert!(request.starts_with("get /keys?a=b http/1.1\r\n"), "{request}");
        }
        fetched
    }

    fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes()
    }

    #[tokio::test]
    async fn only_a_complete_200_of_at_most_a_mebibyte_counts() {
        let body = "{\"keys\":[]}";
        assert_eq!(fetched(answer("200 OK", "", body), FETCH_LIMIT).await, Ok(body.into()));
        let error = async |answer| fetched(answer, FETCH_LIMIT).await.expect_err("an error");
        let redirect = answer("302 Found", "Location: http://127.0.0.1:1/\r\n", "");
        assert!(error(redirect).await.contains("status 302"));
        assert!(error(answer("500 No", "", "")).await.contains("status 500"));
        let large = " ".repeat(MAX_ANSWER_BYTES + 1);
        assert!(error(answer("200 OK", "", &large)).await.contains("larger than 1048576 bytes"));
        let mut cut = answer("200 OK", "", body);
        cut.pop();
        error(cut).await;
        error(b"nonsense\r\n\r\n".to_vec()).await;
        let most = " ".repeat(MAX_ANSWER_BYTES);
        assert_eq!(fetched(answer("200 OK", "", &most), FETCH_LIMIT).await, Ok(most.into_bytes()));
    }

    #[tokio::test]
    async fn an_answer_that_does_not_end_is_given_up() {
        let endless = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec();
        let error = fetched(endless, Duration::from_millis(50)).await.expect_err("no end");
        assert_eq!(error, "no complete answer came within 50ms");
    }
}
