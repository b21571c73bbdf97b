use std::time::Duration;

use campanile_messages::{GroupName, UserName};

use super::*;
use crate::trace::listening::{Continued, PastOutcome};

fn ended(connection: u64, groups: &[&str]) -> EndedConnection {
    let listening = Listening::WithConnection;
    let (groups, groups_left_out) =
        keep_groups(groups.iter().map(|g| (*g, &listening)), MAX_GROUPS_BYTES);
    EndedConnection {
        connection: ConnectionId(connection),
        address: None,
        user: Some("u".repeat(255).into()),
        dialect: Dialect::V1,
        epoch: 1,
        first: Listening::After(0),
        last: 5,
        written_up_to: None,
        overrun_by: None,
        groups,
        groups_left_out,
        opened: Instant::now(),
        ended: Instant::now(),
        end: ConnectionEnd::default(),
    }
}

#[test]
fn the_last_connections_of_a_worker_are_remembered() {
    let mut all = EndedConnections::new(4, Instant::now());
    (0..3_000).for_each(|connection| all.add(ended(connection, &[])));
    assert_eq!(all.kept.len(), 2_500);
    assert!(all.kept.capacity() < 2_500 + 2 * GROWTH);
    assert!(all.get(ConnectionId(499)).is_none());
    assert_eq!(all.get(ConnectionId(500)).map(|found| found.connection.0), Some(500));
    let (address, cause) = (Some([10, 0, 0, 7].into()), Some(CloseCause::Client));
    let end = ConnectionEnd { cause, sent_bytes: 7, unsent_bytes: 1, other_bytes: 3 };
    all.complete(ConnectionId(2_999), address, end, Instant::now());
    all.complete(ConnectionId(1), address, end, Instant::now());
    let last = all.get(ConnectionId(2_999)).expect("the last one");
    assert_eq!((last.address, last.end), (address, end));
}

#[test]
fn the_newest_are_those_that_ended_last() {
    let start = Instant::now();
    let mut all = EndedConnections::new(1, start);
    let at = |millis| start + Duration::from_millis(millis);
    (0..300).for_each(|n| all.add(EndedConnection { ended: at(n), ..ended(n, &[]) }));
    // This one took long to end.
    all.complete(ConnectionId(7), None, ConnectionEnd::default(), at(900));
    let newest: Vec<_> = all.newest(3).map(|ended| ended.connection.0).collect();
    assert_eq!((newest, all.len()), (vec![7, 299, 298], 300));
    assert_eq!((all.newest(1_000).count(), all.newest(0).count()), (300, 0));
}

#[test]
fn what_is_kept_is_what_was_added() {
    let start = Instant::now();
    let mut all = EndedConnections::new(1, start);
    let connection = EndedConnection {
        opened: start + Duration::from_secs(1),
        ended: start + Duration::from_secs(2),
        overrun_by: Some(6),
        written_up_to: Some(3),
        groups_left_out: 2,
        ..ended(1, &["a", "b"])
    };
    all.add(connection.clone());
    assert_eq!(all.get(ConnectionId(1)), Some(connection.clone()));
    let at =
        |sequence| all.at(Position { epoch: 1, sequence }, &Audience::Everyone, |_| false).count();
    assert_eq!([5, 6, 7].map(at), [1, 1, 0]);
    let of = |audience, had_left| {
        all.at(Position { epoch: 1, sequence: 5 }, &audience, move |_| had_left).count()
    };
    let group = |name| Audience::Group(GroupName::new(name).expect("a name"));
    let user = |name: String| Audience::User(UserName::new(name).expect("a name"));
    assert_eq!((of(group("b"), false), of(group("c"), false), of(group("c"), true)), (1, 0, 1));
    assert_eq!((of(user("u".repeat(255)), false), of(user("u".into()), false)), (1, 0));
}

#[test]
fn an_end_in_an_earlier_log_says_nothing_of_sequences_of_this_one() {
    let start = EndedConnection { epoch: 2, first: Listening::After(4), last: 9, ..ended(1, &[]) };
    let missed = |epoch, sequence| {
        let mut ended = start.clone();
        ended.end_at(Some(Position { epoch, sequence }), true);
        (ended.last, ended.overrun_by)
    };
    assert_eq!(missed(2, 7), (6, Some(7)));
    // Nothing between the last event that somebody here wanted and this one was for it.
    assert_eq!(missed(2, 0x30001), (0x30000, Some(0x30001)));
    assert_eq!([missed(1, 7), missed(1, 700)], [(4, None); 2]);
}

#[test]
fn connections_of_more_logs_than_have_a_number_are_forgotten() {
    let mut all = EndedConnections::new(1, Instant::now());
    let of_log = |epoch| EndedConnection { epoch, ..ended(epoch, &[]) };
    let kept = |all: &EndedConnections, epoch| {
        all.at(Position { epoch, sequence: 1 }, &Audience::Everyone, |_| true)
            .map(|kept| (kept.connection.0, kept.epoch))
            .collect::<Vec<_>>()
    };
    all.epochs.extend(1..1 << 16);
    for epoch in [7, 1 << 16] {
        all.add(of_log(epoch));
        assert_eq!(kept(&all, epoch), [(epoch, epoch)]);
    }
    assert_eq!(kept(&all, 7), [(7, 7)], "there was a number for each");
    all.add(of_log(9 << 16));
    assert_eq!(kept(&all, 9 << 16), [(9 << 16, 9 << 16)]);
    assert_eq!((kept(&all, 7), all.get(ConnectionId(7))), (vec![], None));
    assert_eq!((all.kept.len(), all.epochs.len()), (1, 1));
    assert_eq!(all.bytes, all.kept[0].cost_bytes());
}

#[test]
fn how_a_connection_began_is_kept() {
    let mut all = EndedConnections::new(1, Instant::now());
    let since = Some(Position { epoch: 1, sequence: 3 });
    let outcome = PastOutcome::Replayed;
    let continued = Listening::Continued(Box::new(Continued { since, at: 4, outcome }));
    let firsts = [Listening::After(7), continued, Listening::Awaits(9)];
    for (connection, first) in firsts.iter().enumerate() {
        let (first, user) = (first.clone(), None);
        all.add(EndedConnection { first, user, ..ended(connection as u64, &[]) });
    }
    let kept = (0..3).filter_map(|connection| all.get(ConnectionId(connection)));
    assert_eq!(kept.map(|kept| kept.first).collect::<Vec<_>>(), firsts);
    assert_eq!(all.returned().map(|kept| kept.connection.0).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_storm_of_connections_with_long_names_stays_within_its_bytes() {
    let names: Vec<_> = (0..100).map(|n| format!("{n:0>255}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut all = EndedConnections::new(1, Instant::now());
    for connection in 0..100_000 {
        all.add(ended(connection, if connection % 2 == 0 { &names } else { &[] }));
        assert!(all.bytes <= MAX_BYTES);
    }
    let kept = all.get(ConnectionId(99_998)).expect("one of the last");
    assert!(kept.groups.len() > 10);
    assert_eq!(kept.groups.len() + kept.groups_left_out, 100);
}
