//! API keys: who may push what, and how often.

mod late;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use campanile_edge::rights::{KeyRights, Scope};
use campanile_edge::{ApiKey, KeyHash, Keys, Rate, Secret};
use campanile_publisher::PublisherConfig;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::harness::{Answer, Broker, Publisher, accept, get, get_with, post};

const KEY: &str = "cpk_of-the-shop";

fn key(secret: &str, scopes: &[&str], rate: Option<Rate>) -> ApiKey {
    let scopes: Vec<Scope> = scopes.iter().map(|scope| scope.parse().expect("a scope")).collect();
    let rights = KeyRights { name: "shop".to_owned(), scopes };
    ApiKey::new(KeyHash::of(&Secret::new(secret)), rights, rate)
}

fn set(keys: impl IntoIterator<Item = ApiKey>) -> Arc<Keys> {
    Arc::new(Keys::new(keys).expect("different keys"))
}

/// A publisher whose one key has these scopes.
fn start(broker: &Broker, scopes: &[&str]) -> Publisher {
    start_with(broker, set([key(KEY, scopes, None)]), |_| {}).0
}

/// The other end of the keys is for a rotation.
fn start_with(
    broker: &Broker,
    keys: Arc<Keys>,
    change: impl FnOnce(&mut PublisherConfig),
) -> (Publisher, watch::Sender<Arc<Keys>>) {
    let (sender, receiver) = watch::channel(keys);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.keys = receiver;
        change(config);
    });
    (publisher, sender)
}

fn with(request: impl AsRef<[u8]>, header: &str) -> Vec<u8> {
    let request = String::from_utf8_lossy(request.as_ref()).into_owned();
    request.replacen("Host: test\r\n", &format!("Host: test\r\n{header}\r\n"), 1).into_bytes()
}

fn with_key(request: impl AsRef<[u8]>) -> Vec<u8> {
    with(request, &format!("Authorization: Bearer {KEY}"))
}

fn challenge(answer: &Answer) -> &str {
    answer.header("www-authenticate").unwrap_or_default()
}

const NO_KEY: &str = "Bearer realm=\"campanile\"";
const UNKNOWN_KEY: &str = "Bearer realm=\"campanile\", error=\"invalid_token\"";

#[actix::test]
async fn without_a_known_key_everything_but_health_is_401() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, &["everyone", "group:*", "connection", "read"]);
    let requests = [
        get("/?content=hi").into_bytes(),
        get("/position").into_bytes(),
        post("/", "text/plain", "hi"),
        post("/", "application/x-www-form-urlencoded", "content=hi"),
        post("/batch", "application/json", r#"[{"content":"hi"}]"#),
    ];
    for request in &requests {
        let answer = publisher.send(request).await;
        assert_eq!((answer.status, challenge(&answer)), (401, NO_KEY), "{answer:?}");
        assert!(answer.body.starts_with("a key is needed: send it in the header"), "{answer:?}");
        let mut long = "Authorization: Bearer ".to_owned();
        long.push_str(&"k".repeat(60_000));
        for header in [
            "Authorization: Bearer cpk_of-the-sho",
            "Authorization: Bearer cpk_of-the-shop2",
            "Authorization: Bearer CPK_OF-THE-SHOP",
            "Authorization: Bearer",
            "Authorization: Bearer \u{e9}\u{1f514}",
            &long,
        ] {
            let answer = publisher.send(with(request, header)).await;
            assert_eq!((answer.status, challenge(&answer)), (401, UNKNOWN_KEY), "{answer:?}");
            assert!(!answer.body.contains("cpk_"), "{answer:?}");
        }
        for header in
            ["Authorization: Basic Y3BrX29mLXRoZS1zaG9wOg==", "Authorization: cpk_of-the-shop"]
        {
            let answer = publisher.send(with(request, header)).await;
            assert_eq!((answer.status, challenge(&answer)), (401, NO_KEY), "{answer:?}");
        }
    }
    assert_eq!(publisher.get("/health/live").await.status, 200);
    assert_eq!(publisher.send("OPTIONS /batch HTTP/1.1\r\nHost: test\r\n\r\n").await.status, 200);
    assert_eq!(publisher.get("/nowhere").await.status, 404);
    assert_eq!(broker.received(), []);
    let json = publisher.send(with(get("/?content=hi"), "Accept: application/json")).await;
    assert!(json.json()["error"].as_str().expect("a sentence").contains("Authorization: Bearer"));
}

#[actix::test]
async fn no_spelling_of_a_path_goes_around_the_key() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, &["everyone", "read"]);
    for target in ["/%70osition", "//position", "/position/", "/position%3Fa", "/position#x"] {
        assert_eq!(publisher.get(target).await.status, 404, "{target}");
    }
    assert_eq!(publisher.get("ftp://test/position").await.status, 400);
    assert_eq!(publisher.get("http://test/position").await.status, 401);
    let batch = publisher.send(post("/%62atch", "application/json", r#"[{"content":"hi"}]"#)).await;
    assert_eq!(batch.status, 404, "{batch:?}");
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn a_key_opens_every_way_to_push() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, &["everyone"]);
    for request in [
        with_key(get("/?content=get")),
        with_key(post("/", "text/plain", "post")),
        with_key(post("/", "application/x-www-form-urlencoded", "content=form")),
        with(get("/?content=lower"), &format!("authorization: bearer {KEY}")),
        get(&format!("/?content=url&key={KEY}")).into_bytes(),
        get("/?k%65y=cpk%5Fof-the-shop&content=escaped").into_bytes(),
        with_key(get(&format!("/?content=both&key={KEY}"))),
        with(get(&format!("/?content=basic&key={KEY}")), "Authorization: Basic YTpi"),
    ] {
        assert_eq!(publisher.send(&request).await.brief(), (200, "ok"));
    }
    let batch = with_key(post("/batch", "application/json", r#"[{"content":"batch"}]"#));
    assert_eq!(publisher.send(batch).await.json()[0]["status"], 200);
    let batch = post(&format!("/batch?key={KEY}"), "application/json", r#"[{"content":"batch"}]"#);
    assert_eq!(publisher.send(batch).await.json()[0]["status"], 200);
    let contents =
        ["get", "post", "form", "lower", "url", "escaped", "both", "basic", "batch", "batch"];
    assert_eq!(broker.contents(), contents);
}

#[actix::test]
async fn a_missing_scope_is_403_and_named() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, &["group:chat/*", "user:4*"]);
    for (target, scope) in [
        ("/?content=hi", "everyone"),
        ("/?content=hi&to_user=5", "user:5"),
        ("/?content=hi&to_group=news", "group:news"),
        ("/?content=hi&to_group=chat", "group:chat"),
        ("/?content=hi&to_group=a%20%22b", "group:a%20%22b"),
        ("/?content=hi&to_worker_id=1&to_connection_id=2", "connection"),
        ("/position", "read"),
    ] {
        let answer = publisher.send(with_key(get(target))).await;
        let expected = format!("{NO_KEY}, error=\"insufficient_scope\", scope=\"{scope}\"");
        assert_eq!((answer.status, challenge(&answer)), (403, &*expected), "{answer:?}");
        assert!(answer.body.starts_with("this key lacks the scope \""), "{answer:?}");
    }
    let allowed = publisher.send(with_key(get("/?content=hi&to_group=chat/7"))).await;
    assert_eq!(allowed.status, 200);
    let form = post("/", "application/x-www-form-urlencoded", "content=a&to_group=news");
    assert_eq!(publisher.send(with_key(form)).await.status, 403);
    let items = json!([
        { "content": "a", "to": { "group": "chat/1" } },
        { "content": "b" },
        { "content": "" },
        { "content": "c", "to": { "group": "chat/2" } },
        { "content": "d", "to": { "user": "chat/2" } },
        { "content": "e", "to": { "user": "42" } },
    ]);
    let batch = with_key(post("/batch", "application/json", items.to_string()));
    let answers = publisher.send(batch).await.json();
    let statuses: Vec<_> = answers.as_array().expect("a list").iter().map(status).collect();
    assert_eq!(statuses, [200, 403, 400, 200, 403, 200]);
    let said = answers[1]["error"].as_str().expect("a sentence");
    assert_eq!(said, "this key lacks the scope \"everyone\", which is needed here");
    assert_eq!(broker.contents(), ["hi", "a", "c", "e"]);
}

fn status(answer: &Value) -> u64 {
    answer["status"].as_u64().expect("a number")
}

#[actix::test]
async fn keys_that_contradict_each_other_are_400() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, &["everyone"]);
    let header = format!("Authorization: Bearer {KEY}");
    for (request, said) in [
        (with_key(get("/?content=a&key=cpk_other")), "have different keys"),
        (with(get("/?content=a"), &format!("{header}\r\n{header}")), "Authorization is given more"),
        (with_key(get(&format!("/?content=a&key={KEY}&key={KEY}"))), "key is given more than once"),
        (get("/?content=a&key=s3cret%zz").into_bytes(), "key has a malformed percent escape"),
        (get("/?content=a&key=s3cret%ff").into_bytes(), "key is not UTF-8"),
    ] {
        let answer = publisher.send(request).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains(said), "{answer:?}");
        assert!(!answer.body.contains("s3cret") && !answer.body.contains("cpk_"), "{answer:?}");
    }
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn off_loopback_a_key_in_the_url_needs_a_flag() {
    for key_in_url in [false, true] {
        let broker = Broker::start(accept);
        let (_keys, receiver) = watch::channel(set([key(KEY, &["everyone"], None)]));
        let publisher = Publisher::start_on("0.0.0.0:0", broker.addr, |config| {
            config.keys = receiver;
            config.key_in_url = key_in_url;
        });
        for request in [
            get(&format!("/?content=a&key={KEY}")).into_bytes(),
            with_key(get(&format!("/?content=a&%6bey={KEY}"))),
        ] {
            let answer = publisher.send(request).await;
            assert_eq!(answer.status, if key_in_url { 200 } else { 400 }, "{answer:?}");
            assert!(key_in_url || answer.body.contains("--key-in-url"), "{answer:?}");
        }
        assert_eq!(publisher.send(with_key(get("/?content=a"))).await.status, 200);
    }
}

#[actix::test]
async fn a_stranger_uses_none_of_the_room_for_bodies() {
    let broker = Broker::start(accept);
    let keys = set([key(KEY, &["everyone"], None)]);
    let (publisher, _keys) = start_with(&broker, keys, |config| {
        config.max_pending_bytes = 1 << 20;
        config.max_batch_bytes = 1 << 20;
    });
    let mut strangers = Vec::new();
    for _ in 0..50 {
        let mut stranger = publisher.client().await;
        let head = "POST /batch HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n\
                    Content-Length: 1000000\r\n\r\n";
        stranger.send(head).await;
        assert_eq!(stranger.answer().await.status, 401);
        strangers.push(stranger);
    }
    let body = "a".repeat(500_000);
    let answer = publisher.send(with_key(post("/", "text/plain", body))).await;
    assert_eq!(answer.brief(), (200, "ok"));
}

#[actix::test]
async fn a_thousand_wrong_keys_at_once_keep_nobody_out() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, &["everyone"]);
    let strangers = async {
        let mut clients = Vec::new();
        for number in 0..100 {
            let mut client = publisher.client().await;
            let wrong = with(get("/?content=x"), &format!("Authorization: Bearer cpk_{number}"));
            client.send(wrong.repeat(10)).await;
            clients.push(client);
        }
        let answers = clients.iter_mut().map(|client| async move {
            for _ in 0..10 {
                assert_eq!(client.answer().await.status, 401);
            }
        });
        join_all(answers).await;
    };
    let known = async {
        for _ in 0..10 {
            assert_eq!(publisher.send(with_key(get("/?content=hi"))).await.status, 200);
        }
    };
    tokio::join!(strangers, known);
    assert_eq!(broker.contents(), ["hi"; 10]);
}

#[actix::test]
async fn a_rotation_is_noticed_by_the_next_request_of_a_connection() {
    let broker = Broker::start(accept);
    let (old, new) = ("cpk_old", "cpk_new");
    let of = |secret| key(secret, &["everyone"], None);
    let (publisher, keys) = start_with(&broker, set([of(old)]), |_| {});
    let mut client = publisher.client().await;
    let mut status = async |secret: &str| {
        client.send(with(get("/?content=a"), &format!("Authorization: Bearer {secret}"))).await;
        client.answer().await.status
    };
    assert_eq!((status(old).await, status(new).await), (200, 401));
    keys.send_replace(set([of(old), of(new)]));
    assert_eq!((status(old).await, status(new).await), (200, 200));
    keys.send_replace(set([of(new)]));
    assert_eq!((status(old).await, status(new).await), (401, 200));
    drop(keys);
    assert_eq!((status(old).await, status(new).await), (401, 200));
}

#[actix::test]
async fn beyond_its_rate_a_key_gets_429_and_learns_when_to_come_back() {
    let broker = Broker::start(accept);
    let rate = Some(Rate::new(1, 3));
    let keys = set([key(KEY, &["everyone"], rate), key("cpk_other", &["everyone"], None)]);
    let (publisher, _keys) = start_with(&broker, keys, |config| config.workers = 2);
    for left in [2, 1, 0] {
        let answer = publisher.send(with_key(get("/?content=a"))).await;
        assert_eq!(answer.brief(), (200, "ok"));
        assert_eq!(answer.header("ratelimit-policy"), Some("\"pushes\";q=3;w=3"));
        let limit = answer.header("ratelimit").expect("a limit");
        assert!(limit.starts_with(&format!("\"pushes\";r={left};t=")), "{limit}");
    }
    let refused = publisher.send(with_key(post("/", "text/plain", "a"))).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{refused:?}");
    assert_eq!(refused.header("ratelimit"), Some("\"pushes\";r=0;t=1"));
    assert!(refused.body.starts_with("this key is over its rate of 1 per second"), "{refused:?}");
    let items = json!([{ "content": "a" }, { "content": "" }, { "content": "b" }]);
    let batch = post("/batch", "application/json", items.to_string());
    let answers = publisher.send(with_key(&batch)).await.json();
    let statuses: Vec<_> = answers.as_array().expect("a list").iter().map(status).collect();
    assert_eq!(statuses, [429, 400, 429]);
    let other = publisher.send(with(get("/?content=a"), "Authorization: Bearer cpk_other")).await;
    assert_eq!((other.status, other.header("ratelimit")), (200, None));
}

#[actix::test]
async fn a_rate_divides_a_batch_in_its_order() {
    let broker = Broker::start(accept);
    let keys = set([key(KEY, &["everyone"], Some(Rate::new(1, 3)))]);
    let (publisher, _keys) = start_with(&broker, keys, |_| {});
    let items: Vec<_> = (0..6).map(|number| json!({ "content": number.to_string() })).collect();
    let batch = post("/batch", "application/json", Value::from(items).to_string());
    let answer = publisher.send(with_key(batch)).await;
    assert!(answer.header("ratelimit").expect("a limit").starts_with("\"pushes\";r=0;"));
    let answers = answer.json();
    let statuses: Vec<_> = answers.as_array().expect("a list").iter().map(status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);
    assert_eq!(broker.contents(), ["0", "1", "2"]);
}

#[actix::test]
async fn pages_of_strangers_stay_out_and_foreign_hosts_do_not_matter() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, &["everyone"]);
    let image = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: image";
    let answer = publisher.send(get_with(&format!("/?content=a&key={KEY}"), image)).await;
    assert_eq!(answer.status, 403, "even an image that knows the key");
    assert_eq!(publisher.send(get_with("/?content=a", "Sec-Fetch-Dest: image")).await.status, 401);
    let rebound =
        |header: &str| format!("GET /?content=a HTTP/1.1\r\nHost: evil.example\r\n{header}\r\n");
    assert_eq!(publisher.send(rebound("")).await.status, 401, "it has no key");
    let named = rebound(&format!("Authorization: Bearer {KEY}\r\n"));
    assert_eq!(publisher.send(named).await.status, 200);
    let preflight = "OPTIONS / HTTP/1.1\r\nHost: test\r\nOrigin: http://localhost:3000\r\n\
                     Access-Control-Request-Method: POST\r\n\
                     Access-Control-Request-Headers: authorization\r\n\r\n";
    let answer = publisher.send(preflight).await;
    let headers = answer.header("access-control-allow-headers").expect("a list");
    assert!(headers.split(", ").any(|header| header == "authorization"), "{headers}");
}

#[actix::test]
async fn an_open_publisher_shows_no_key_that_it_does_not_know() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    assert_eq!(publisher.send(with_key(get("/?content=a"))).await.brief(), (200, "ok"));
    for (target, status) in [
        ("/?content=a&key=s3cret", 400),
        ("/position?k%65y=s3cret", 400),
        ("/batch?key=s3cret", 400),
        ("ftp://h/?key=s3cret", 400),
    ] {
        let method = if target.starts_with("/batch") { "POST" } else { "GET" };
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
        let answer = publisher.send(request).await;
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        assert!(!answer.body.contains("s3cret"), "{answer:?}");
    }
}

#[actix::test]
async fn a_rate_is_kept_over_time() {
    let broker = Broker::start(accept);
    let keys = set([key(KEY, &["everyone"], Some(Rate::new(20, 1)))]);
    let (publisher, _keys) = start_with(&broker, keys, |_| {});
    let start = std::time::Instant::now();
    let mut accepted = 0u32;
    while accepted < 5 {
        let answer = publisher.send(with_key(get("/?content=a"))).await;
        accepted += u32::from(answer.status == 200);
    }
    let least = Duration::from_millis(50) * (accepted - 1);
    assert!(start.elapsed() >= least, "{accepted} in {:?}", start.elapsed());
}
