//! The same clients over TLS, with tokens that expire. The authority of the certificate is trusted as any
//! other is; nothing is ignored.

use std::path::PathBuf;

use campanile_harness::client::raw::Client;
use rustls::ALL_VERSIONS;
use serde_json::{Value, json};

use super::client::{JsClient, serve_blank_page};
use crate::chromium::with_trusting_page_of;
use crate::issuer::now;
use crate::over_tls::OverTls;

/// How long the first token is valid, in seconds.
const SHORT: u64 = 8;

impl OverTls {
    fn authority_file(&self) -> PathBuf {
        self.files.path("ca.pem")
    }

    fn urls(&self) -> Value {
        json!([format!("https://{}", self.cluster.gateway_addresses[0])])
    }

    /// The options of a client whose first token expires soon.
    fn options(&self) -> Value {
        let until = |seconds| self.token(json!({ "sub": "42", "exp": now() + seconds }));
        json!({ "groups": ["news"], "tokens": [until(SHORT), until(3_600)] })
    }

    /// The module that the gateway serves.
    fn module(&self) -> String {
        let trusting = self.files.authority.client(ALL_VERSIONS);
        let mut client = Client::secure(self.cluster.gateway_addresses[0], &trusting, "127.0.0.1");
        client.send(b"GET /campanile.js HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        client.response().2
    }

    async fn push(&self, content: &str) {
        self.cluster.push[0].group("news", content).await;
    }

    /// Asserts that a client renews its token on its connection, and continues where it was on another one.
    async fn assert_renews_and_resumes(&mut self, js: &JsClient<'_>) {
        opened(js, 1).await;
        self.push("before").await;
        js.events_until("before").await;
        js.until("that it was asked for another token", |notes| {
            (notes.iter().filter(|note| !note["token"].is_null()).count() == 2).then_some(())
        })
        .await;
        self.push("with the new token").await;
        js.events_until("with the new token").await;
        let opens = js.states().await.iter().filter(|note| note["state"] == "open").count();
        assert_eq!(opens, 1, "on the same connection: {:?}", js.notes().await);

        self.cluster.gateways[0].kill().await;
        self.push("missed").await;
        self.cluster.replace_gateway_that_ended(0).await;
        assert_eq!(opened(js, 2).await["recovered"], true);
        self.push("last").await;
        let heard = js.events_until("last").await;
        let contents: Vec<_> = heard.iter().map(|(_, content)| content).collect();
        assert_eq!(contents, ["before", "with the new token", "missed"]);
        assert_eq!(js.gaps().await, Vec::<Value>::new());
    }
}

/// Waits until a client is connected for the `count`th time, and returns what it noted then.
async fn opened(js: &JsClient<'_>, count: usize) -> Value {
    js.until(&format!("open, {count} times"), |notes| {
        let mut opened = notes.iter().filter(|note| note["state"] == "open");
        opened.nth(count - 1).cloned()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn node_renews_its_token_and_resumes_over_tls() {
    let mut secure = OverTls::start("--drain 200ms").await;
    let (module, authority) = (secure.module(), secure.authority_file());
    let js = JsClient::in_node_with(&module, &secure.urls(), &secure.options(), Some(&authority));
    secure.assert_renews_and_resumes(&js).await;
    // Who does not trust the authority gets no connection.
    let js = JsClient::in_node_with(&module, &secure.urls(), &secure.options(), None);
    js.lost(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_renews_its_token_and_resumes_over_tls() {
    let mut secure = OverTls::start("--drain 200ms").await;
    let authority = secure.authority_file();
    with_trusting_page_of(&authority, &serve_blank_page().await, async |page| {
        let js = JsClient::in_page_with(page, &secure.urls(), &secure.options()).await;
        secure.assert_renews_and_resumes(&js).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_source_listens_over_tls() {
    let secure = OverTls::start("--drain 200ms").await;
    let authority = secure.authority_file();
    with_trusting_page_of(&authority, &serve_blank_page().await, async |page| {
        let gateway = secure.cluster.gateway_addresses[0];
        let token = secure.token(json!({ "sub": "42" }));
        let url = format!("https://{gateway}/events?group=news&token={token}");
        let body = "window.notes = [];
            window.source = new EventSource(arguments[0]);
            source.onmessage = ({ data }) => notes.push({ event: data });
            source.addEventListener('sync', () => notes.push({ sync: true }));";
        page.js(body, &[&url]).await;
        let source = JsClient::Browser(page);
        source.until("sync", |notes| notes.iter().find(|note| note["sync"] == true).cloned()).await;
        secure.push("hello").await;
        source.events_until("hello").await;
    })
    .await;
}
