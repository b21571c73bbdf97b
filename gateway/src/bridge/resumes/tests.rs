use campanile_messages::{Content, GroupName};

use super::*;
use crate::bridge::recent::Past;
use crate::dialects::Framed;
use crate::history::History;

const MAX: usize = 1 << 20;

fn group(name: usize) -> Audience {
    Audience::Group(GroupName::new(format!("{name:05}")).expect("a name"))
}

fn groups(names: &[usize]) -> Vec<Audience> {
    names.iter().map(|name| group(*name)).collect()
}

fn resume(ticket: StepTicket, since: u64, names: &[usize]) -> Resume {
    let start = ReplayStart::After(Position { epoch: 1, sequence: since });
    Resume { ticket, start, audiences: groups(names) }
}

fn resumes() -> Resumes {
    Resumes::new(1)
}

impl Resumes {
    /// Adds a client and confirms its interest.
    fn add_confirmed(&mut self, resume: Resume) {
        let ticket = resume.ticket;
        self.add(0, resume);
        self.confirmed(&[ticket], CURSOR);
    }
}

fn want(since: u64, names: &[usize]) -> Want {
    Want { since, audiences: groups(names) }
}

const CURSOR: Position = Position { epoch: 1, sequence: 100 };

fn answered(resumes: &mut Resumes, recent: &Recent) -> Vec<(StepTicket, Result<usize, Lost>)> {
    let mut answered = Vec::new();
    while !resumes.is_idle() {
        let judged = resumes.judge(recent, MAX);
        answered.extend(judged.map(|(_, ticket, outcome)| (ticket, outcome.map(|e| e.len()))));
    }
    answered
}

fn quiet(recent: &mut Recent, audience: &Audience) {
    recent.add_past(audience, Past { expired: 0, complete_after: 0, events: vec![] });
}

#[test]
fn many_clients_that_lack_the_same_share_a_fetch() {
    let (mut resumes, mut recent) = (resumes(), Recent::new(1 << 20));
    for ticket in 0..1_000 {
        // One of the last was away for the longest time.
        resumes.add_confirmed(resume(ticket, if ticket == 900 { 5 } else { 50 }, &[1, 2]));
    }
    assert_eq!(answered(&mut resumes, &recent), []);
    assert_eq!(
        resumes.fetch(),
        Some((1, vec![want(5, &[1, 2])])),
        "the want reaches back far enough for everybody"
    );
    resumes.add_confirmed(resume(1_000, 7, &[2, 1]));
    resumes.add_confirmed(resume(1_001, 7, &[3]));
    assert_eq!(answered(&mut resumes, &recent), []);
    assert_eq!(resumes.fetch(), None, "one at a time");
    for name in [1, 2] {
        quiet(&mut recent, &group(name));
    }
    resumes.fetched(1, 1);
    assert_eq!(answered(&mut resumes, &recent).len(), 1_001);
    assert_eq!(resumes.fetch(), Some((2, vec![want(7, &[3])])));
    quiet(&mut recent, &group(3));
    resumes.fetched(2, 1);
    assert_eq!(answered(&mut resumes, &recent), [(1_001, Ok(0))]);
    assert!(resumes.wants.is_empty() && resumes.waiting.is_empty());
}

fn new_listener(ticket: StepTicket, history: History, names: &[usize]) -> Resume {
    Resume { start: ReplayStart::History(history), ..resume(ticket, 0, names) }
}

#[test]
fn new_listeners_share_a_fetch_of_earlier_events() {
    let (mut resumes, mut recent) = (resumes(), Recent::new(1 << 20));
    for ticket in 0..100 {
        let history = if ticket % 2 == 0 { History::First } else { History::Last(3) };
        resumes.add_confirmed(new_listener(ticket, history, &[1, 2]));
    }
    assert_eq!(answered(&mut resumes, &recent), []);
    assert_eq!(resumes.fetch(), Some((1, vec![want(0, &[1, 2])])));
    for name in [1, 2] {
        quiet(&mut recent, &group(name));
    }
    resumes.fetched(1, 1);
    let answers = answered(&mut resumes, &recent);
    assert_eq!(answers.len(), 100);
    assert!(answers.iter().all(|(_, found)| *found == Ok(0)), "{answers:?}");
    resumes.add_confirmed(new_listener(100, History::Last(1), &[2]));
    assert_eq!(answered(&mut resumes, &recent), [(100, Ok(0))], "it is known now");
}

#[test]
fn a_new_listener_waits_for_a_limited_number_of_fetches() {
    let (mut resumes, recent) = (resumes(), Recent::new(1 << 20));
    resumes.add_confirmed(new_listener(1, History::First, &[1]));
    for number in 1..=u64::from(MAX_WAITS) {
        assert_eq!(answered(&mut resumes, &recent), []);
        assert_eq!(resumes.fetch(), Some((number, vec![want(0, &[1])])));
        // The events arrive and are not kept.
        resumes.fetched(number, 1);
    }
    let found = resumes.judge(&recent, MAX).map(|(.., found)| found.expect("no loss"));
    assert!(found.is_some_and(|found| found.is_empty() && !found.is_complete));
}

#[test]
fn a_want_under_way_is_not_widened_but_requested_again() {
    let (mut resumes, mut recent) = (resumes(), Recent::new(1 << 20));
    resumes.add_confirmed(resume(1, 50, &[1]));
    answered(&mut resumes, &recent);
    assert_eq!(resumes.fetch(), Some((1, vec![want(50, &[1])])));
    resumes.add_confirmed(resume(2, 40, &[1]));
    answered(&mut resumes, &recent);
    recent.add_past(&group(1), Past { expired: 0, complete_after: 50, events: vec![] });
    resumes.fetched(1, 1);
    assert_eq!(answered(&mut resumes, &recent), [(1, Ok(0))]);
    assert_eq!(resumes.fetch(), Some((2, vec![want(40, &[1])])));
    quiet(&mut recent, &group(1));
    resumes.fetched(2, 1);
    assert_eq!(answered(&mut resumes, &recent), [(2, Ok(0))]);
    assert!(resumes.wants.is_empty() && resumes.waiting.is_empty());
}

#[test]
fn wants_that_were_not_served_are_requested_again() {
    let (mut resumes, mut recent) = (resumes(), Recent::new(1 << 20));
    let names: Vec<_> = (0..1_000 + 1).collect();
    resumes.add_confirmed(resume(1, 5, &names));
    resumes.add_confirmed(resume(2, 5, &[1]));
    resumes.add_confirmed(resume(3, 5, &[2]));
    assert_eq!(answered(&mut resumes, &recent), []);
    let (number, wants) = resumes.fetch().expect("something to ask");
    assert_eq!(
        (number, wants),
        (1, vec![want(5, &names)]),
        "one client may have any number of audiences"
    );
    names.iter().for_each(|name| quiet(&mut recent, &group(*name)));
    resumes.fetched(1, 1);
    assert_eq!(answered(&mut resumes, &recent), [(1, Ok(0))]);
    assert_eq!(resumes.fetch(), Some((2, vec![want(5, &[1]), want(5, &[2])])));
    resumes.fetched(2, 1);
    assert_eq!(answered(&mut resumes, &recent), [(2, Ok(0))]);
    assert_eq!(resumes.fetch(), Some((3, vec![want(5, &[2])])));
    resumes.fetched(3, 0);
    assert_eq!(
        answered(&mut resumes, &recent),
        [(3, Ok(0))],
        "the broker says that it has served none"
    );
    assert!(resumes.wants.is_empty() && resumes.waiting.is_empty() && resumes.fetch().is_none());
}

#[test]
fn a_position_of_another_epoch_or_ahead_of_the_stream_is_lost() {
    let (mut resumes, recent) = (resumes(), Recent::new(1 << 20));
    let other = Position { epoch: 2, sequence: 5 };
    resumes.add_confirmed(Resume { start: ReplayStart::After(other), ..resume(1, 5, &[1]) });
    resumes.add_confirmed(resume(2, 101, &[1]));
    let lost = Err(Lost::EpochChanged);
    assert_eq!(answered(&mut resumes, &recent), [(1, lost), (2, lost)]);
}

#[test]
fn one_fetch_shows_for_all_clients_that_it_is_too_far() {
    let (mut resumes, mut recent) = (resumes(), Recent::new(1 << 20));
    let event = |sequence| {
        let logged = Some((Position { epoch: 1, sequence }, group(1)));
        Framed::new(logged, Content::Binary(vec![b'x'; 1_000].into()))
    };
    let judged = |resumes: &mut Resumes, recent: &Recent| {
        resumes.judge(recent, 1_500).map(|(_, ticket, found)| (ticket, found.is_ok()))
    };
    resumes.add_confirmed(resume(1, 5, &[1, 2]));
    assert_eq!(judged(&mut resumes, &recent), None);
    assert_eq!(resumes.fetch(), Some((1, vec![want(5, &[1, 2])])));
    // The broker sends the newest events, up to the first one that exceeds the bound.
    let events = vec![event(98), event(99)];
    recent.add_past(&group(1), Past { expired: 0, complete_after: 97, events });
    recent.add_past(&group(2), Past { expired: 0, complete_after: 97, events: vec![] });
    resumes.fetched(1, 1);
    resumes.add_confirmed(resume(2, 6, &[1, 2]));
    resumes.add_confirmed(resume(3, 6, &[2, 1, 3]));
    for ticket in 1..=3 {
        assert_eq!(judged(&mut resumes, &recent), Some((ticket, false)));
    }
    assert_eq!(resumes.fetch(), None);
}

#[test]
fn events_that_are_dropped_again_and_again_are_too_far() {
    let (mut resumes, recent) = (resumes(), Recent::new(1 << 20));
    resumes.add_confirmed(resume(1, 5, &[1]));
    for number in 1..=u64::from(MAX_WAITS) {
        assert_eq!(answered(&mut resumes, &recent), []);
        assert_eq!(resumes.fetch(), Some((number, vec![want(5, &[1])])));
        assert!(resumes.is_fetching());
        resumes.fetched(number, 1);
    }
    assert_eq!(answered(&mut resumes, &recent), [(1, Err(Lost::TooFar))]);
    assert_eq!(resumes.fetch(), None);
}

#[test]
fn withdrawn_audiences_are_neither_requested_nor_kept() {
    let (mut resumes, mut recent) = (resumes(), Recent::new(1 << 20));
    resumes.add_confirmed(resume(1, 5, &[1]));
    answered(&mut resumes, &recent);
    let asked = resumes.fetch().expect("something to ask");
    resumes.add_confirmed(resume(2, 5, &[1, 2]));
    resumes.add_confirmed(resume(3, 5, &[2, 3]));
    resumes.add_confirmed(resume(4, 5, &[3]));
    answered(&mut resumes, &recent);
    resumes.withdraw(&[group(1)]);
    resumes.withdraw(&[group(2)]);
    assert!(!resumes.is_fetched(&group(1)));
    // Somebody listens again before the answer arrives.
    resumes.add_confirmed(resume(5, 5, &[1]));
    answered(&mut resumes, &recent);
    assert!(!resumes.is_fetched(&group(1)), "the next fetch brings it");
    resumes.fetched(asked.0, 1);
    assert_eq!(resumes.fetch(), Some((2, vec![want(5, &[3]), want(5, &[1])])));
    for name in [1, 3] {
        assert!(resumes.is_fetched(&group(name)));
        quiet(&mut recent, &group(name));
    }
    resumes.fetched(2, 2);
    assert_eq!(answered(&mut resumes, &recent), [(4, Ok(0)), (5, Ok(0))]);
    assert!(resumes.wants.is_empty() && resumes.waiting.is_empty());
}

#[test]
fn a_lost_link_repeats_confirmations_and_wants() {
    let (mut resumes, mut recent) = (resumes(), Recent::new(1 << 20));
    resumes.add_confirmed(resume(1, 5, &[1]));
    answered(&mut resumes, &recent);
    let asked = resumes.fetch().expect("something to ask");
    resumes.link_lost();
    resumes.fetched(asked.0, 1);
    quiet(&mut recent, &group(1));
    assert_eq!(
        answered(&mut resumes, &recent),
        [],
        "its interest is not confirmed on the next link"
    );
    recent.forget(&group(1));
    resumes.interest_sent(1, &recent, MAX);
    assert_eq!(resumes.fetch(), Some((2, vec![want(5, &[1])])));
    resumes.confirmed(&[1], CURSOR);
    assert_eq!(answered(&mut resumes, &recent), []);
    quiet(&mut recent, &group(1));
    resumes.fetched(2, 1);
    assert_eq!(answered(&mut resumes, &recent), [(1, Ok(0))]);
}

#[test]
fn an_unknown_audience_is_requested_only_once() {
    let (mut resumes, mut recent) = (resumes(), Recent::new(1 << 20));
    quiet(&mut recent, &group(3));
    resumes.add(0, resume(1, 50, &[1, 3]));
    resumes.add(0, resume(2, 40, &[3]));
    resumes.add(0, resume(3, 30, &[3, 1]));
    let other = Position { epoch: 2, sequence: 5 };
    resumes.add(0, Resume { start: ReplayStart::After(other), ..resume(4, 5, &[2]) });
    resumes.interest_sent(1, &recent, MAX);
    assert_eq!(resumes.fetch(), Some((1, vec![want(30, &[1])])));
    assert_eq!(answered(&mut resumes, &recent), [], "nothing is confirmed");
    resumes.confirmed(&[4], CURSOR);
    let lost = Err(Lost::EpochChanged);
    assert_eq!(answered(&mut resumes, &recent), [(2, Ok(0)), (4, lost)]);
    quiet(&mut recent, &group(1));
    resumes.fetched(1, 1);
    assert_eq!(answered(&mut resumes, &recent), [(1, Ok(0)), (3, Ok(0))]);
    assert!(resumes.wants.is_empty() && resumes.waiting.is_empty() && resumes.fetch().is_none());
}

#[test]
fn a_client_is_judged_by_the_head_of_its_confirmation() {
    let (mut resumes, mut recent) = (resumes(), Recent::new(1 << 20));
    resumes.add(0, resume(1, 150, &[1]));
    resumes.add(0, resume(2, 150, &[1]));
    resumes.interest_sent(1, &recent, MAX);
    // The gateway is behind the one that the clients were connected to before.
    resumes.confirmed(&[1], Position { sequence: 150, ..CURSOR });
    resumes.confirmed(&[2], Position { sequence: 149, ..CURSOR });
    assert_eq!(answered(&mut resumes, &recent), [(2, Err(Lost::EpochChanged))]);
    let (number, _) = resumes.fetch().expect("something to ask");
    quiet(&mut recent, &group(1));
    resumes.fetched(number, 1);
    assert_eq!(answered(&mut resumes, &recent), [(1, Ok(0))]);
}

#[test]
fn clients_that_are_gone_get_no_answer() {
    let (mut resumes, mut recent) = (resumes(), Recent::new(1 << 20));
    for ticket in 1..=3 {
        resumes.add(0, resume(ticket, 5, &[1]));
    }
    resumes.interest_sent(1, &recent, MAX);
    resumes.forget(0, &[1, 77]);
    resumes.confirmed(&[3], CURSOR);
    assert_eq!(answered(&mut resumes, &recent), []);
    resumes.forget(0, &[2]);
    let (number, _) = resumes.fetch().expect("something to ask");
    quiet(&mut recent, &group(1));
    resumes.fetched(number, 1);
    assert_eq!(answered(&mut resumes, &recent), [(3, Ok(0))]);
    assert!(resumes.confirmed.is_empty() && resumes.unconfirmed.iter().all(BTreeMap::is_empty));
}

#[test]
fn a_client_waits_for_its_whole_fetch() {
    let (mut resumes, mut recent) = (resumes(), Recent::new(1 << 20));
    resumes.add(0, resume(1, 5, &[1, 2]));
    resumes.interest_sent(1, &recent, MAX);
    assert_eq!(resumes.fetch(), Some((1, vec![want(5, &[1, 2])])));
    quiet(&mut recent, &group(1));
    resumes.confirmed(&[1], CURSOR);
    assert_eq!(answered(&mut resumes, &recent), []);
    quiet(&mut recent, &group(2));
    resumes.fetched(1, 1);
    assert_eq!(resumes.fetch(), None, "the rest was requested once more");
    assert_eq!(answered(&mut resumes, &recent), [(1, Ok(0))]);
}
