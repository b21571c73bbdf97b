//! `GET /position` at a gateway: the position at which the log ends, as its broker answers.

mod harness;

use std::time::Instant;

use campanile_edge::AllowOrigins;
use campanile_harness::bind;
use campanile_harness::client::raw::Client;
use campanile_harness::link::Publisher;
use campanile_harness::link::script::{Link, Script, at};
use campanile_messages::{Audience, FromBroker, ToBroker};
use serde_json::{Value, json};

use harness::{Gateway, broker};

fn ask(gateway: &Gateway, headers: &[&str]) -> Client {
    let mut client = Client::raw(gateway.address);
    let mut head = "GET /position HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    headers.iter().for_each(|header| head.extend([header, "\r\n"]));
    client.send((head + "\r\n").as_bytes());
    client
}

fn start() -> (Script, Gateway, Link) {
    Gateway::scripted(7, |_| {})
}

/// Waits for a question, and returns its number.
#[track_caller]
fn question(link: &Link) -> u64 {
    loop {
        match link.recv() {
            ToBroker::AskHead { number } => return number,
            ToBroker::Interest { .. } | ToBroker::Attach { .. } => {}
            other => panic!("no question: {other:?}"),
        }
    }
}

fn tell(link: &Link, number: u64, sequence: u64) {
    link.send([FromBroker::Head { number, head: at(sequence) }]);
}

#[test]
fn a_client_can_resume_from_the_position() {
    let channel = broker();
    let gateway = Gateway::start_on(channel, |_| {}).until_ready();
    let mut publisher = Publisher::connect(channel);
    publisher.publish(Audience::Everyone, "before");
    let (status, head, body) = ask(&gateway, &["Accept: application/json"]).response();
    assert_eq!(status, 200, "{head}{body}");
    assert!(head.contains("\r\ncache-control: no-store\r\n"), "{head}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let position = answer["position"].as_str().expect("a string").to_owned();
    assert_eq!(answer, json!({ "position": position }));
    publisher.publish(Audience::Everyone, "after");
    let mut client = Client::open_v1(gateway.address, &format!("/?since={position}"));
    let welcome = client.json();
    assert_eq!((&welcome["recovered"], &welcome["position"]), (&json!(true), &json!(position)));
    assert_eq!(client.json()["content"], "after");
    let (status, _, line) = ask(&gateway, &[]).response();
    assert_eq!(status, 200);
    assert!(line.ends_with("-2\n"), "{line}");
}

#[test]
fn a_question_serves_only_callers_that_asked_before_it() {
    let (_script, gateway, link) = start();
    let mut first = ask(&gateway, &[]);
    let number = question(&link);
    let mut second = ask(&gateway, &[]);
    tell(&link, number, 8);
    assert_eq!(first.response().2, format!("{}\n", at(8)));
    let number = question(&link);
    tell(&link, number, 9);
    assert_eq!(second.response().2, format!("{}\n", at(9)));
}

#[test]
fn a_caller_gets_503_at_once_without_a_link() {
    let (_kept, nobody) = bind();
    let gateway = Gateway::start_on(nobody, |_| {});
    let began = Instant::now();
    let (status, head, body) = ask(&gateway, &[]).response();
    assert_eq!((status, &*body), (503, "this gateway has no link to its broker: try again\n"));
    assert!(head.contains("\r\nretry-after: 1\r\n"), "{head}");
    assert!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
}

#[test]
fn callers_that_wait_get_503_when_the_link_is_lost() {
    let (_script, gateway, link) = start();
    let mut client = ask(&gateway, &[]);
    question(&link);
    drop(link);
    assert_eq!(client.response().0, 503);
}

#[test]
fn pages_that_may_read_event_streams_may_read_the_position() {
    let channel = broker();
    let gateway = Gateway::start_on(channel, |_| {}).until_ready();
    for (origin, allowed) in [("http://localhost:3000", true), ("https://evil.example", false)] {
        let (status, head, _) = ask(&gateway, &[&format!("Origin: {origin}")]).response();
        assert_eq!(status, 200);
        let line = format!("\r\naccess-control-allow-origin: {origin}\r\n");
        assert_eq!(head.contains(&line), allowed, "{head}");
        assert!(head.contains("\r\nvary: Origin\r\n"), "{head}");
        assert!(!head.contains("allow-credentials"), "{head}");
    }
    let page = "https://app.example";
    let named = AllowOrigins::Only(vec![page.to_owned()]);
    let gateway = Gateway::start_on(channel, |config| config.allow_origins = named).until_ready();
    let (_, head, _) = ask(&gateway, &[&format!("Origin: {page}")]).response();
    assert!(head.contains("\r\naccess-control-allow-credentials: true\r\n"), "{head}");
}
