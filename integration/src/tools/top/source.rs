//! Asks a publisher how its cluster fares.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use crate::cli::TopArgs;
use crate::remote::{ServerUrl, causes, first_answer, operators, sentence};

/// How long an answer may take: a publisher waits 3 s for the others.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);

/// The most bytes of an answer: what a publisher accepts of all others together, as JSON.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// What was answered.
#[derive(Debug, Clone)]
pub struct Seen {
    /// As it came.
    text: String,
    /// The same, read.
    pub cluster: Value,
}

impl Seen {
    /// Reads an answer. `None` if it is not a JSON object.
    pub fn read(text: String) -> Option<Self> {
        let cluster: Value = serde_json::from_str(&text).ok()?;
        cluster.is_object().then_some(Self { text, cluster })
    }

    /// One line of JSON, in which control characters are escaped.
    pub fn json(&self) -> String {
        let mut line = String::with_capacity(self.text.len());
        for c in self.text.chars() {
            match c {
                // Outside of strings, they are white space.
                '\n' | '\r' | '\t' => line.push(' '),
                c if c.is_control() => drop(write!(line, "\\u{:04x}", u32::from(c))),
                c => line.push(c),
            }
        }
        line.trim_end().to_owned()
    }
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// To ask again is of no use.
    Refused(String),
    /// It may come back.
    Away(String),
}

/// The publisher that is asked.
pub struct Source {
    /// Those that may be it: at least one, and only one once it has answered.
    urls: Vec<ServerUrl>,
    client: Client,
    key: Option<HeaderValue>,
}

impl Source {
    /// By the flags.
    ///
    /// # Errors
    /// If one of them cannot be used.
    pub fn new(args: &TopArgs) -> anyhow::Result<Self> {
        let key = args.caller.authorization()?;
        let urls = operators(args.url.as_ref());
        let first = urls.first().context("no URL")?;
        let client = args.caller.client(first, ANSWER_LIMIT)?;
        Ok(Self { urls, client, key })
    }

    /// The publisher that is asked.
    pub fn url(&self) -> &ServerUrl {
        &self.urls[0]
    }

    /// Asks once. Of those that may be the publisher, the first that is one is asked from then on.
    ///
    /// # Errors
    /// Why there is no answer, of each that was asked.
    pub async fn look(&mut self) -> Result<Seen, NoAnswer> {
        let errors = match first_answer(&self.urls, async |url| self.ask(url).await).await {
            Ok((url, seen)) => {
                self.urls = vec![url.clone()];
                return Ok(seen);
            }
            Err(errors) => errors,
        };
        let is_refused = errors.iter().all(|error| matches!(error, NoAnswer::Refused(_)));
        let sentences = errors.into_iter().map(|error| match error {
            NoAnswer::Refused(sentence) | NoAnswer::Away(sentence) => sentence,
        });
        let sentences = sentences.collect::<Vec<_>>().join("; ");
        Err(if is_refused { NoAnswer::Refused(sentences) } else { NoAnswer::Away(sentences) })
    }

    /// Asks one of them. An error comes with whether the publisher may be another one.
    async fn ask(&self, url: &ServerUrl) -> Result<Seen, (NoAnswer, bool)> {
        let mut request = self.client.get(url.at("cluster", []));
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key);
        }
        let away = |error: &reqwest::Error| {
            (NoAnswer::Away(format!("{url}: {}", causes(error))), error.is_connect())
        };
        let mut response = request.send().await.map_err(|error| away(&error))?;
        let status = response.status();
        let body = read(&mut response).await.map_err(|error| away(&error))?;
        match status {
            StatusCode::OK => {
                let text = String::from_utf8_lossy(&body).into_owned();
                let strange = format!("the answer of {url} is not a cluster: is this a publisher?");
                Seen::read(text).ok_or((NoAnswer::Refused(strange), true))
            }
            StatusCode::NOT_FOUND => Err((
                NoAnswer::Refused(format!(
                    "{url} has no /cluster: accepted is the listener for operators of a publisher"
                )),
                true,
            )),
            status => {
                let said = format!("{url}: {status}: {}", sentence(&body));
                let no_answer = match status.is_client_error() {
                    true => NoAnswer::Refused(said),
                    false => NoAnswer::Away(said),
                };
                Err((no_answer, false))
            }
        }
    }
}

/// Reads the body, as far as it may be.
async fn read(response: &mut Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_does_not_control_the_terminal() {
        let seen = Seen::read("{\"a\":\n\"\u{9b}2J\"}\n".to_owned()).expect("JSON");
        let line = seen.json();
        assert_eq!(line, "{\"a\": \"\\u009b2J\"}");
        let again = Seen::read(line).expect("JSON");
        assert_eq!(again.cluster, seen.cluster);
        assert!(Seen::read("[]".to_owned()).is_none());
    }
}
