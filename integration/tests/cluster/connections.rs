//! How connections and users are looked up and disconnected.

use std::net::SocketAddr;

use campanile_harness::client::raw::{Client, request};
use campanile_harness::link::Peer;
use campanile_harness::{Answer, Cluster, Signal, eventually, exchange};
use campanile_messages::inquiry::{self, pack};
use campanile_messages::{FromBroker, InstanceId, ToBroker};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::list;

/// A cluster of two gateways with one worker each, whose publisher's operators have keys.
struct Operated {
    cluster: Cluster,
    admin: SocketAddr,
    _directory: TempDir,
}

const READER: &str = "cpk_reader-for-this-test-only";
const MANAGER: &str = "cpk_manager-for-this-test-only";

impl Operated {
    async fn start(gateways: usize) -> Self {
        let directory = TempDir::new().expect("a directory");
        let entry = |name: &str, key: &str, scope: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, key).expect("it can be written");
            format!("[[keys]]\nname = {name:?}\nsecret_file = {path:?}\nscopes = [{scope:?}]\n")
        };
        let text = entry("reader", READER, "read") + &entry("night", MANAGER, "manage");
        let file = directory.path().join("campanile.toml");
        std::fs::write(&file, text).expect("it can be written");
        let flags = format!("--admin-listen=127.0.0.1:0 --config {}", file.display());
        let cluster = Cluster::of(gateways).publisher(&flags).gateway("--workers 1").start().await;
        let admin = cluster.publishers[0].address("operators are answered").await;
        // Until there is a link.
        let operated = Self { cluster, admin, _directory: directory };
        eventually("the cluster answers", async || {
            (operated.get("/cluster").await.status == 200).then_some(())
        })
        .await;
        operated
    }

    async fn ask(&self, method: &str, path: &str, key: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\
             Connection: close\r\n\r\n"
        );
        exchange(self.admin, request.as_bytes()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, READER).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, MANAGER).await
    }

    fn v1(&self, gateway: usize, target: &str) -> Client {
        Client::open_v1(self.cluster.gateway_addresses[gateway], target)
    }
}

/// The path of a connection, by its greeting.
fn path_of(welcome: &Value) -> String {
    format!("/connections/{}/{}", welcome["worker"], welcome["connection"])
}

#[tokio::test]
async fn a_connection_is_looked_up_and_closed() {
    let operated = Operated::start(2).await;
    let mut client = operated.v1(1, "/?group=news&group=%3Cb%3E%22&user=42");
    let welcome = client.json();
    let path = path_of(&welcome);
    let seen = operated.get(&path).await.json();
    assert_eq!(seen["state"], "live", "{seen}");
    assert_eq!((&seen["user"], &seen["dialect"]), (&json!("42"), &json!("v1")));
    assert_eq!(seen["groups"], json!(["<b>\"", "news"]));
    assert_eq!((&seen["groups_left_out"], &seen["outbox_bytes"]), (&json!(0), &json!(0)));
    assert_eq!(seen["position"], welcome["position"]);
    assert!(seen["sent_bytes"].as_u64().is_some_and(|bytes| bytes > 100), "{seen}");
    assert!(seen["open_seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{seen}");
    let address = seen["address"].as_str().expect("an address");
    assert!(address.starts_with("127.0.0.1:"), "{address}");

    let refused = operated.ask("DELETE", &format!("{path}?reason=x"), READER).await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("lacks the scope manage"), "{}", refused.body);
    assert_eq!(operated.ask("GET", &path, "cpk_unknown").await.status, 401);
    assert_eq!(operated.ask("POST", &path, MANAGER).await.status, 405);

    // The reason is longer than a close frame, and the cut would be within a character.
    let reason = format!("{}%C3%A9%C3%A9", "r".repeat(122));
    let asked = format!("{path}?reason={reason}");
    let closing = operated.delete(&asked);
    let (answer, ()) = tokio::join!(closing, async {
        tokio::task::spawn_blocking(move || {
            let error = client.json();
            assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("not_allowed")));
            client.expect_close_saying(4403, &"r".repeat(122));
        })
        .await
        .expect("no panic");
    });
    assert_eq!(
        answer.json(),
        json!({ "disconnected": 1, "ending": 0, "silent": [], "silent_left_out": 0 })
    );
    let said = operated.cluster.publishers[0].said("closed for an operator").await;
    assert!(said.contains("by=key:\"night\"") && said.contains("rrr\u{e9}\u{e9}"), "{said}");
    let ended = operated.get(&path).await.json();
    assert_eq!((&ended["state"], &ended["code"]), (&json!("ended"), &json!(4403)), "{ended}");
    assert_eq!((&ended["user"], &ended["groups"]), (&json!("42"), &seen["groups"]));
    assert!(ended["ended"].as_f64().is_some_and(|at| at > 1.7e9), "{ended}");
    assert_eq!((&ended["cause"], &seen.get("cause")), (&json!("operator"), &None));
    assert_eq!(operated.delete(&format!("{path}?reason=x")).await.status, 404);

    // It is among those that ended last, together with a client of the other gateway that left by itself.
    operated.cluster.client(0, &["news"]).await.leave_for_good().await;
    let closed = eventually("both are among those that ended", async || {
        let closed = operated.get("/closed").await.json();
        (list(&closed["connections"]).len() == 2).then_some(closed)
    })
    .await;
    let [left, disconnected] = [0, 1].map(|at| &closed["connections"][at]);
    assert_eq!((&left["code"], &left["cause"]), (&json!(1000), &json!("client")), "{closed}");
    assert_eq!((&left["dialect"], &left["user"]), (&json!("plain"), &Value::Null));
    assert_eq!((path_of(disconnected), &disconnected["user"]), (path.clone(), &json!("42")));
    for (field, value) in
        [("code", json!(4403)), ("cause", json!("operator")), ("address", json!("127.0.0.1"))]
    {
        assert_eq!(disconnected[field], value, "{closed}");
    }
    assert_eq!(disconnected["sent_bytes"], ended["sent_bytes"]);
    assert_eq!((&closed["left_out"], &closed["silent"]), (&json!(0), &json!([])));
    let one = operated.get("/closed?last=1").await.json();
    assert_eq!((&one["connections"], &one["left_out"]), (&json!([left]), &json!(1)));
    assert_eq!(operated.ask("GET", "/closed", "cpk_unknown").await.status, 401);

    for (path, status, part) in [
        ("/connections/x/1", 400, "the worker \"x\" is not a decimal number"),
        ("/connections/123456/1", 404, "there is no connection 123456/1"),
        ("/closed?last=51", 400, "last=\"51\": accepted is a number from 1 to 50"),
        ("/users/%ff", 400, "the user \"%ff\" is not UTF-8"),
        ("/users/a/b", 404, "there is nothing at this path"),
    ] {
        let answer = operated.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body.contains(part), "{path}: {}", answer.body);
    }
    let without = operated.delete("/users/42").await;
    assert_eq!(without.status, 400);
    assert!(without.body.contains("the parameter reason is missing"), "{}", without.body);
}

#[tokio::test]
async fn a_gateway_that_cannot_say_what_ended_is_named() {
    let operated = Operated::start(1).await;
    operated.cluster.client(0, &["news"]).await.leave_for_good().await;
    eventually("it has ended", async || {
        let closed = operated.get("/closed").await.json();
        (list(&closed["connections"]).len() == 1).then_some(())
    })
    .await;
    // What a gateway says that does not know the question.
    let (mut earlier, _) =
        Peer::gateway_of(operated.cluster.broker_address, InstanceId(0xb), &[]).await;
    let answering = async {
        loop {
            if let FromBroker::Asked { ticket, .. } = earlier.recv().await {
                let content = pack(&inquiry::Answer::NotUnderstood).expect("small");
                return earlier.send(ToBroker::Told { ticket, content }).await;
            }
        }
    };
    let (closed, ()) = tokio::join!(operated.get("/closed"), answering);
    let closed = closed.json();
    assert_eq!(list(&closed["connections"]).len(), 1, "{closed}");
    let silent = &closed["silent"][0];
    assert_eq!((&silent["reason"], &silent["role"]), (&json!("not_understood"), &json!("gateway")));
    assert_eq!(silent["instance"], "000000000000000b");
}

#[tokio::test]
async fn a_user_is_disconnected_from_every_gateway() {
    let operated = Operated::start(2).await;
    let user = "a%2Fb+%3Cscript%3E";
    let in_query = "a%2Fb%2B%3Cscript%3E";
    let target = format!("/?user={in_query}");
    let mut clients = [operated.v1(0, &target), operated.v1(1, &target)];
    let mut addresses: Vec<_> = clients.iter_mut().map(|client| path_of(&client.json())).collect();
    let gateway = operated.cluster.gateway_addresses[1];
    let mut plain = Client::open_with(gateway, &request(&target, &[]));
    plain.recv();
    let other = operated.cluster.client_v1(0, &[]).await;
    let mut events = Client::raw(gateway);
    events.send(
        format!("GET /events?user={in_query} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes(),
    );
    events.read_until("event: sync");
    events.read_until("\n\n");

    let seen = operated.get(&format!("/users/{user}")).await.json();
    assert_eq!(seen["user"], "a/b+<script>");
    assert_eq!((&seen["left_out"], &seen["silent"]), (&json!(0), &json!([])));
    let listed: Vec<_> = list(&seen["connections"]).iter().map(path_of).collect();
    assert_eq!(listed.len(), 4);
    addresses.sort_unstable();
    assert!(addresses.iter().all(|address| listed.contains(address)), "{listed:?}");

    let reason = "maintenance+at+night";
    let asked = format!("/users/{user}?reason={reason}&reconnect");
    let closing = operated.delete(&asked);
    let (answer, ()) = tokio::join!(closing, async {
        tokio::task::spawn_blocking(move || {
            for client in &mut clients {
                client.expect_close_saying(1001, "maintenance at night");
            }
            plain.expect_close_saying(1001, "maintenance at night");
            events.read_until("retry: ");
        })
        .await
        .expect("no panic");
    });
    assert_eq!(
        answer.json(),
        json!({ "disconnected": 4, "ending": 0, "silent": [], "silent_left_out": 0 })
    );
    let left = operated.get(&format!("/users/{user}")).await.json();
    assert_eq!(left["connections"], json!([]));
    assert_eq!(operated.cluster.publishers[0].count("closed for an operator"), 1);
    drop(other);

    // Of a gateway that hangs it is not known whether it has connections of the user.
    operated.cluster.gateways[0].signal(Signal::STOP);
    let seen = operated.get("/users/nobody").await;
    let silent = seen.json();
    assert_eq!((seen.status, list(&silent["silent"]).len()), (200, 1), "{silent}");
    assert_eq!(silent["silent"][0]["role"], "gateway");
    let worker = &addresses[0];
    let unknown = operated.get(worker).await;
    assert_eq!(unknown.status, 504, "{}", unknown.body);
    assert!(unknown.body.contains("no gateway has answered"), "{}", unknown.body);
    operated.cluster.gateways[0].signal(Signal::CONT);
}

#[tokio::test]
async fn look_ups_that_are_too_many_are_refused_and_delay_no_delete() {
    let operated = Operated::start(1).await;
    let mut client = operated.v1(0, "/?user=42");
    client.json();
    let look_ups = join_all((0..50).map(|_| operated.get("/users/42")));
    // The client does not close its side, so the gateway cuts it.
    let closing = operated.delete("/users/42?reason=stolen+token");
    let (looked, closed) = tokio::join!(look_ups, closing);
    assert_eq!(
        closed.json(),
        json!({ "disconnected": 1, "ending": 0, "silent": [], "silent_left_out": 0 })
    );
    for seen in &looked {
        match seen.status {
            200 => assert_eq!(list(&seen.json()["connections"]).len(), 1, "{}", seen.body),
            503 => assert!(seen.body.contains("too many questions"), "{}", seen.body),
            504 => assert!(seen.body.contains("(busy)"), "{}", seen.body),
            other => panic!("{other}: {}", seen.body),
        }
    }
    let shared = join_all((0..50).map(|_| operated.get("/cluster"))).await;
    assert!(shared.iter().all(|seen| seen.json()["gateways"][0]["ready"] == true));

    // One after the other, so that few wait at a time.
    let refused = eventually("the broker refuses a question", async || {
        for _ in 0..100 {
            let seen = operated.get("/users/42").await;
            if seen.status != 200 {
                return Some(seen);
            }
        }
        None
    })
    .await;
    let sentence = "this publisher asked too many questions within this second: try again\n";
    assert_eq!((refused.status, refused.body.as_str()), (503, sentence));
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
}

#[tokio::test]
async fn a_gateway_that_lost_its_link_is_named_until_it_is_given_up() {
    let mut operated = Operated::start(2).await;
    let mut lost = operated.v1(0, "/?user=42&group=news");
    let path = path_of(&lost.json());
    let mut staying = operated.v1(1, "/?user=42&group=news");
    let other = path_of(&staying.json());
    staying.say(&json!({ "type": "publish", "group": "news", "content": "x" }));
    let messages = std::iter::from_fn(|| Some(lost.json()));
    let event = messages.take(5).find(|message| message["content"] == "x").expect("the event");
    let position = event["id"].as_str().expect("a position");
    let instance = operated.get("/cluster").await.json()["gateways"][0]["instance"].clone();
    operated.cluster.gateways[0].kill().await;

    let away = json!([{
        "instance": instance, "role": "gateway", "address": null, "reason": "away",
    }]);
    let seen = eventually("its link is lost", async || {
        // Who was asked just before is silent for once.
        let seen = operated.get("/users/42").await.json();
        (seen["silent"][0]["reason"] == "away").then_some(seen)
    })
    .await;
    assert_eq!((&seen["silent"], path_of(&seen["connections"][0])), (&away, other.clone()));
    let in_cluster = eventually("the cluster is asked again", async || {
        let seen = operated.get("/cluster").await.json();
        (list(&seen["gateways"]).len() == 1).then_some(seen)
    })
    .await;
    assert_eq!(
        (&in_cluster["silent"], &operated.get("/closed").await.json()["silent"]),
        (&away, &away)
    );
    for answer in [operated.get(&path).await, operated.delete(&format!("{path}?reason=x")).await] {
        let sentence = "the gateway of this worker has no link to the broker now: try again\n";
        assert_eq!((answer.status, answer.body.as_str()), (503, sentence));
        assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
    }
    let said = operated.cluster.publishers[0].said("because no gateway was asked").await;
    assert!(said.contains("reason=\"x\"") && said.contains("by=key:\"night\""), "{said}");
    assert_eq!(operated.get(&other).await.status, 200);
    drop(staying);
    assert_eq!(operated.get("/connections/123456/1").await.status, 404);

    let [_, worker, connection] = path[1..].split('/').collect::<Vec<_>>()[..] else {
        panic!("{path}")
    };
    let asked = format!("/trace?position={position}&worker={worker}&connection={connection}");
    let trace = operated.get(&asked).await.json();
    assert_eq!(trace["connection"]["reason"], "gateway_away", "{trace}");
    assert_eq!(trace["silent"][0]["instance"], instance, "{trace}");
}
