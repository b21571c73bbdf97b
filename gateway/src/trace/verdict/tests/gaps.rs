//! Around the events that a gateway itself has lost.

use super::*;

/// As for those who were there when the gateway lost the events from 14 to 16, both included.
fn at_the_gap(mut facts: Facts, sequence: u64) -> Facts {
    let (gap, now) = (Gap::Expired, Instant::now());
    let lost = LostEvents { gap, after: Some(13), until: at(16), at: now };
    facts.loss = if lost.contain(at(sequence)) { Loss::Among(lost) } else { Loss::No };
    facts
}

const LOST: Verdict = Verdict::LostByGateway(Gap::Expired);

#[test]
fn events_that_a_gateway_lost_reached_nobody_who_was_there() {
    let verdicts = |facts: &Facts| [13, 14, 16, 17].map(|p| news(p, &at_the_gap(facts.clone(), p)));
    let (written, joined_later) = (Verdict::Written, |at| Verdict::JoinedLater(Some(at)));
    let around = [written, LOST, LOST, written];
    assert_eq!(verdicts(&in_group(Listening::After(12))), around);
    assert_eq!(verdicts(&in_group(Listening::WithConnection)), around);
    assert_eq!([14, 16].map(|p| everyone(p, &at_the_gap(facts(), p))), [LOST; 2]);
    // It joined with the last event before the gap, and right after it.
    let joined = verdicts(&in_group(Listening::After(13)));
    assert_eq!(joined, [joined_later(13), LOST, LOST, written]);
    let joined = verdicts(&in_group(Listening::After(16)));
    assert_eq!(joined, [joined_later(16), joined_later(16), joined_later(16), written]);
    // It left before the gap, right after it, and later.
    let left_at = |at| Verdict::LeftEarlier(at);
    let left_before = verdicts(&left(facts(), 12, 13));
    assert_eq!(left_before, [written, left_at(13), left_at(13), left_at(13)]);
    assert_eq!(verdicts(&left(facts(), 12, 16)), [written, LOST, LOST, left_at(16)]);
    assert_eq!(verdicts(&left(facts(), 12, 17)), around);
    // It was greeted only after the gap.
    let mut later = facts();
    later.known.first = Listening::After(16);
    let later = [14, 16].map(|p| everyone(p, &at_the_gap(later.clone(), p)));
    assert_eq!(later, [Verdict::ConnectedLater(Some(16)); 2]);
    // It ended before the gap, and after it.
    let mut gone = ended(facts(), 1000, 0);
    gone.known.last = 13;
    let gone = [14, 16].map(|p| everyone(p, &at_the_gap(gone.clone(), p)));
    assert_eq!(gone, [Verdict::ClosedBefore { code: 1000, last: 13 }; 2]);
    assert_eq!(everyone(16, &at_the_gap(ended(facts(), 1000, 0), 16)), LOST);
}

#[test]
fn a_client_that_came_back_got_what_its_gateway_had_lost_or_not() {
    let back = |since, outcome| {
        let mut facts = facts();
        facts.known.first = continued(Some(at(since)), 17, outcome);
        [14, 15, 16, 18].map(|p| everyone(p, &at_the_gap(facts.clone(), p)))
    };
    let (lost, has) = (Verdict::NotRecovered(Lost::Expired), Verdict::ContinuedLater);
    let expired = PastOutcome::Lost(Lost::Expired);
    assert_eq!(back(14, expired), [has(14), lost, lost, Verdict::Written]);
    assert_eq!(back(15, expired), [has(15), has(15), lost, Verdict::Written]);
    let recovered = Verdict::Recovered(PastOutcome::Replayed);
    assert_eq!(back(15, PastOutcome::Replayed), [has(15), has(15), recovered, Verdict::Written]);
    // It left a group after the gap, and joined again with an earlier position.
    let rejoined = |outcome| {
        let facts = left(in_group(continued(Some(at(13)), 18, outcome)), 12, 17);
        [14, 16].map(|p| news(p, &at_the_gap(facts.clone(), p)))
    };
    assert_eq!(rejoined(PastOutcome::Replayed), [recovered; 2]);
    assert_eq!(rejoined(expired).map(|verdict| verdict.reason()), ["not_recovered"; 2]);
}

#[test]
fn the_beginning_of_another_log_reached_nobody_who_was_there() {
    let mut facts = in_group(Listening::WithConnection);
    facts.known.first = Listening::Restarted(10);
    let (gap, now) = (Gap::EpochChanged, Instant::now());
    facts.loss = Loss::Among(LostEvents { gap, after: None, until: at(10), at: now });
    let lost = Verdict::LostByGateway(gap);
    assert_eq!([1, 10].map(|p| everyone(p, &facts)), [lost; 2]);
    assert_eq!([1, 10].map(|p| news(p, &facts)), [lost; 2]);
    assert_eq!(
        judged(10, Audience::User(UserName::new("43").expect("a name")), &facts).reason(),
        "not_listening"
    );
    // What it joined since then has a later position.
    facts.known.groups = [("news".into(), Listening::After(12))].into();
    assert_eq!(news(10, &facts), Verdict::JoinedLater(Some(12)));
    // It was not greeted yet when the other log began.
    facts.known.first = Listening::After(10);
    assert_eq!([1, 10].map(|p| everyone(p, &facts)), [Verdict::ConnectedLater(Some(10)); 2]);
    facts.loss = Loss::No;
    assert_eq!(everyone(11, &facts), Verdict::Written);
}

#[test]
fn without_the_audience_it_is_known_who_could_not_get_an_event() {
    let anybody = |sequence, facts: &Facts| {
        judge_for_anybody(at(sequence), &at_the_gap(facts.clone(), sequence))
    };
    let all = |facts: &Facts| [10, 11, 14, 21].map(|p| anybody(p, facts));
    let later = Some(Verdict::ConnectedLater(Some(10)));
    let before = Some(Verdict::ClosedBefore { code: 1000, last: 20 });
    assert_eq!(all(&facts()), [later, None, Some(LOST), None]);
    assert_eq!(all(&ended(facts(), 1000, 0)), [later, None, Some(LOST), before]);
    assert_eq!(anybody(10, &in_group(Listening::WithConnection)), later);
    // What it joined may have brought earlier events.
    let joined = in_group(continued(Some(at(8)), 12, PastOutcome::Replayed));
    assert_eq!([8, 9].map(|p| anybody(p, &joined)), [later, None]);
    let mut unknown = facts();
    unknown.left_dropped = 9;
    assert_eq!([9, 10].map(|p| anybody(p, &unknown)), [None, later]);
    unknown.known.groups_left_out = 1;
    assert_eq!(anybody(10, &unknown), None);
    let mut back = facts();
    back.known.first = continued(Some(at(5)), 10, PastOutcome::Lost(Lost::TooFar));
    let verdicts = [5, 6].map(|p| anybody(p, &back));
    let lost = Verdict::NotRecovered(Lost::TooFar);
    assert_eq!(verdicts, [Some(Verdict::ContinuedLater(5)), Some(lost)]);
    back.known.epoch = 2;
    assert_eq!(anybody(5, &back), None);
}
