//! What web pages may do.

use campanile_publisher::AllowOrigins;

use crate::harness::{Broker, Publisher, accept, get_with};

const PAGE: &str = "http://localhost:3000";
const STRANGER: &str = "https://evil.example";

fn preflight(origin: &str) -> String {
    format!(
        "OPTIONS / HTTP/1.1\r\nHost: test\r\nOrigin: {origin}\r\n\
         Access-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: content-type\r\n\r\n"
    )
}

fn origin(origin: &str) -> String {
    format!("Origin: {origin}")
}

#[actix::test]
async fn a_local_page_may_push_and_read_every_answer() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let answer = publisher.send(preflight(PAGE)).await;
    assert_eq!(answer.brief(), (200, ""));
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, HEAD, POST, OPTIONS"));
    let headers = answer.header("access-control-allow-headers");
    assert_eq!(headers, Some("authorization, content-type, accept, idempotency-key, traceparent"));
    assert_eq!(answer.header("vary"), Some("Origin"));

    for (target, status) in [("/?content=hi", 200), ("/", 400), ("/nowhere", 404)] {
        let answer = publisher.send(get_with(target, &origin(PAGE))).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
}

#[actix::test]
async fn a_page_of_another_origin_may_neither_push_nor_read() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let answer = publisher.send(preflight(STRANGER)).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains(STRANGER), "{answer:?}");
    assert!(answer.body.contains("--allow-origin names"), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let answer = publisher.send(get_with("/?content=hi", &origin(STRANGER))).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("vary"), Some("Origin"));
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn allow_origin_names_the_pages_that_may_push() {
    let broker = Broker::start(accept);
    let only = Publisher::start_with(broker.addr, |config| {
        config.allow_origins = AllowOrigins::Only(vec!["https://a.example".to_owned()]);
    });
    let allowed = only.send(preflight("https://a.example")).await;
    assert_eq!(allowed.status, 200);
    assert_eq!(only.send(preflight(PAGE)).await.status, 403);
    let any = Publisher::start_with(broker.addr, |config| {
        config.allow_origins = AllowOrigins::Any;
    });
    let allowed = any.send(preflight("null")).await;
    assert_eq!(allowed.header("access-control-allow-origin"), Some("*"));
}

#[actix::test]
async fn options_without_a_page_says_what_is_allowed() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let answer = publisher.send("OPTIONS /?content=hi HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("allow"), Some("GET, HEAD, POST, OPTIONS"));
    assert_eq!(broker.received(), []);
}
