//! Who gets what: everyone, a group, one connection; texts in any language and bytes.

use campanile_harness::{Cluster, Frame, Process, Websocket, exchange};
use serde_json::{Value, json};

/// Two gateways of two workers each, and some clients on every one of them.
async fn crowd(cluster: &Cluster) -> Vec<Websocket> {
    let mut clients = Vec::new();
    for gateway in [0, 0, 0, 1, 1, 1] {
        clients.push(cluster.client(gateway, &[]).await);
    }
    clients
}

#[test]
fn the_default_ports_are_2206_4236_and_4237() {
    for (service, flag, address) in [
        ("broker", "--listen", "127.0.0.1:2206"),
        ("gateway", "--listen", "127.0.0.1:4236"),
        ("gateway", "--broker", "127.0.0.1:2206"),
        ("publisher", "--listen", "127.0.0.1:4237"),
        ("publisher", "--broker", "127.0.0.1:2206"),
        ("up", "--broker-listen", "127.0.0.1:2206"),
        ("up", "--gateway-listen", "127.0.0.1:4236"),
        ("up", "--publisher-listen", "127.0.0.1:4237"),
    ] {
        let help = campanile_harness::command(&[service, "--help"]).output().expect("it runs");
        let help = String::from_utf8(help.stdout).expect("UTF-8");
        let about = help.split(&format!("{flag} <HOST:PORT>")).nth(1).expect(flag);
        let default = about.split("[default: ").nth(1).and_then(|rest| rest.split(']').next());
        assert_eq!(default, Some(address), "{service} {flag}");
    }
}

#[tokio::test]
async fn a_plain_client_is_greeted_with_its_address() {
    let cluster = Cluster::of(1).start().await;
    let client = cluster.client(0, &[]).await;
    let greeting =
        format!("workerID:{} connectionID:{} connected\n", client.worker, client.connection);
    assert_eq!(client.greeting, Frame::Text(greeting));
}

#[tokio::test]
async fn everyone_gets_a_broadcast_once_and_unchanged() {
    let cluster = Cluster::of(2).start().await;
    let mut clients = crowd(&cluster).await;
    cluster.push[0].everyone("hi").await;
    cluster.push[0].everyone("last").await;
    for client in &mut clients {
        assert_eq!(client.texts_until("last").await, ["hi"]);
    }
}

#[tokio::test]
async fn a_targeted_push_reaches_that_client_and_no_other() {
    let cluster = Cluster::of(2).start().await;
    let mut clients = crowd(&cluster).await;
    for (number, client) in clients.iter().enumerate() {
        cluster.push[0].to(client, &format!("only {number}")).await;
    }
    cluster.push[0].everyone("last").await;
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.texts_until("last").await, [format!("only {number}")]);
    }
}

#[tokio::test]
async fn contents_in_any_language_arrive_as_they_are() {
    let cluster = Cluster::of(1).start().await;
    let mut client = cluster.client(0, &[]).await;
    let long = "가나다 ".repeat(2_000);
    let contents =
        ["0", " ", "false", "안녕하세요", "🔔", "a+b&c=d%25#e", "\n", "\0", "{\"a\":1}", &long];
    for content in contents {
        cluster.push[0].everyone(content).await;
        assert_eq!(client.next().await, Frame::Text(content.to_owned()));
    }
    for (query, content) in [
        ("content=0", "0"),
        ("content=%20", " "),
        ("content=+", " "),
        ("content=%EC%95%88+%eb%85%95", "안 녕"),
        ("content=a=b", "a=b"),
        ("&&content=x&", "x"),
    ] {
        assert_eq!(cluster.push[0].get_raw(query).await.body, "ok", "{query}");
        assert_eq!(client.next().await, Frame::Text(content.to_owned()), "{query}");
    }
    // As curl sends it.
    let raw = "GET /?content=안녕 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(exchange(cluster.push[0].address, raw.as_bytes()).await.body, "ok");
    assert_eq!(client.next().await, Frame::Text("안녕".to_owned()));
}

#[tokio::test]
async fn the_body_of_a_post_is_the_content_as_its_type_says() {
    let cluster = Cluster::of(1).start().await;
    let mut client = cluster.client(0, &["news"]).await;
    let form = Some("application/x-www-form-urlencoded");
    for (parameters, content_type, body, content) in [
        (&[][..], None, "a+b%20", "a+b%20"),
        (&[], Some("text/plain"), "안녕", "안녕"),
        (&[], Some("text/html; charset=utf-8"), "<b>", "<b>"),
        (&[], Some("application/json"), "{\"a\":[1]}", "{\"a\":[1]}"),
        (&[], form, "content=a+b%20", "a b "),
        (&[], form, "to_group=news&content=hi", "hi"),
        (&[("to_group", "news")], form, "content=hi", "hi"),
        (&[("to_group", "news")], Some("text/plain"), "0", "0"),
    ] {
        let answer = cluster.push[0].post(parameters, content_type, body).await;
        assert_eq!((answer.status, &*answer.body), (200, "ok"), "{content_type:?} {body}");
        assert_eq!(client.next().await, Frame::Text(content.to_owned()));
    }
    let large = "x".repeat(1 << 20);
    let answer = cluster.push[0].post(&[], Some("text/plain"), large.clone()).await;
    assert_eq!(answer.status, 200);
    assert!(client.next().await == Frame::Text(large));
}

#[tokio::test]
async fn binary_content_is_a_binary_frame_and_base64_in_v1() {
    let cluster = Cluster::of(1).start().await;
    let mut plain = cluster.client(0, &[]).await;
    let mut v1 = cluster.client_v1(0, &[]).await;
    let bytes = [0xff, 0x00, b'\n', 0xfe];
    let answer = cluster.push[0].post(&[], Some("application/octet-stream"), bytes.to_vec()).await;
    assert_eq!((answer.status, &*answer.body), (200, "ok"));
    assert_eq!(plain.next().await, Frame::Binary(bytes.to_vec()));
    let event = v1.json().await;
    assert_eq!(event["content_base64"], "/wAK/g==", "{event}");
    assert_eq!(event.get("content"), None, "{event}");
}

#[tokio::test]
async fn a_group_is_whoever_named_it_in_the_url_on_any_gateway() {
    let cluster = Cluster::of(2).start().await;
    let mut news = cluster.client(0, &["news"]).await;
    let mut both = cluster.client(1, &["news", "뉴스 eu/1&2"]).await;
    let mut none = cluster.client(0, &[]).await;
    cluster.push[0].group("news", "to news").await;
    cluster.push[0].group("뉴스 eu/1&2", "to eu").await;
    cluster.push[0].group("nobody", "to nobody").await;
    cluster.push[0].everyone("last").await;
    assert_eq!(news.texts_until("last").await, ["to news"]);
    assert_eq!(both.texts_until("last").await, ["to news", "to eu"]);
    assert_eq!(none.texts_until("last").await, [""; 0]);
}

#[tokio::test]
async fn a_group_named_twice_is_listened_to_once() {
    let cluster = Cluster::of(1).start().await;
    let mut client = cluster.client(0, &["a", "a"]).await;
    let receipt = cluster.push[0].receipt(&[("to_group", "a"), ("content", "hi")]).await;
    assert_eq!(receipt.matched, 1);
    cluster.push[0].everyone("last").await;
    assert_eq!(client.texts_until("last").await, ["hi"]);
}

#[tokio::test]
async fn a_group_is_joined_and_left_while_connected() {
    let cluster = Cluster::of(2).start().await;
    let mut client = cluster.client_v1(0, &[]).await;
    let mut other = cluster.client_v1(1, &["news"]).await;
    let push = &cluster.push[0];
    push.group("news", "before").await;
    client.join("news").await;
    client.join("news").await;
    push.group("news", "meanwhile").await;
    assert_eq!(client.json().await["content"], "meanwhile");
    client.leave("news").await;
    client.leave("news").await;
    push.group("news", "after").await;
    client.join("news").await;
    push.group("news", "again").await;
    push.everyone("last").await;
    for content in ["again", "last"] {
        assert_eq!(client.json().await["content"], content);
    }
    for content in ["before", "meanwhile", "after", "again", "last"] {
        assert_eq!(other.json().await["content"], content);
    }
}

#[tokio::test]
async fn what_a_v1_client_hears_has_this_shape_and_nothing_more() {
    let cluster = Cluster::of(1).start().await;
    let mut client = cluster.client_v1(0, &["news"]).await;
    let (worker, connection) = (client.worker, client.connection);
    let Frame::Text(welcome) = &client.greeting else { panic!("not a text") };
    let expected = json!({ "type": "welcome", "worker": worker, "connection": connection,
        "position": client.position });
    assert_eq!(serde_json::from_str::<Value>(welcome).expect("JSON"), expected);

    let push = &cluster.push[0];
    let id = push.position(&[("content", "a\"\n안")]).await;
    let event = json!({ "type": "event", "id": id, "to": "everyone", "content": "a\"\n안" });
    assert_eq!(client.json().await, event);
    let id = push.position(&[("content", "b"), ("to_group", "news")]).await;
    let event = json!({ "type": "event", "id": id, "to": { "group": "news" }, "content": "b" });
    assert_eq!(client.json().await, event);
    push.to(&client, "c").await;
    let event = json!({ "type": "event", "to": "connection", "content": "c" });
    assert_eq!(client.json().await, event);

    client.say(r#"{"type":"ping"}"#).await;
    assert_eq!(client.json().await, json!({ "type": "pong" }));
    client.say(r#"{"type":"dance"}"#).await;
    let error = client.json().await;
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("unknown_type")));
    assert!(error["message"].as_str().is_some_and(|m| m.contains("dance")), "{error}");
    client.say_binary(b"{}").await;
    assert_eq!(client.json().await["code"], "not_text");
}

#[tokio::test]
async fn what_a_plain_client_says_is_ignored() {
    let cluster = Cluster::of(1).start().await;
    let mut client = cluster.client(0, &[]).await;
    client.say("hello").await;
    client.say(r#"{"type":"join","group":"news"}"#).await;
    client.say_binary(&[0xff]).await;
    cluster.push[0].group("news", "no").await;
    cluster.push[0].everyone("last").await;
    assert_eq!(client.texts_until("last").await, [""; 0]);
}

#[tokio::test]
async fn a_receipt_counts_the_gateways_and_connections_that_listen() {
    let cluster = Cluster::of(2).start().await;
    let mut clients = crowd(&cluster).await;
    clients.push(cluster.client_v1(1, &["news"]).await);
    let push = &cluster.push[0];
    let answer = push.get_json(&[("content", "hi")]).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let receipt: Value = serde_json::from_str(&answer.body).expect("JSON");
    let position = receipt["position"].as_str().expect("a text").to_owned();
    let expected =
        json!({ "position": position, "durability": "memory", "gateways": 2, "matched": 7 });
    assert_eq!(receipt, expected);

    let first = push.receipt(&[("content", "hi"), ("to_group", "news")]).await;
    assert_eq!((first.gateways, first.matched), (1, 1));
    let second = push.receipt(&[("content", "hi"), ("to_group", "nobody")]).await;
    assert_eq!((second.gateways, second.matched), (0, 0));
    assert!(second.epoch == first.epoch && second.sequence > first.sequence);

    let [worker, connection] = clients[0].address();
    let query = [(worker.0, &*worker.1), (connection.0, &*connection.1), ("content", "x")];
    let written = push.get_json(&query).await;
    assert_eq!((written.status, &*written.body), (200, r#"{"written":1}"#));
}

#[tokio::test]
async fn every_publisher_reaches_every_gateway() {
    let cluster = Cluster::of(2).publishers(3).start().await;
    let mut clients = crowd(&cluster).await;
    for (number, push) in cluster.push.iter().enumerate() {
        push.everyone(&format!("from {number}")).await;
        push.to(&clients[number * 2], "only").await;
    }
    cluster.push[0].everyone("last").await;
    for (number, client) in clients.iter_mut().enumerate() {
        let mut expected: Vec<_> = (0..3).map(|publisher| format!("from {publisher}")).collect();
        if number % 2 == 0 {
            expected.insert(number / 2 + 1, "only".to_owned());
        }
        assert_eq!(client.texts_until("last").await, expected);
    }
}

#[tokio::test]
async fn services_that_are_started_with_the_older_names_deliver() {
    let broker = Process::start(&["channel", "--listen", "127.0.0.1:0"]);
    let broker_address = broker.address("the broker listens").await.to_string();
    let link = ["--listen", "127.0.0.1:0", "--channel", &broker_address];
    let gateway = Process::start(&[&["gateway"], &link[..]].concat());
    let publisher = Process::start(&[&["publisher"], &link[..]].concat());
    gateway.said("the gateway takes connections").await;
    let mut client = Websocket::plain(gateway.address("the gateway listens").await, &[]).await;
    let push = campanile_harness::PushApi::new(publisher.address("the publisher listens").await);
    push.everyone("heard").await;
    assert_eq!(client.text().await, "heard");
}

#[tokio::test]
async fn the_services_find_each_other_in_whatever_order_they_start() {
    // The port of a broker that has ended.
    let mut first = Process::start(&["broker", "--listen", "127.0.0.1:0"]);
    let broker = first.address("the broker listens").await;
    first.kill().await;

    let publisher =
        campanile_harness::start_publisher(broker, &["--broker-wait".into(), "30s".into()]);
    let gateway = campanile_harness::start_gateway(broker, &[]);
    let push = campanile_harness::PushApi::new(publisher.address("the publisher listens").await);
    let address = gateway.address("the gateway listens").await;
    let early = tokio::spawn({
        let push = push.clone();
        async move { push.get(&[("content", "early")]).await }
    });
    publisher.said("no link to the broker").await;
    gateway.said("no link to the broker").await;
    let _broker = Process::start(&["broker", "--listen", &broker.to_string()]);

    gateway.said("the gateway takes connections").await;
    assert_eq!(early.await.expect("answered").body, "ok");
    let mut client = Websocket::plain(address, &[]).await;
    push.everyone("hi").await;
    assert_eq!(client.next().await, Frame::Text("hi".to_owned()));
}
