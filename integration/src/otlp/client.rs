//! The HTTP client of the exporter. It remembers what the exporter does not say: why a request failed, and what
//! a collector rejected although it answered 200.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::redirect::Policy;
use serde_json::Value;

use super::OtlpUrl;

/// What a collector has rejected of a request that it answered 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// How many spans.
    pub spans: u64,
    /// Why, in its words, at most [`MAX_REASON_BYTES`] of them.
    pub reason: String,
}

/// A collector may explain itself at any length.
const MAX_REASON_BYTES: usize = 500;

/// A body with the status 200 that no collector sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not one of OTLP: this may be no collector")]
pub struct NotOtlp;

/// Reads the body of a collector's answer with the status 200. Some answer with JSON to whatever they are asked
/// in.
///
/// # Errors
/// [`NotOtlp`].
fn rejection(body: &[u8]) -> Result<Option<Rejection>, NotOtlp> {
    if body.trim_ascii_start().starts_with(b"{") {
        let answer: Value = serde_json::from_slice(body).map_err(|_| NotOtlp)?;
        let partial = &answer["partialSuccess"];
        // 64-bit integers are strings in this JSON, and numbers are accepted.
        let spans = &partial["rejectedSpans"];
        let spans = spans.as_i64().or_else(|| spans.as_str()?.parse().ok()).unwrap_or(0);
        return Ok(rejected(spans, partial["errorMessage"].as_str().unwrap_or_default()));
    }
    let answer = ExportTraceServiceResponse::decode(body).map_err(|_| NotOtlp)?;
    let partial = answer.partial_success.unwrap_or_default();
    Ok(rejected(partial.rejected_spans, &partial.error_message))
}

fn rejected(spans: i64, reason: &str) -> Option<Rejection> {
    let spans = u64::try_from(spans).ok().filter(|spans| *spans > 0)?;
    let mut reason = reason.to_owned();
    reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
    Some(Rejection { spans, reason })
}

/// Sends requests to a collector. It follows no redirect and uses no proxy. Clones are the same client.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    failure: Arc<Mutex<Option<String>>>,
    rejection: Arc<Mutex<Option<Rejection>>>,
}

impl Client {
    /// A client for a collector. A request may take this long.
    ///
    /// # Errors
    /// If the certificates of the system are needed and cannot be read.
    pub fn new(url: &OtlpUrl, limit: Duration) -> Result<Self, reqwest::Error> {
        let builder = match url.is_tls() {
            true => reqwest::Client::builder(),
            // The certificates of the system are not needed then, and perhaps there are none.
            false => reqwest::Client::builder().tls_certs_only([]),
        };
        let http = builder.no_proxy().redirect(Policy::none()).timeout(limit).build()?;
        Ok(Self { http, failure: Arc::default(), rejection: Arc::default() })
    }

    /// Why the last request failed, if it did not even get an answer. Returned once.
    pub fn take_failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What the collector has rejected of the last request. Returned once.
    pub fn take_rejection(&self) -> Option<Rejection> {
        self.rejection.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, error: &HttpError) {
        let mut causes = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        let failure = causes.join(": ");
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }
}

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let sent = self.http.send_bytes(request).await.and_then(|response| {
                if response.status().is_success() {
                    *self.rejection.lock().unwrap_or_else(PoisonError::into_inner) =
                        rejection(response.body())?;
                }
                Ok(response)
            });
            sent.inspect_err(|error| self.note(error))
        })
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn a_collector_says_what_it_rejects_as_protobuf_or_json() {
        let answer = |rejected_spans, error_message: &str| {
            let partial_success = Some(ExportTracePartialSuccess {
                rejected_spans,
                error_message: error_message.to_owned(),
            });
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        };
        let quota = Ok(Some(Rejection { spans: 3, reason: "quota".to_owned() }));
        assert_eq!(rejection(&answer(3, "quota")), quota);
        // A warning, and a number that cannot be.
        assert_eq!(rejection(&answer(0, "soon")), Ok(None));
        assert_eq!(rejection(&answer(-1, "")), Ok(None));
        let json = |spans: &str| {
            format!(r#" {{"partialSuccess":{{"rejectedSpans":{spans},"errorMessage":"quota"}}}}"#)
        };
        for spans in ["3", r#""3""#] {
            assert_eq!(rejection(json(spans).as_bytes()), quota);
        }
        for nothing in ["", "{}", r#"{"partialSuccess":{}}"#] {
            assert_eq!(rejection(nothing.as_bytes()), Ok(None), "{nothing}");
        }
        let long = rejection(&answer(1, &"é".repeat(10_000))).unwrap().unwrap().reason;
        assert_eq!(long.len(), MAX_REASON_BYTES);
    }

    #[test]
    fn what_is_no_answer_of_a_collector_is_an_error() {
        for body in ["<!doctype html>", "ok", "{", "[]", "\u{7f}\u{7f}\u{7f}"] {
            assert_eq!(rejection(body.as_bytes()), Err(NotOtlp), "{body}");
        }
    }
}
