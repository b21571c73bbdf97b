//! What an HTTP client sends to a gateway: the head of the request, the handshake in it, and the
//! parameters in its query.

#![no_main]

use campanile_edge::query::{decode, pairs};
use campanile_edge::websocket::is_meant;
use campanile_edge::{Head, MAX_HEAD_BYTES};
use campanile_gateway::entrance::refusal::Refusal;
use campanile_gateway::entrance::wish::{Accepted, UrlToken, Wish};
use campanile_gateway::websocket::Upgrade;
use libfuzzer_sys::fuzz_target;

const MAX_GROUPS: usize = 3;

/// The start of every handshake, so that the checks after it are reached.
const START: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";

fuzz_target!(|data: &[u8]| {
    parse(data);
    parse(&[START, data].concat());
    if let Ok(query) = str::from_utf8(data) {
        check_wish(query);
    }
});

fn parse(data: &[u8]) {
    match Head::parse(data) {
        Ok(Some((head, len))) => {
            assert!(len <= MAX_HEAD_BYTES);
            // A head is complete with its last byte, and what follows does not matter.
            assert_eq!(Head::parse(&data[..len]), Ok(Some((head.clone(), len))));
            assert_eq!(Head::parse(&data[..len - 1]), Ok(None));
            check(&head);
        }
        Ok(None) => assert!(data.len() < MAX_HEAD_BYTES),
        Err(error) => assert_refuses(&error.into()),
    }
}

fn check(head: &Head) {
    match Upgrade::check(head) {
        Ok(upgrade) => {
            assert!(is_meant(head));
            let response = upgrade.response();
            assert!(response.starts_with(b"HTTP/1.1 101 ") && response.ends_with(b"\r\n\r\n"));
        }
        Err(refusal) => assert_refuses(&refusal),
    }
    check_wish(&head.query);
}

fn check_wish(query: &str) {
    for last_event_id in [false, true] {
        for user in [false, true] {
            check_wish_of(query, last_event_id, user);
        }
    }
}

fn check_wish_of(query: &str, last_event_id: bool, user: bool) {
    let (max_groups, token) = (MAX_GROUPS, UrlToken::Unknown);
    let accepted = Accepted { last_event_id, max_groups, token, user, ignored: &[] };
    match Wish::read(query, accepted) {
        Ok(Wish { groups, user: named, since }) => {
            assert!(user || named.is_none(), "a user that nobody asked for");
            assert!(groups.len() <= MAX_GROUPS);
            for (i, group) in groups.iter().enumerate() {
                assert!((1..=255).contains(&group.len()));
                assert!(!groups[..i].contains(group), "a repeated group");
            }
            let names_one = pairs(query.as_bytes())
                .any(|(name, _)| decode(name).is_ok_and(|name| name == "since" || name == "last"));
            if !last_event_id {
                assert_eq!(since.is_some(), names_one);
            }
        }
        Err(refusal) => assert_refuses(&refusal),
    }
}

/// A refusal is one valid response, whatever the client has sent.
fn assert_refuses(refusal: &Refusal) {
    let response = refusal.response(None);
    let response = str::from_utf8(&response).expect("UTF-8");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with(&format!("HTTP/1.1 {} ", refusal.status)));
    assert!(head.ends_with(&format!("\r\nContent-Length: {}", body.len())));
    assert!(body.len() < 2 * MAX_HEAD_BYTES);
}
