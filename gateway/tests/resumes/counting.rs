//! How many clients a counted event reaches, over a link on which the broker asks for it.

use std::time::{Duration, Instant};

use campanile_harness::client::raw::stream::Stream;
use campanile_harness::client::raw::{Client, request};
use campanile_harness::link::group;
use campanile_harness::link::script::event;
use campanile_messages::FromBroker;
use campanile_messages::link::{RequestTicket, Tally};

use super::{ask, jam, join_in, news, start};

const TICKET: RequestTicket = RequestTicket { link: 3, number: 9 };

fn counted(sequence: u64, content: &str, within: Duration) -> [FromBroker; 2] {
    let within_millis = within.as_millis() as u32;
    [
        FromBroker::Count { ticket: TICKET, sequence, within_millis },
        event(sequence, &news(), content),
    ]
}

fn tally(matched: u64, written: u64, too_slow: u64) -> (RequestTicket, Tally) {
    (TICKET, Tally { matched, written, too_slow })
}

#[test]
fn an_event_is_counted_over_all_workers_and_dialects() {
    let (_script, gateway, link) = start(|config| config.workers = 2);
    let within = Duration::from_secs(10);
    link.send(counted(8, "nobody", within));
    assert_eq!(link.counted(), tally(0, 0, 0));
    let mut v1: Vec<_> = (0..3).map(|_| join_in(&gateway, "/?group=news")).collect();
    let mut plain = Client::open_with(gateway.address, &request("/?group=news", &[]));
    plain.recv();
    let mut stream = Stream::open(gateway.address, "/events?group=news", &[]);
    stream.synced();
    let _other = join_in(&gateway, "/?group=other");
    link.send(counted(9, "nine", within));
    assert_eq!(link.counted(), tally(5, 5, 0));
    v1.iter_mut().for_each(|client| client.expect_event(9, "nine"));
    assert_eq!(plain.recv().payload, b"nine");
    assert_eq!(stream.message().1, "nine");
    // A client that still waits for missed events does not listen yet.
    let _waits = ask(&gateway, "/?group=news&since=0000000000000001-2");
    link.fetch();
    link.send(counted(10, "ten", within));
    assert_eq!(link.counted(), tally(5, 5, 0));
}

#[test]
fn a_count_waits_for_a_slow_client_only_as_long_as_asked() {
    let (_script, gateway, link) = start(|config| config.max_outbox_bytes = 64 << 20);
    let _jammed = jam(&gateway, &link, 8);
    let mut reads = join_in(&gateway, "/?group=news");
    let (begun, within) = (Instant::now(), Duration::from_millis(700));
    link.send(counted(9, "nine", within));
    reads.expect_event(9, "nine");
    assert_eq!(link.counted(), tally(2, 1, 0));
    assert!(begun.elapsed() >= within, "answered after {:?}", begun.elapsed());
}

#[test]
fn a_client_that_reads_late_is_counted_when_it_has_read() {
    let (_script, gateway, link) = start(|config| config.max_outbox_bytes = 64 << 20);
    let mut jammed = jam(&gateway, &link, 8);
    link.send(counted(9, "nine", Duration::from_secs(30)));
    jammed.expect_event(8, &"x".repeat(15 << 20));
    jammed.expect_event(9, "nine");
    assert_eq!(link.counted(), tally(1, 1, 0));
}

#[test]
fn a_client_that_is_closed_as_too_slow_is_counted_as_such() {
    // Its outbox is either full before the count begins, or becomes full during it.
    for max_outbox_bytes in [1 << 20, 16 << 20] {
        let (_script, gateway, link) = start(|config| config.max_outbox_bytes = max_outbox_bytes);
        let _jammed = jam(&gateway, &link, 8);
        let _reads = join_in(&gateway, "/?group=news");
        link.send(counted(9, "nine", Duration::from_secs(30)));
        link.publish(10, &group("jam"), &"x".repeat(15 << 20));
        assert_eq!(link.counted(), tally(2, 1, 1));
    }
}

#[test]
fn a_client_that_leaves_during_a_count_is_only_matched() {
    let (_script, gateway, link) = start(|config| config.max_outbox_bytes = 64 << 20);
    let jammed = jam(&gateway, &link, 8);
    let mut reads = join_in(&gateway, "/?group=news");
    link.send(counted(9, "nine", Duration::from_secs(30)));
    reads.expect_event(9, "nine");
    drop(jammed);
    assert_eq!(link.counted(), tally(2, 1, 0));
}
