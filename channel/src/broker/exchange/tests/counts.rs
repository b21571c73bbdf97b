//! What is counted of an exchange, against what it did.

use campanile_messages::link::Want;

use super::*;
use crate::broker::counts::{Counts, Figures};

#[test]
fn every_answer_to_a_publish_is_counted_once() {
    let mut broker = TestBroker::on_disk();
    let (first, second) = (broker.publisher(), broker.publisher());
    broker.hear(first, publish_as("a", 1, "x"));
    broker.hear(first, publish_as("a", 1, "x"));
    broker.hear(second, publish_as("a", 1, "x"));
    broker.hear(second, publish_as("a", 2, "another"));
    let figures = broker.exchange.figures(NOW);
    assert_eq!(figures.counts, Counts { conflicts: 1, ..Counts::default() }, "nothing is durable");
    assert!(figures.staged_bytes > 640);
    assert_eq!((figures.log_events, figures.log_bytes, figures.head), (0, 0, 0));
    broker.stored(1);
    // A repeat after that, one key too many, and one after the end.
    broker.hear(second, publish_as("a", 3, "x"));
    broker.hear(first, publish_as("b", 2, "x"));
    broker.hear(first, publish_as("c", 3, "x"));
    broker.stored(2);
    broker.exchange.close();
    broker.hear(first, publish(4, Audience::Everyone));
    let Figures { counts, log_events, log_bytes, head, oldest_age, ids, staged_bytes } =
        broker.exchange.figures(NOW + RETURN_LIMIT);
    let expected = Counts { accepted: 2, duplicates: 2, conflicts: 1, busy: 2, ..counts };
    assert_eq!(counts, expected);
    assert_eq!((log_events, log_bytes, head, ids, staged_bytes), (2, 2 * 641, 2, 2, 0));
    assert_eq!(oldest_age, RETURN_LIMIT);
}

#[test]
fn events_for_gateways_and_gaps_are_counted_for_each_of_them() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    broker.listener(group("news"), 1);
    broker.listener(group("news"), 0);
    broker.hear(publisher, publish(1, group("news")));
    broker.hear(publisher, publish(2, group("other")));
    assert_eq!(broker.exchange.figures(NOW).counts.link_events, 2);

    let back = broker.gateway();
    broker.hear(back, interest(1, &[(group("news"), Some(1))]));
    broker.hear(back, cursor(EPOCH + 1, 50));
    let counts = broker.exchange.figures(NOW).counts;
    assert_eq!((counts.link_events, counts.epoch_changed, counts.expired), (3, 1, 0));
    let wants = vec![Want { since: 0, audiences: vec![group("news"), group("other")] }];
    broker.hear(back, ToBroker::Fetch { number: 1, wants, max_bytes: 1_000 });
    let counts = broker.exchange.figures(NOW).counts;
    assert_eq!((counts.replayed, counts.link_events), (2, 3));

    broker.hear(publisher, push(3, WorkerId(999)));
    assert_eq!(broker.exchange.figures(NOW).counts.gone, 1);
}
