//! A log whose numbers come in blocks: the first event of a block has the block's number times 65,536 and 1,
//! and the log ends at the end of the last block. Nothing at a gateway counts on the numbers between two
//! events.

use campanile_gateway::GatewayConfig;
use campanile_harness::client::raw::Client;
use campanile_harness::client::raw::stream::Stream;
use campanile_harness::link::script::{Link, Script, at, end_of, event, in_block};
use campanile_messages::link::{Gap, RequestTicket, Tally};
use campanile_messages::{Audience, FromBroker, Position, ToBroker};
use serde_json::json;

use super::{ask, expect_lost, expect_recovered, join_in, news};
use crate::harness::Gateway;

fn start() -> (Script, Gateway, Link) {
    let script = Script::new();
    let change = |_: &mut GatewayConfig| {};
    let gateway = Gateway::start_on(script.address, change);
    let link = script.accept(at(end_of(5)), None);
    (script, gateway.until_ready(), link)
}

fn since(sequence: u64) -> String {
    format!("/?group=news&since={}", at(sequence))
}

/// The cursor with which the gateway attaches itself.
fn cursor(link: &Link) -> Option<Position> {
    loop {
        if let ToBroker::Attach { cursor } = link.recv() {
            return cursor;
        }
    }
}

/// Three events in block 8 and one in block 12; the blocks between them are for others.
fn publish(link: &Link) {
    link.publish_block(8, &[(&news(), "a"), (&Audience::Everyone, "b"), (&news(), "c")]);
    link.publish_block(12, &[(&news(), "d")]);
}

fn expect_events(client: &mut Client, from: usize) {
    let all = [(8, 1, "a"), (8, 2, "b"), (8, 3, "c"), (12, 1, "d")];
    for (block, place, content) in all.into_iter().skip(from) {
        client.expect_event(in_block(block, place), content);
    }
}

#[test]
fn clients_resume_inside_a_block_and_between_blocks() {
    let (_script, gateway, link) = start();
    let mut first = join_in(&gateway, "/?group=news");
    link.publish_block(6, &[(&Audience::Everyone, "first")]);
    link.publish_block(7, &[(&news(), "second")]);
    first.expect_event(in_block(6, 1), "first");
    first.expect_event(in_block(7, 1), "second");
    publish(&link);
    expect_events(&mut first, 0);
    // Everything is here since the end of the block before the first event of the group.
    let mut whole = Client::open_v1(gateway.address, &since(end_of(6)));
    expect_recovered(&mut whole, end_of(6));
    whole.expect_event(in_block(7, 1), "second");
    expect_events(&mut whole, 0);
    let mut clients = vec![first, whole];
    for (position, from) in [
        (end_of(7), 0),
        (in_block(8, 1), 1),
        (in_block(8, 3), 3),
        (end_of(8), 3),
        (end_of(10), 3),
        (in_block(12, 1), 4),
        (end_of(12), 4),
    ] {
        let mut client = Client::open_v1(gateway.address, &since(position));
        expect_recovered(&mut client, position);
        expect_events(&mut client, from);
        clients.push(client);
    }
    let target = format!("/events?group=news&since={}", at(in_block(8, 2)));
    let mut stream = Stream::open(gateway.address, &target, &[]);
    assert_eq!(stream.synced()["recovered"], true);
    assert_eq!(stream.message(), (at(in_block(8, 3)).to_string(), "c".to_owned()));
    let mut ahead = Client::open_v1(gateway.address, &since(in_block(13, 1)));
    expect_lost(&mut ahead, "epoch_changed", at(end_of(12)));
    clients.push(ahead);
    link.publish_block(13, &[(&news(), "e")]);
    clients.iter_mut().for_each(|client| client.expect_event(in_block(13, 1), "e"));
    link.expect_no_fetch();
}

#[test]
fn events_of_earlier_blocks_are_fetched_once_and_in_order() {
    let (_script, gateway, link) = start();
    let mut client = ask(&gateway, &since(in_block(2, 1)));
    let (number, audiences, _) = link.fetch();
    publish(&link);
    let mut answer = Vec::new();
    for audience in audiences {
        // What is live already is in the answer, too.
        let mut events = vec![(in_block(8, 2), "b")];
        if audience == news() {
            let news = [(2, 2, "y"), (5, 1, "z"), (8, 1, "a"), (8, 3, "c"), (12, 1, "d")];
            events = news.map(|(block, place, it)| (in_block(block, place), it)).to_vec();
        }
        answer.push(FromBroker::Past {
            audience: audience.clone(),
            events: events.len() as u32,
            expired: in_block(1, 9),
            complete_after: in_block(2, 1),
        });
        answer.extend(events.iter().map(|(at, it)| event(*at, &audience, it)));
    }
    answer.push(FromBroker::Fetched { number, served: 1 });
    link.send(answer);
    client.upgraded();
    expect_recovered(&mut client, in_block(2, 1));
    client.expect_event(in_block(2, 2), "y");
    client.expect_event(in_block(5, 1), "z");
    expect_events(&mut client, 0);
    link.publish_block(13, &[(&news(), "e")]);
    client.expect_event(in_block(13, 1), "e");
    // The end of the block is as good as its last event, and what came before it has expired.
    let mut next = Client::open_v1(gateway.address, &since(end_of(4)));
    expect_recovered(&mut next, end_of(4));
    next.expect_event(in_block(5, 1), "z");
    let mut late = Client::open_v1(gateway.address, &since(in_block(1, 8)));
    expect_lost(&mut late, "expired", at(end_of(13)));
}

#[test]
fn the_link_is_resumed_at_the_end_of_a_block() {
    let (script, gateway, link) = start();
    let mut client = join_in(&gateway, "/?group=news");
    publish(&link);
    expect_events(&mut client, 0);
    link.send([FromBroker::Mark { head: end_of(15) }]);
    // The gateway has read it then.
    link.said();
    drop(link);
    let link = script.accept(at(end_of(19)), Some(Gap::Expired));
    assert_eq!(cursor(&link), Some(at(end_of(15))));
    let position = at(end_of(19)).to_string();
    assert_eq!(client.json(), json!({"type": "gap", "reason": "expired", "position": position}));
    link.publish_block(20, &[(&news(), "after")]);
    client.expect_event(in_block(20, 1), "after");
}

#[test]
fn an_event_is_counted_by_its_place_in_a_block() {
    let (_script, gateway, link) = start();
    let mut client = join_in(&gateway, "/?group=news");
    let ticket = RequestTicket { link: 3, number: 9 };
    let (sequence, within_millis) = (in_block(8, 2), 5_000);
    link.send([
        event(in_block(8, 1), &news(), "one"),
        FromBroker::Count { ticket, sequence, within_millis },
        event(sequence, &news(), "two"),
        event(in_block(8, 3), &news(), "three"),
    ]);
    for (place, content) in [(1, "one"), (2, "two"), (3, "three")] {
        client.expect_event(in_block(8, place), content);
    }
    assert_eq!(link.counted(), (ticket, Tally { matched: 1, written: 1, too_slow: 0 }));
}
