//! The browser's own `EventSource`, without the JavaScript client.

use campanile_harness::{Cluster, Signal};
use serde_json::Value;

use super::client::{JsClient, serve_blank_page};
use super::pushing::{Event, Pushing};
use crate::chromium::{Page, with_page_of};

/// Opens the browser's own `EventSource`, with the same notes as those of a [`JsClient`].
async fn event_source<'a>(page: &'a Page, cluster: &Cluster) -> JsClient<'a> {
    let url = format!("http://{}/events?group=g", cluster.gateway_addresses[0]);
    let body = "window.notes = [];
        window.source = new EventSource(arguments[0]);
        source.onmessage = ({ data }) => notes.push({ event: data });
        source.addEventListener('sync', ({ data }) => notes.push({ sync: JSON.parse(data) }));
        source.addEventListener('gap', ({ data }) => notes.push({ gap: JSON.parse(data) }));";
    page.js(body, &[&url]).await;
    JsClient::Browser(page)
}

#[tokio::test]
async fn an_event_source_comes_back_by_itself_and_misses_nothing() {
    with_page_of(&serve_blank_page().await, async |page| {
        let mut cluster = Cluster::of(1).gateway("--drain 200ms").start().await;
        let source = event_source(page, &cluster).await;
        let synced = async |count: usize| {
            let what = format!("sync, {count} times");
            source
                .until(&what, |notes| {
                    let mut syncs = notes.iter().filter(|note| !note["sync"].is_null());
                    Some(syncs.nth(count - 1)?["sync"].clone())
                })
                .await
        };
        assert!(synced(1).await["recovered"].is_null());
        let mut pushing = Pushing::start_for_g(&cluster.push[0]);
        pushing.some_more().await;
        for (round, signal) in [(2, Signal::KILL), (3, Signal::TERM)] {
            cluster.gateways[0].signal(signal);
            cluster.gateways[0].ended().await;
            pushing.some_more().await;
            cluster.replace_gateway_that_ended(0).await;
            assert_eq!(synced(round).await["recovered"], true);
            pushing.some_more().await;
        }
        let pushed = pushing.stop_for_g().await;
        cluster.push[0].everyone("last").await;
        let heard = source.events_until("last").await;
        let contents = |events: Vec<Event>| events.into_iter().map(|(_, content)| content);
        assert!(contents(heard).eq(contents(pushed)), "not the same events");
        assert_eq!(source.gaps().await, Vec::<Value>::new());
    })
    .await;
}
