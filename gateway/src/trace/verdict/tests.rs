mod gaps;
mod model;

use std::time::Instant;

use campanile_messages::link::Gap;
use campanile_messages::{ConnectionId, GroupName, UserName};

use super::*;
use crate::dialects::Dialect;
use crate::trace::ended::{ConnectionEnd, EndedConnection};
use crate::trace::gaps::LostEvents;
use crate::trace::left_groups::LeftGroup;
use crate::trace::listening::{Continued, Listening};
use crate::websocket::{CloseCause, CloseCode};

fn at(sequence: u64) -> Position {
    Position { epoch: 1, sequence }
}

fn group() -> Audience {
    Audience::Group(GroupName::new("news").expect("a name"))
}

/// A connection that listens after 10 to everyone and to nothing else, was handed everything up to 20, and has
/// nothing in its outbox.
fn facts() -> Facts {
    Facts {
        known: EndedConnection {
            connection: ConnectionId(1),
            address: None,
            user: Some("42".into()),
            dialect: Dialect::V1,
            epoch: 1,
            first: Listening::After(10),
            last: 20,
            written_up_to: None,
            overrun_by: None,
            groups: Box::default(),
            groups_left_out: 0,
            opened: Instant::now(),
            ended: Instant::now(),
            end: ConnectionEnd::default(),
        },
        is_ended: false,
        awaits_past: Vec::new(),
        left_groups: Vec::new(),
        left_dropped: 0,
        loss: Loss::No,
    }
}

fn in_group(listening: Listening) -> Facts {
    let mut facts = facts();
    facts.known.groups = [("news".into(), listening)].into();
    facts
}

fn left(mut facts: Facts, after: u64, left: u64) -> Facts {
    let (connection, listening) = (ConnectionId(1), Listening::After(after));
    facts.left_groups.push(LeftGroup { connection, group: "news".into(), listening, left });
    facts
}

fn ended(mut facts: Facts, code: u16, unsent_bytes: u64) -> Facts {
    facts.is_ended = true;
    let causes = [CloseCause::Client, CloseCause::Gateway(CloseCode::TooSlow)];
    let cause = causes.into_iter().find(|cause| cause.code() == code);
    facts.known.end = ConnectionEnd { cause, unsent_bytes, ..ConnectionEnd::default() };
    facts
}

fn continued(since: Option<Position>, at: u64, outcome: PastOutcome) -> Listening {
    Listening::Continued(Box::new(Continued { since, at, outcome }))
}

fn after(bytes: u64) -> QueuedAfter {
    QueuedAfter { bytes, is_complete: true }
}

fn judged(sequence: u64, audience: Audience, facts: &Facts) -> Verdict {
    let subject = Subject { position: at(sequence), audience, is_excluded: false };
    judge(&subject, facts, |_| after(0))
}

fn everyone(sequence: u64, facts: &Facts) -> Verdict {
    judged(sequence, Audience::Everyone, facts)
}

fn news(sequence: u64, facts: &Facts) -> Verdict {
    judged(sequence, group(), facts)
}

#[test]
fn a_listener_was_written_what_it_was_handed() {
    let facts = facts();
    assert_eq!([11, 20].map(|p| everyone(p, &facts)), [Verdict::Written; 2]);
    assert_eq!(everyone(21, &facts), Verdict::OnItsWay { reached: 20 });
    assert_eq!(everyone(10, &facts), Verdict::ConnectedLater(Some(10)));
    let user = |name| Audience::User(UserName::new(name).expect("a name"));
    assert_eq!(judged(15, user("42"), &facts), Verdict::Written);
    assert_eq!(judged(15, user("43"), &facts), Verdict::NeverListened);
    assert_eq!(everyone(20, &ended(facts, 1000, 0)), Verdict::Written);
}

#[test]
fn a_membership_counts_from_the_join_to_the_leave() {
    let with_connection = in_group(Listening::WithConnection);
    assert_eq!([11, 20].map(|p| news(p, &with_connection)), [Verdict::Written; 2]);
    assert_eq!(news(10, &with_connection), Verdict::ConnectedLater(Some(10)));

    let joined = in_group(Listening::After(15));
    assert_eq!(news(15, &joined), Verdict::JoinedLater(Some(15)));
    assert_eq!(news(16, &joined), Verdict::Written);
    assert_eq!(news(9, &joined), Verdict::ConnectedLater(Some(10)));
    assert_eq!(news(15, &in_group(Listening::Awaits(3))), Verdict::JoinedLater(None));

    let left_once = left(facts(), 12, 14);
    let verdicts = [12, 13, 14, 15].map(|p| news(p, &left_once));
    let (joined, left_at) = (Verdict::JoinedLater(Some(12)), Verdict::LeftEarlier(14));
    assert_eq!(verdicts, [joined, Verdict::Written, Verdict::Written, left_at]);
    let back = left(in_group(Listening::After(17)), 12, 14);
    let verdicts = [13, 16, 17, 18].map(|p| news(p, &back));
    assert_eq!(verdicts, [Verdict::Written, left_at, left_at, Verdict::Written]);
    assert_eq!(news(15, &facts()), Verdict::NeverListened);
}

#[test]
fn what_waits_is_what_came_after_all_that_was_written() {
    let mut facts = facts();
    facts.known.end.unsent_bytes = 100;
    let subject = Subject { position: at(15), audience: Audience::Everyone, is_excluded: false };
    let judged = |bytes: u64, facts: &Facts| judge(&subject, facts, |_| after(bytes));
    assert_eq!(judged(100, &facts), Verdict::Written);
    assert_eq!(judged(99, &facts), Verdict::Waiting { behind_bytes: 1, is_certain: true });
    assert_eq!(judged(0, &facts), Verdict::Waiting { behind_bytes: 100, is_certain: true });
    let facts = ended(facts, 4001, 100);
    assert_eq!(judged(100, &facts), Verdict::Written);
    let waiting = Verdict::ClosedWhileWaiting { code: 4001, unsent_bytes: 100, is_certain: true };
    assert_eq!(judged(99, &facts), waiting);
    // What was found out when it ended does not need the events any more.
    let mut facts = facts;
    facts.known.written_up_to = Some(14);
    assert_eq!(judged(99, &facts), waiting);
    let unknown = judge(&subject, &facts, |_| QueuedAfter { bytes: 0, is_complete: false });
    let perhaps = Verdict::ClosedWhileWaiting { code: 4001, unsent_bytes: 100, is_certain: false };
    assert_eq!(unknown, perhaps);
    facts.known.written_up_to = Some(15);
    assert_eq!(judged(0, &facts), Verdict::Written);
}

#[test]
fn other_messages_may_be_what_waits() {
    let mut facts = facts();
    let other_bytes = 30;
    facts.known.end = ConnectionEnd { unsent_bytes: 100, other_bytes, ..ConnectionEnd::default() };
    let subject = Subject { position: at(15), audience: Audience::Everyone, is_excluded: false };
    let certain = |bytes: u64, facts: &Facts| match judge(&subject, facts, |_| after(bytes)) {
        Verdict::Waiting { is_certain, .. } => Some(is_certain),
        Verdict::ClosedWhileWaiting { is_certain, .. } => Some(is_certain),
        _ => None,
    };
    let verdicts = [69, 70, 99, 100].map(|bytes| certain(bytes, &facts));
    assert_eq!(verdicts, [Some(true), Some(false), Some(false), None]);
    assert_eq!(certain(70, &ended(facts.clone(), 1000, 100)), Some(true), "there were no others");
    facts.known.end.other_bytes = u16::MAX;
    facts.known.end.unsent_bytes = 1 << 20;
    assert_eq!(certain(0, &facts), Some(false), "there may have been any number of them");
}

#[test]
fn a_connection_that_ended_got_nothing_later() {
    let mut facts = ended(facts(), 1000, 0);
    assert_eq!(everyone(21, &facts), Verdict::ClosedBefore { code: 1000, last: 20 });
    let closed = Verdict::ClosedBefore { code: 1000, last: 20 };
    let joining = ended(in_group(Listening::Awaits(3)), 1000, 0);
    let joined = ended(in_group(Listening::After(15)), 1000, 0);
    assert_eq!([&joined, &joining].map(|facts| news(21, facts)), [closed; 2]);
    // It may be older than the end, and was not for this connection in any case.
    assert_eq!([15, 21].map(|p| news(p, &facts)), [Verdict::NeverListened; 2]);
    let left = ended(left(self::facts(), 12, 14), 1000, 0);
    assert_eq!(news(21, &left), Verdict::LeftEarlier(14));
    facts.known.groups_left_out = 1;
    assert_eq!(news(21, &facts), closed);
    facts.known.overrun_by = Some(21);
    let overrun = Verdict::ClosedWhileWaiting { code: 1000, unsent_bytes: 0, is_certain: true };
    assert_eq!(everyone(21, &facts), overrun);
    assert_eq!(everyone(22, &facts), Verdict::ClosedBefore { code: 1000, last: 20 });
}

#[test]
fn a_returning_client_got_what_it_asked_for_or_did_not() {
    let mut facts = facts();
    let recovered = Verdict::Recovered(PastOutcome::Replayed);
    facts.known.first = continued(Some(at(5)), 10, PastOutcome::Replayed);
    let verdicts = [5, 6, 10, 11].map(|p| everyone(p, &facts));
    assert_eq!(verdicts, [Verdict::ContinuedLater(5), recovered, recovered, Verdict::Written]);
    // A group that it joined afterwards was not among what it asked for.
    facts.known.groups = [("news".into(), Listening::After(10))].into();
    assert_eq!(news(7, &facts).reason(), "connected_later");
    facts.known.groups = [("news".into(), Listening::WithConnection)].into();
    assert_eq!(news(7, &facts), recovered);

    let lost = Verdict::NotRecovered(Lost::Expired);
    facts.known.first = continued(Some(at(5)), 10, PastOutcome::Lost(Lost::Expired));
    let verdicts = [5, 6, 10, 11].map(|p| everyone(p, &facts));
    assert_eq!(verdicts, [Verdict::ContinuedLater(5), lost, lost, Verdict::Written]);
    let other_log = Position { epoch: 9, sequence: 8 };
    facts.known.first = continued(Some(other_log), 10, PastOutcome::Lost(Lost::EpochChanged));
    assert_eq!(everyone(2, &facts), Verdict::NotRecovered(Lost::EpochChanged));
    // It is not said that the client has what has a lower number in another log.
    facts.known.groups = [("news".into(), Listening::After(10))].into();
    assert_eq!(news(2, &facts), Verdict::ConnectedLater(Some(10)));
    facts.known.first = continued(None, 10, PastOutcome::Lost(Lost::Malformed));
    assert_eq!(everyone(2, &facts), Verdict::NotRecovered(Lost::Malformed));

    facts.known.first = continued(Some(at(7)), 10, PastOutcome::History);
    assert_eq!(everyone(8, &facts), Verdict::Recovered(PastOutcome::History));
    assert_eq!(everyone(7, &facts), Verdict::ConnectedLater(Some(10)));

    let joined = in_group(continued(Some(at(12)), 15, PastOutcome::Replayed));
    assert_eq!([13, 15].map(|p| news(p, &joined)), [recovered; 2]);
    assert_eq!(news(12, &joined), Verdict::JoinedLater(Some(15)));
}

#[test]
fn what_is_not_known_any_more_is_not_denied() {
    let mut facts = facts();
    facts.left_dropped = 15;
    assert_eq!([15, 16].map(|p| news(p, &facts)), [Verdict::Forgotten, Verdict::NeverListened]);
    assert_eq!(everyone(15, &facts), Verdict::Written);
    // The connection may have joined the group with an earlier position.
    assert_eq!(news(5, &facts), Verdict::Forgotten);
    facts.left_dropped = 9;
    assert_eq!(news(5, &facts), Verdict::ConnectedLater(Some(10)), "others had left groups");
    facts.left_dropped = 0;
    facts.known.groups_left_out = 1;
    assert_eq!(news(15, &facts), Verdict::Forgotten);
    facts.loss = Loss::Forgotten;
    assert_eq!(everyone(15, &facts), Verdict::LossForgotten);
    facts.known.epoch = 2;
    assert_eq!(news(15, &facts), Verdict::OtherLog);
}

#[test]
fn a_connection_without_a_greeting_listens_later() {
    let mut facts = in_group(Listening::Awaits(3));
    facts.known.first = Listening::Awaits(3);
    assert_eq!([15, 20].map(|p| everyone(p, &facts)), [Verdict::ConnectedLater(None); 2]);
    assert_eq!([20, 21].map(|p| news(p, &facts).reason()), ["connected_later", "waiting"]);
    facts.awaits_past = vec![(3, ReplayStart::After(at(12)))];
    let verdicts = [12, 13, 21].map(|p| everyone(p, &facts));
    let awaits = Verdict::AwaitsReplay;
    assert_eq!(verdicts, [Verdict::ContinuedLater(12), awaits, awaits]);
    assert_eq!([12, 13].map(|p| news(p, &facts)), [Verdict::ContinuedLater(12), awaits]);
    facts.known.groups = Box::default();
    assert_eq!([13, 21].map(|p| news(p, &facts)), [Verdict::NeverListened; 2]);
}

#[test]
fn a_connection_that_was_never_greeted_got_nothing() {
    let mut facts = ended(facts(), 1000, 0);
    facts.known.first = Listening::Awaits(1);
    let never = |is_later| Verdict::NeverGreeted { code: 1000, is_later };
    assert_eq!(
        [15, 20, 21].map(|p| everyone(p, &facts)),
        [never(false), never(false), never(true)]
    );
    let reasons = [20, 21].map(|p| everyone(p, &facts).reason());
    assert_eq!(reasons, ["connected_later", "closed_before"]);
}

#[test]
fn a_join_with_a_position_waits_for_what_it_asked_for() {
    let mut joining = in_group(Listening::Awaits(4));
    let awaits = Verdict::AwaitsReplay;
    assert_eq!(news(15, &joining), Verdict::JoinedLater(None));
    joining.awaits_past = vec![(4, ReplayStart::After(at(8)))];
    assert_eq!([9, 15, 20].map(|p| news(p, &joining)), [awaits; 3]);
    assert_eq!(news(8, &joining).reason(), "connected_later");
    assert_eq!(everyone(15, &joining), Verdict::Written, "that is for the group only");
    let back = left(joining, 12, 14);
    assert_eq!(news(13, &back), Verdict::Written);
    assert_eq!(news(15, &back), awaits);
}

#[test]
fn sentences_name_positions_codes_and_groups() {
    let subject = Subject { position: at(15), audience: group(), is_excluded: true };
    let facts = in_group(Listening::WithConnection);
    assert_eq!(judge(&subject, &facts, |_| after(0)), Verdict::Excluded);
    let said = |verdict: Verdict| verdict.sentence(&subject, Dialect::V1);
    assert_eq!(
        said(Verdict::JoinedLater(Some(16))),
        "the connection joined the group \"news\" later, after position 0000000000000001-16"
    );
    assert_eq!(
        said(Verdict::ClosedWhileWaiting { code: 4001, unsent_bytes: 9, is_certain: true }),
        "the connection ended, closed with 4001 because its client reads too slowly, while 9 bytes waited in \
         its outbox, with this event among them"
    );
    let plain = Verdict::Written.sentence(&subject, Dialect::Plain);
    assert!(plain.contains("a client of the plain dialect gets no positions"), "{plain}");
}
