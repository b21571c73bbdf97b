//! Requests that a browser sends for a page of another site, or for a foreign name of this host.

use campanile_edge::Exposure;
use campanile_publisher::{AllowHosts, AllowOrigins};

use crate::harness::{Answer, Broker, Publisher, accept, get_with, post};

const PAGE: &str = "http://127.0.0.1:4236";

fn request(method: &str, target: &str, headers: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost:4237\r\n{headers}Content-Length: 0\r\n\r\n"
    )
}

#[actix::test]
async fn a_page_of_another_site_cannot_push_in_any_way() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for marks in [
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.example\r\n",
        "Sec-Fetch-Site: none\r\nOrigin: https://evil.example\r\n",
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
    ] {
        for (method, target) in [
            ("GET", "/?content=hi"),
            ("HEAD", "/"),
            ("POST", "/?content=hi"),
            ("OPTIONS", "/"),
            ("PUT", "/"),
            ("POST", "/batch"),
            ("GET", "/stream"),
            ("GET", "/nowhere"),
        ] {
            let mut client = publisher.client().await;
            client.send(request(method, target, marks)).await;
            client.send(request("GET", "/?content=behind", "Connection: close\r\n")).await;
            let answer = client.rest().await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{method} {target} {marks}: {answer}");
            let sentence = answer.contains("--allow-origin names");
            assert!(sentence || method == "HEAD", "{method} {target} {marks}: {answer}");
        }
    }
    let strange = "Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.example";
    let batch = post("/batch", "", r#"[{"content":"a"}]"#);
    let batch = String::from_utf8(batch).expect("a text");
    let batch = batch.replace("Host: test", &format!("Host: test\r\n{strange}"));
    assert_eq!(publisher.send(batch).await.status, 403);
    let contents = broker.contents();
    assert!(contents.iter().all(|content| content == "behind"), "{contents:?}");
}

#[actix::test]
async fn local_pages_typed_urls_and_other_callers_may_push() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for marks in [
        "X: y".to_owned(),
        "Sec-Fetch-Site: none".to_owned(),
        "Sec-Fetch-Site: same-origin".to_owned(),
        format!("Sec-Fetch-Site: same-site\r\nOrigin: {PAGE}"),
        format!("Sec-Fetch-Site: cross-site\r\nOrigin: {PAGE}"),
        format!("Origin: {PAGE}"),
    ] {
        let answer = publisher.send(get_with("/?content=hi", &marks)).await;
        assert_eq!(answer.brief(), (200, "ok"), "{marks}");
    }
    assert_eq!(broker.contents().len(), 6);
}

#[actix::test]
async fn an_allowed_origin_may_push_and_an_image_may_not() {
    let app = "https://app.example";
    for origins in [AllowOrigins::Any, AllowOrigins::Only(vec![app.to_owned()])] {
        let broker = Broker::start(accept);
        let publisher = Publisher::start_with(broker.addr, |config| config.allow_origins = origins);
        let named = format!("Sec-Fetch-Site: cross-site\r\nOrigin: {app}");
        assert_eq!(publisher.send(get_with("/?content=hi", &named)).await.status, 200);
        let unnamed = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: image";
        let answer = publisher.send(get_with("/?content=hi", unnamed)).await;
        assert_eq!(answer.status, 403);
        assert!(answer.body.starts_with("the header Sec-Fetch-Site is \"cross-site\""));
    }
}

fn start(broker: &Broker, hosts: &str) -> Publisher {
    let hosts: AllowHosts = hosts.parse().expect("hosts");
    Publisher::start_with(broker.addr, |config| config.allow_hosts = hosts)
}

async fn push_to(publisher: &Publisher, host: &str) -> Answer {
    let request = format!("GET /?content=hi HTTP/1.1\r\nHost: {host}\r\n\r\n");
    publisher.send(request).await
}

#[actix::test]
async fn on_loopback_a_foreign_host_is_403() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, "");
    for host in ["localhost", "LOCALHOST.:4237", "127.0.0.2", "[::1]:1", "a.localhost:80"] {
        assert_eq!(push_to(&publisher, host).await.brief(), (200, "ok"), "{host}");
    }
    for host in ["evil.example", "evil.example:4237", "localhost:x", "", "0.0.0.0", "[::1"] {
        let answer = push_to(&publisher, host).await;
        assert_eq!(answer.status, 403, "{host}: {answer:?}");
        assert!(answer.body.starts_with("the header Host is "), "{answer:?}");
        assert!(answer.body.contains("--allow-host"), "{answer:?}");
    }
    let mut client = publisher.client().await;
    client.send("GET /?content=hi HTTP/1.0\r\n\r\n").await;
    assert!(client.rest().await.ends_with("\r\n\r\nok"));
    assert_eq!(broker.contents().len(), 6);
}

#[actix::test]
async fn a_listed_host_may_be_used_on_loopback() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, "evil.example:4237");
    assert_eq!(push_to(&publisher, "evil.example:4237").await.status, 200);
    assert_eq!(push_to(&publisher, "evil.example:4238").await.status, 403);
    let broker = Broker::start(accept);
    let publisher = start(&broker, "*");
    assert_eq!(push_to(&publisher, "").await.status, 200);
}

#[actix::test]
async fn a_publisher_that_asks_for_keys_accepts_any_host_and_proxies() {
    for (exposure, foreign_host, by_proxy) in
        [(Exposure::Guarded, 200, 200), (Exposure::Open, 403, 200), (Exposure::Local, 403, 403)]
    {
        let broker = Broker::start(accept);
        let publisher = Publisher::start_with(broker.addr, |config| config.exposure = exposure);
        assert_eq!(push_to(&publisher, "app.example").await.status, foreign_host, "{exposure:?}");
        let forwarded = "localhost\r\nX-Forwarded-For: 203.0.113.7";
        assert_eq!(push_to(&publisher, forwarded).await.status, by_proxy, "{exposure:?}");
    }
}
