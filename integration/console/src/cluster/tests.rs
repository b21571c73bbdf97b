use std::time::Duration;

use campanile_messages::inquiry::{GatewaySummary, PublisherSummary, RefusedPush, WorkerSummary};
use campanile_messages::{Position, WorkerId};

use super::*;

fn link(instance: u64, role: &str, is_askable: bool) -> LinkSummary {
    LinkSummary {
        instance: InstanceId(instance),
        role: role.to_owned(),
        address: format!("10.0.0.{instance}:7"),
        lag_events: 3,
        lag_bytes: 99,
        is_askable,
    }
}

fn gateway_of(worker: u64) -> Answer {
    let worker = WorkerSummary { id: WorkerId(worker), connections: 1, outbox_bytes: 2 };
    let gateway = GatewaySummary { workers: vec![worker], ..GatewaySummary::default() };
    Answer::Summary(Summary::Gateway(Box::new(gateway)))
}

#[test]
fn every_process_is_shown_once_and_in_order() {
    let links = [
        link(1, "gateway", true),
        link(2, "gateway", true),
        link(3, "gateway", false),
        link(4, "publisher", true),
        link(5, "gateway", true),
        link(6, "gateway", true),
    ];
    let broker = BrokerSummary {
        links: links.to_vec(),
        head: Some(Position { epoch: 0xab, sequence: 9 }),
        ..BrokerSummary::default()
    };
    let hostile = "</script><b>\u{1b}[31m";
    let refused = RefusedPush { sentence: hostile.to_owned(), ..RefusedPush::default() };
    let publisher = PublisherSummary { refused: vec![refused], ..PublisherSummary::default() };
    let answered = Answered {
        broker: Answer::Summary(Summary::Broker(Box::new(broker))),
        answers: vec![
            (InstanceId(1), gateway_of(70)),
            (InstanceId(2), gateway_of(30)),
            (InstanceId(4), Answer::Summary(Summary::Publisher(Box::new(publisher)))),
            (InstanceId(6), Answer::Busy),
            (InstanceId(9), Answer::Nothing),
        ],
        silent: vec![InstanceId(5)],
    };
    let seen = cluster(answered, UNIX_EPOCH + Duration::from_millis(1_500));
    assert_eq!(seen["time"], 1.5);
    assert_eq!(seen["broker"]["epoch"], "00000000000000ab");
    assert_eq!(seen["broker"]["links"], 6);
    let named = |list: &str, field: &str| -> Vec<Value> {
        seen[list].as_array().expect("a list").iter().map(|it| it[field].clone()).collect()
    };
    let instances = ["0000000000000002", "0000000000000001", "0000000000000003"];
    assert_eq!(named("gateways", "instance"), instances);
    assert_eq!(named("gateways", "asked"), [true, true, false]);
    assert_eq!(named("gateways", "address")[0], "10.0.0.2:7");
    assert_eq!(seen["gateways"][2]["lag"], json!({ "events": 3, "bytes": 99 }));
    assert_eq!(named("publishers", "instance"), ["0000000000000004"]);
    assert_eq!(seen["publishers"][0]["refused"][0]["sentence"], hostile);
    assert_eq!(seen["publishers"][0]["refused"][0]["key"], Value::Null);
    assert_eq!(named("silent", "reason"), ["silent", "busy"]);
    assert_eq!(named("silent", "role"), ["gateway", "gateway"]);
}

#[test]
fn a_broker_that_can_say_nothing_of_itself_is_null() {
    let answered = Answered {
        broker: Answer::Busy,
        answers: vec![(InstanceId(2), gateway_of(30))],
        silent: vec![InstanceId(1)],
    };
    let seen = cluster(answered, UNIX_EPOCH);
    assert_eq!(seen["broker"], Value::Null);
    assert_eq!(seen["silent"][0]["role"], Value::Null);
    assert_eq!(seen["gateways"][0]["instance"], "0000000000000002");
}

#[test]
fn a_gateway_without_a_link_is_named() {
    let broker = BrokerSummary {
        // Its second link is still there.
        links: vec![link(7, "publisher", true)],
        away: vec![InstanceId(7), InstanceId(8)],
        away_left_out: 3,
        ..BrokerSummary::default()
    };
    let answered = Answered {
        broker: Answer::Summary(Summary::Broker(Box::new(broker))),
        answers: vec![(InstanceId(7), Answer::Nothing)],
        silent: vec![],
    };
    let seen = cluster(answered, UNIX_EPOCH);
    let silent = seen["silent"].clone();
    assert_eq!(seen["silent_left_out"], 3);
    let away = |instance: &str, address: Option<&str>| json!({ "instance": instance, "role": "gateway", "address": address, "reason": "away" });
    let both = [away("0000000000000007", Some("10.0.0.7:7")), away("0000000000000008", None)];
    assert_eq!(silent, json!(both));
}
