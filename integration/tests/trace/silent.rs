//! Processes that do not answer.

use campanile_harness::link::{Peer, group, offer};
use campanile_harness::{Cluster, Signal, command, output_of};
use campanile_messages::frame::encode_hello;
use campanile_messages::hello::{Features, INQUIRIES};
use campanile_messages::inquiry::{Answer, pack};
use campanile_messages::link::Role;
use campanile_messages::{FromBroker, InstanceId, ToBroker};
use serde_json::Value;

use super::operator::{Operator, at, push_to, says};

/// The instances that have not answered.
fn silent(trace: &Value) -> Vec<&str> {
    let silent = trace["silent"].as_array().expect("a list").iter();
    silent.map(|it| it["instance"].as_str().expect("an instance")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_hangs_is_named_and_the_others_answer() {
    let cluster = Cluster::of(2).publisher("--admin-listen=127.0.0.1:0").start().await;
    let (operator, push) = (Operator::of(&cluster).await, &cluster.push[0]);
    let here = cluster.client_v1(0, &["news"]).await;
    let there = cluster.client_v1(1, &["news"]).await;
    let position = push_to(push, "news", "one").await;
    operator.until(&position, at(&there), "written").await;
    let hanging = operator.at(&position, at(&there)).await["gateway"].clone();
    let hanging = hanging.as_str().expect("an instance").to_owned();

    cluster.gateways[1].signal(Signal::STOP);
    let connection = format!("{}/{}", there.worker, there.connection);
    let url = format!("http://{}", operator.0);
    let args = ["trace", &position, "--connection", &connection, "--url", &url];
    // It gives up after 20 s.
    let mut tool = command(&args);
    let (trace, said) = tokio::join!(
        operator.whole(&position, at(&there)),
        tokio::task::spawn_blocking(move || output_of(&mut tool)),
    );
    cluster.gateways[1].signal(Signal::CONT);
    assert_eq!(silent(&trace), [&*hanging], "{trace}");
    assert!(trace["silent"][0]["address"].as_str().is_some_and(|at| at.starts_with("127.0.0.1:")));
    let gateways = trace["gateways"].as_array().expect("gateways");
    assert_eq!((gateways.len(), &gateways[0]["written"]), (1, &1.into()), "{trace}");
    assert_eq!(trace["event"]["sent_to_gateways"], 2);
    let connection = &trace["connection"];
    assert_eq!(connection["reason"], "unknown_connection", "{trace}");
    says(connection, "at least one has not answered: try again");
    let said = said.expect("no panic");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && text.contains(&format!("{hanging} did not answer")), "{text}");
    assert_eq!(operator.until(&position, at(&there), "written").await["gateway"], *hanging);
    drop(here);
}

#[tokio::test]
async fn a_gateway_of_an_earlier_release_has_not_answered() {
    let cluster = Cluster::of(1).publisher("--admin-listen=127.0.0.1:0").start().await;
    let (operator, push) = (Operator::of(&cluster).await, &cluster.push[0]);
    let client = cluster.client_v1(0, &["news"]).await;
    // One does not know such questions, the other one does not know this one.
    let mut workers = Vec::new();
    let mut earlier = Vec::new();
    for (instance, features) in [(0xb, Features::default()), (0xc, Features::of([INQUIRIES]))] {
        let mut peer = Peer::connect(cluster.broker_address).await;
        let role = Role::Gateway { workers: 1, held: vec![] };
        let mut offer = offer(InstanceId(instance), role);
        offer.features = features;
        peer.send_frame(encode_hello(&offer)).await;
        workers.extend(peer.welcome().await.expect("welcome").workers);
        peer.attach(&[group("news")], None).await;
        assert_eq!(peer.attached().await, None);
        earlier.push(tokio::spawn(async move {
            loop {
                match peer.next().await {
                    Some(FromBroker::Asked { ticket, .. }) => {
                        let content = pack(&Answer::NotUnderstood).expect("small");
                        peer.send(ToBroker::Told { ticket, content }).await;
                    }
                    Some(_) => {}
                    None => break,
                }
            }
        }));
    }
    let position = push_to(push, "news", "one").await;
    operator.until(&position, at(&client), "written").await;
    let trace = operator.whole(&position, (workers[0].0, 1)).await;
    assert_eq!(silent(&trace), ["000000000000000b", "000000000000000c"], "{trace}");
    assert_eq!(trace["event"]["sent_to_gateways"], 3);
    let gateways = trace["gateways"].as_array().expect("gateways");
    assert_eq!((gateways.len(), &gateways[0]["written"]), (1, &1.into()), "{trace}");
    let connection = &trace["connection"];
    assert_eq!(connection["reason"], "unknown_connection", "{trace}");
    says(connection, "at least one has not answered: try again");
    earlier.iter().for_each(tokio::task::JoinHandle::abort);
}
