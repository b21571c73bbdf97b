//! The operator's page in a real browser, against a real cluster.

use std::net::SocketAddr;

use campanile_harness::{Process, eventually, within};
use futures_util::StreamExt as _;
use serde_json::json;
use tempfile::TempDir;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::chromium::{Page, with_page_of};

/// A name that would be a program, if a page took it for markup.
const HOSTILE: &str = "<img src=x onerror=hacked=1>";

/// A broker, a gateway and a publisher with a key, and the addresses of gateway and operators.
struct Trio {
    broker: Process,
    _others: [Process; 2],
    gateway: SocketAddr,
    operators: SocketAddr,
    key: String,
    _directory: TempDir,
}

impl Trio {
    async fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let key = format!("cpk_{:032x}", rand::random::<u128>());
        let (settings, file) = (directory.path().join("settings"), directory.path().join("key"));
        std::fs::write(&file, &key).expect("it can be written");
        let scopes = "'read', 'manage', 'everyone', 'group:*', 'user:*'";
        let entry =
            format!("[[keys]]\nname = 'ops'\nsecret_file = {file:?}\nscopes = [{scopes}]\n");
        std::fs::write(&settings, entry).expect("it can be written");
        let broker = Process::start(&["broker", "--listen=127.0.0.1:0"]);
        let at = broker.address("the broker listens").await.to_string();
        let args = ["gateway", "--listen=127.0.0.1:0", "--workers=2", "--broker", &at];
        let gateway_process = Process::start(&args);
        let args = ["publisher", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--broker"];
        let config = ["--config", settings.to_str().expect("UTF-8")];
        let publisher = Process::start(&[&args[..], &[&at], &config].concat());
        let gateway = gateway_process.address("the gateway listens").await;
        gateway_process.said("the gateway takes connections").await;
        publisher.said("linked to the broker").await;
        let operators = publisher.address("operators are answered").await;
        let _others = [gateway_process, publisher];
        Self { broker, _others, gateway, operators, key, _directory: directory }
    }
}

/// The close code of a client that is disconnected, and the contents that it got before.
async fn until_closed(gateway: SocketAddr, user: &str) -> tokio::task::JoinHandle<(u16, String)> {
    let query = url_query(&[("user", user), ("group", HOSTILE)]);
    let connected = connect_async(format!("ws://{gateway}/?{query}"));
    let (mut socket, _) = within("a connection", connected).await.expect("a connection");
    within("a greeting", socket.next()).await.expect("a greeting").expect("no error");
    tokio::spawn(async move {
        let mut contents = String::new();
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) => contents.push_str(&text),
                Message::Close(Some(frame)) => return (frame.code.into(), contents),
                _ => {}
            }
        }
        (1006, contents)
    })
}

fn url_query(pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Pushes what is in the form, and returns the result that is shown for it.
async fn push(page: &Page) -> String {
    page.js("document.querySelector('#push-result').dataset.outcome = ''", &[]).await;
    page.click("#push-submit").await;
    eventually("the result of a push", async || {
        let outcome = page.attribute("#push-result", "data-outcome").await;
        let is_there = outcome == "accepted" || outcome == "refused";
        if is_there { Some(page.text("#push-result").await) } else { None }
    })
    .await
}

async fn focused(page: &Page) -> String {
    let id = page.js("return document.activeElement.id", &[]).await;
    id.as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn an_operator_signs_in_looks_pushes_disconnects_and_sees_the_broker_go() {
    let mut trio = Trio::start().await;
    let client = until_closed(trio.gateway, HOSTILE).await;
    let _other = until_closed(trio.gateway, "another").await;
    with_page_of(&format!("http://{}/console", trio.operators), async |page| {
        // Everything up to here is done with the keyboard.
        page.until_state("out").await;
        eventually("the field has the focus", async || {
            (focused(page).await == "sign-in-key").then_some(())
        })
        .await;
        page.press("cpk_wrong\u{e007}").await;
        page.until_text("#sign-in-problem", "401: this API key is not known").await;
        page.press(&format!("{}\u{e007}", trio.key)).await;
        page.until_state("live").await;
        assert_eq!(page.text("#who-name").await, "ops");
        assert_eq!(focused(page).await, "main");
        let cookies = page.js("return [document.cookie, location.href]", &[]).await;
        assert_eq!(cookies, json!(["", format!("http://{}/console", trio.operators)]));

        let nameless = "return [...document.querySelectorAll('input, select, textarea')]
            .filter(({ labels }) => !labels.length).map(({ id }) => id)";
        assert_eq!(page.js(nameless, &[]).await, json!([]), "every field has a label");

        page.until_text("#cluster-summary", "1 gateway with 2 connections").await;
        page.until_text("#charts .chart:nth-child(1) .value", "2").await;
        page.select("#push-audience", "group").await;
        page.fill("#push-group", HOSTILE).await;
        page.fill("#push-content", "hello").await;
        let receipt = push(page).await;
        assert!(receipt.contains("Accepted.") && receipt.contains("position"), "{receipt}");
        page.click("#push-result button").await;
        assert_eq!(focused(page).await, "trace-submit");
        page.press("\u{e007}").await;
        page.until_text("#trace-picture", "written to 2 of 2").await;
        // Two clients got each, which the page shows by itself.
        page.js(
            "window.most = 0; window.watch = setInterval(() => {
            const shown = document.querySelectorAll('#charts .value')[2].textContent;
            window.most = Math.max(window.most, Number(shown) || 0); }, 100)",
            &[],
        )
        .await;
        for content in ["a", "b"] {
            page.fill("#push-content", content).await;
            push(page).await;
        }
        eventually("the deliveries are shown", async || {
            (page.js("return window.most > 0", &[]).await == true).then_some(())
        })
        .await;
        page.select("#push-audience", "connection").await;
        page.fill("#push-connection", "0/0").await;
        let refused = push(page).await;
        assert!(refused.starts_with("403: "), "it has no scope for a connection: {refused}");
        page.until_text("#refused-rows", "lacks the scope").await;

        page.fill("#look-up-name", HOSTILE).await;
        page.press("\u{e007}").await;
        let found = page.until_text("#found", HOSTILE).await;
        assert!(found.contains("plain websocket") && found.contains("127.0.0.1"), "{found}");
        page.click("#disconnect-user").await;
        page.fill("#disconnect-reason", "misbehaves").await;
        page.press("\u{e007}").await;
        page.until_text("#found-summary", "1 connection was disconnected.").await;
        let (code, contents) = within("the client is closed", client).await.expect("no panic");
        assert_eq!((code, contents.contains("hello")), (4403, true), "{contents}");
        page.until_text("#closed-rows", "4403").await;
        let ended = page.until_text("#ended-rows", "disconnected by an operator").await;
        assert!(ended.contains(HOSTILE) && ended.contains("127.0.0.1"), "{ended}");
        page.js("document.querySelector('#ended-rows button').focus()", &[]).await;
        page.press("\u{e007}").await;
        page.until_text("#found", "4403: disconnected by an operator").await;
        assert_eq!(focused(page).await, "look-up-name");

        // A page that is opened again shows what happened before.
        page.js("window.isOld = true; location.reload()", &[]).await;
        eventually("the page is new", async || {
            let is_new = "return !window.isOld && document.querySelector('#state')?.dataset.state === 'live'";
            (page.js(is_new, &[]).await == true).then_some(())
        })
        .await;
        let top = page.text("#charts .chart:nth-child(3) .axis").await;
        let top = top.split_once("top ").and_then(|(_, top)| top.split("now").next()?.parse().ok());
        assert!(top.is_some_and(|top: f64| top >= 2.0), "deliveries from before: {top:?}");
        page.until_text("#ended-rows", HOSTILE).await;
        let markup =
            "return [document.querySelectorAll('#main img').length, window.hacked ?? null]";
        assert_eq!(page.js(markup, &[]).await, json!([0, null]), "names are text");

        trio.broker.kill().await;
        page.until_state("unavailable").await;
        page.until_text("#banner", "no link to its broker").await;
        page.click("#sign-out").await;
        page.until_state("out").await;
        assert_eq!(page.text("#sign-in-problem").await, "You are signed out.");
    })
    .await;
}
