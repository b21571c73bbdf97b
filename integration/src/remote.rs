//! What the tools that talk to a running cluster share: where it is, whom they trust, and what they show.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use campanile_edge::Secret;
use clap::Args;
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, StatusCode, Url};
use tokio::runtime::{Builder, Runtime};

use crate::logging::last_line;
use crate::secret_file::{self, Shown};

/// How long it may take to connect, with TLS.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The most bytes of a file with a key or a token. Both are shorter.
const MAX_SECRET_BYTES: usize = 16 << 10;

/// Where a publisher and `up` answer their operators by default.
const OPERATORS: [&str; 2] = ["http://127.0.0.1:4247", "http://127.0.0.1:4246"];

/// How the sentence of a server begins that has no such path.
const NO_PATH: &str = "there is nothing at this path";

/// The most bytes of the sentence in an answer that are shown.
const MAX_SENTENCE_BYTES: usize = 4 << 10;

/// Where a gateway or a publisher is: `http` or `https`, a host, and perhaps a path before its own paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl(Url);

impl ServerUrl {
    /// The URL of one of its paths; `path` does not begin with a `/`.
    pub fn at<'a>(&self, path: &str, query: impl IntoIterator<Item = (&'a str, &'a str)>) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/{path}", self.0.path().trim_end_matches('/')));
        let mut query = query.into_iter().peekable();
        if query.peek().is_some() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// A client for it, which follows no redirect and uses no proxy, because a secret must not go anywhere
    /// else. It trusts the authorities in the file `ca`, or those that the system trusts.
    ///
    /// # Errors
    /// A sentence, if the file cannot be used or the system trusts nobody.
    pub fn client(&self, ca: Option<&Path>) -> Result<ClientBuilder, String> {
        let builder = Client::builder();
        let builder = match ca {
            Some(file) => builder.tls_certs_only(authorities(file)?),
            // Without TLS, the certificates of the system are not needed, and perhaps there are none.
            None if self.0.scheme() == "http" => builder.tls_certs_only([]),
            None => builder,
        };
        Ok(builder.no_proxy().redirect(Policy::none()).connect_timeout(CONNECT_LIMIT))
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let accepted = "accepted is http://HOST[:PORT][/PATH] or the same with https";
        let url = Url::parse(text).map_err(|error| format!("{error}; {accepted}"))?;
        let is_plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        match ["http", "https"].contains(&url.scheme()) && is_plain {
            true => Ok(Self(url)),
            false => Err(accepted.to_owned()),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, String> {
    let wrong = |error: String| {
        format!("--ca {}: {error}; accepted is a file of certificates in PEM", file.display())
    };
    let pem = std::fs::read(file).map_err(|error| wrong(format!("it cannot be read: {error}")))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(wrong("there is no certificate in it".to_owned())),
    }
}

/// The header `Authorization` with the secret in `file`, or else in the environment variable. An empty
/// variable counts as unset. `None` if there is neither.
///
/// # Errors
/// A sentence that names the flag or the variable, and shows nothing of the secret.
pub fn authorization(
    (flag, file): (&str, Option<&Path>),
    (name, value): (&str, Option<&OsStr>),
) -> Result<Option<HeaderValue>, String> {
    let (source, secret) = match (file, value.filter(|value| !value.is_empty())) {
        (Some(file), _) => {
            let source = format!("{flag} {}", Shown(file));
            let secret = secret_file::read(file, MAX_SECRET_BYTES);
            (source.clone(), secret.map_err(|error| format!("{source}: {error}"))?)
        }
        (None, Some(value)) => (name.to_owned(), Secret::new(value.as_encoded_bytes())),
        (None, None) => return Ok(None),
    };
    let mut header = HeaderValue::from_bytes(&[b"Bearer ", secret.expose()].concat())
        .ok()
        .filter(|_| secret.expose().iter().all(u8::is_ascii_graphic))
        .ok_or_else(|| format!("{source}: accepted is one word of ASCII characters"))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

/// How a tool that needs an API key shows it, and whom it trusts.
#[derive(Debug, Args)]
pub struct CallerArgs {
    /// File with the API key
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// File with the authorities (PEM) to trust instead of those of the system
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

impl CallerArgs {
    /// The header `Authorization` with the API key in the file, or else in the variable `CAMPANILE_KEY`.
    ///
    /// # Errors
    /// As those of [`authorization`].
    pub fn authorization(&self) -> anyhow::Result<Option<HeaderValue>> {
        const VARIABLE: &str = "CAMPANILE_KEY";
        let value = std::env::var_os(VARIABLE);
        authorization(("--key-file", self.key_file.as_deref()), (VARIABLE, value.as_deref()))
            .map_err(|error| anyhow!("{error}"))
    }

    /// A client for this URL, whose answers may take so long.
    ///
    /// # Errors
    /// If it cannot use TLS.
    pub fn client(&self, url: &ServerUrl, answer_limit: Duration) -> anyhow::Result<Client> {
        let client = url.client(self.ca.as_deref()).map_err(|error| anyhow!("{error}"))?;
        client.timeout(answer_limit).build().context("cannot use TLS")
    }
}

/// The listener for operators of a publisher that is at `url`, or those of this host that may be one.
pub fn operators(url: Option<&ServerUrl>) -> Vec<ServerUrl> {
    let by_default = || OPERATORS.iter().filter_map(|url| url.parse().ok()).collect();
    url.map_or_else(by_default, |url| vec![url.clone()])
}

/// Asks one server after the other, until one answers or refuses. An error comes with whether another one may be the
/// right one.
///
/// # Errors
/// Why there is no answer, of each that was asked.
pub async fn first_answer<'a, T, E>(
    urls: &'a [ServerUrl],
    ask: impl AsyncFn(&'a ServerUrl) -> Result<T, (E, bool)>,
) -> Result<(&'a ServerUrl, T), Vec<E>> {
    let mut errors = Vec::new();
    for url in urls {
        match ask(url).await {
            Ok(answer) => return Ok((url, answer)),
            Err((error, is_elsewhere)) => {
                errors.push(error);
                if !is_elsewhere {
                    break;
                }
            }
        }
    }
    Err(errors)
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The server refused the request, or does not have what was asked for.
    #[error("{status}: {sentence}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// The sentence in its body.
        sentence: String,
    },
    /// There is no connection, or it broke.
    #[error("{url}: {}", causes(.error))]
    Network {
        /// Where the server is.
        url: String,
        /// What the network said.
        error: reqwest::Error,
    },
    /// What came is not an answer to this request.
    #[error("the answer of {url} {what}")]
    Strange {
        /// Where the server is.
        url: String,
        /// What is wrong with it, and whom to ask instead.
        what: &'static str,
    },
}

impl AskError {
    /// Whether there is no server, or one that does not know such requests.
    pub fn is_elsewhere(&self) -> bool {
        match self {
            Self::Refused { status, sentence } => {
                *status == StatusCode::NOT_FOUND && sentence.starts_with(NO_PATH)
            }
            Self::Network { error, .. } => error.is_connect(),
            Self::Strange { .. } => true,
        }
    }

    /// Whether the server may have got the request, and done what it says.
    pub fn may_have_arrived(&self) -> bool {
        matches!(self, Self::Network { error, .. } if !error.is_connect())
    }
}

/// Sends a request to a server. Returns the body of its answer, which has the status 200.
///
/// # Errors
/// If there is no answer, or its status is another one.
pub async fn answer(request: RequestBuilder, server: &ServerUrl) -> Result<Vec<u8>, AskError> {
    let failed = |error| AskError::Network { url: server.to_string(), error };
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    let body = response.bytes().await.map_err(failed)?;
    match status {
        StatusCode::OK => Ok(body.into()),
        status => Err(AskError::Refused { status, sentence: sentence(&body) }),
    }
}

/// Asks, and prints the answer or the error. The exit code is 1 if there is no answer, and 2 if there can be
/// no question, for example because an argument is wrong.
pub fn print_answer<E: fmt::Display>(
    ask: impl FnOnce(&Runtime) -> anyhow::Result<Result<String, E>>,
) -> ExitCode {
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start");
    match runtime.and_then(|runtime| ask(&runtime)) {
        Ok(Ok(text)) => {
            // Nobody may read it any more, and what was asked for is done all the same.
            let _ = writeln!(io::stdout(), "{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => {
            last_line(&format!("error: {error}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            last_line(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// An error of the network with its causes, of which the last one says most.
pub fn causes(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// The sentence in the body of a refusal: its `error` if it is JSON, else its text.
pub fn sentence(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
    }
    let text = match serde_json::from_slice(body) {
        Ok(Refusal { error }) => error,
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(MAX_SENTENCE_BYTES)]).into_owned(),
    };
    printable(text.trim())
}

/// The same text with all control characters escaped but line feeds and tabs: what others have written
/// must not control the terminal.
pub fn printable(text: &str) -> String {
    let is_harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_harmful(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_server_is_given_by_its_url_without_a_secret() {
        let at =
            |url: &str| url.parse::<ServerUrl>().expect(url).at("events", [("group", "a b&c")]);
        assert_eq!(at("http://h:1").as_str(), "http://h:1/events?group=a+b%26c");
        assert_eq!(at("https://h/below/").as_str(), "https://h/below/events?group=a+b%26c");
        for wrong in ["h:1", "ftp://h", "http://a:b@h", "http://h/?key=x", "http://h/#x", "", "/"] {
            let error = wrong.parse::<ServerUrl>().expect_err(wrong);
            assert!(error.contains("accepted is http://HOST"), "{wrong}: {error}");
        }
    }

    #[tokio::test]
    async fn the_first_server_that_answers_or_refuses_is_the_one() {
        let urls = operators(None);
        assert_eq!(urls.len(), 2);
        let ask = async |answers: [Result<&'static str, (&'static str, bool)>; 2]| {
            let answer = async |url: &ServerUrl| answers[usize::from(*url == urls[1])];
            first_answer(&urls, answer).await.map(|(url, answer)| (url.to_string(), answer))
        };
        let [first, second] = [0, 1].map(|at| urls[at].to_string());
        assert_eq!(ask([Ok("a"), Ok("b")]).await, Ok((first, "a")));
        assert_eq!(ask([Err(("gone", true)), Ok("b")]).await, Ok((second, "b")));
        assert_eq!(ask([Err(("no key", false)), Ok("b")]).await, Err(vec!["no key"]));
        let neither = ask([Err(("gone", true)), Err(("no", false))]).await;
        assert_eq!(neither, Err(vec!["gone", "no"]));
        let one = "http://h:1".parse().expect("a URL");
        assert_eq!(operators(Some(&one)), [one]);
    }

    #[test]
    fn another_server_is_asked_only_if_this_one_is_not_a_publisher() {
        let refused = |status, sentence: &str| {
            AskError::Refused { status, sentence: sentence.to_owned() }.is_elsewhere()
        };
        let path = "there is nothing at this path: accepted are /metrics";
        assert!(refused(StatusCode::NOT_FOUND, path));
        assert!(!refused(StatusCode::NOT_FOUND, "there is no event"));
        assert!(!refused(StatusCode::UNAUTHORIZED, path));
    }

    #[test]
    fn the_file_of_a_secret_takes_precedence_over_the_variable() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "from-the-file").expect("it can be written");
        let read = |file, value: Option<&str>| {
            let value = value.map(OsStr::new);
            let header = authorization(("--key-file", file), ("CAMPANILE_KEY", value));
            header.map(|header| header.map(|h| h.to_str().expect("ASCII").to_owned()))
        };
        let bearer = |word: &str| Ok(Some(format!("Bearer {word}")));
        assert_eq!(read(Some(file.path()), Some("variable")), bearer("from-the-file"));
        assert_eq!(read(None, Some("variable")), bearer("variable"));
        assert_eq!((read(None, Some("")), read(None, None)), (Ok(None), Ok(None)));
        for secret in ["two words", "a\nb", "\u{e9}"] {
            let error = read(None, Some(secret)).expect_err(secret);
            assert_eq!(error, "CAMPANILE_KEY: accepted is one word of ASCII characters");
        }
        let error = read(Some(Path::new("/etc/no-key")), None).expect_err("no file");
        assert!(error.starts_with("--key-file /etc/no-key: it cannot be read"), "{error}");
    }

    #[test]
    fn what_a_server_says_does_not_control_the_terminal() {
        assert_eq!(sentence(b"{\"error\":\"no \\u001b[2J\"}"), "no \\u{1b}[2J");
        assert_eq!(sentence(b"no room\x07\n"), "no room\\u{7}");
        assert_eq!(sentence(b"\xff").as_str(), "\u{fffd}");
        assert_eq!(printable("a\tb\nc\r\u{9b}"), "a\tb\nc\\r\\u{9b}");
    }
}
