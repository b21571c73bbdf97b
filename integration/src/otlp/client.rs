//! The HTTP client of the exporter. It remembers why a request failed, which the exporter does not say.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::redirect::Policy;

use super::OtlpUrl;

/// Sends requests to a collector. It follows no redirect and uses no proxy. Clones are the same client.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    failure: Arc<Mutex<Option<String>>>,
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
        Ok(Self { http, failure: Arc::default() })
    }

    /// Why the last request failed, if it did not even get an answer. Returned once.
    pub fn take_failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
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
            let sent = self.http.send_bytes(request).await;
            sent.inspect_err(|error| self.note(error))
        })
    }
}
