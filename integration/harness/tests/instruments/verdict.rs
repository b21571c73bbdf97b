//! The verdict sees every way in which a client can get something else than was accepted.

use std::time::Duration;

use campanile_harness::{
    Audience, Ended, Note, Push, PushOutcome, Recovered, Recovery, Row, Table, Transcript,
    TranscriptEntry, Verdict, content, judge, parse_content,
};
use campanile_messages::Position;

use Audience::{Everyone, Group};

fn at(epoch: u64, sequence: u64) -> Position {
    Position { epoch, sequence }
}

fn push(number: u64, audience: Audience, outcome: PushOutcome) -> Push {
    Push {
        number,
        audience,
        padding: 0,
        has_id: false,
        tried_at: Duration::from_millis(number),
        outcome,
        answered_at: Duration::from_millis(number),
    }
}

/// Accepted at the sequence of its number, in epoch 1.
fn accepted(number: u64, audience: Audience) -> Push {
    push(number, audience, PushOutcome::Accepted(at(1, number)))
}

/// Five events, the fourth for group 7, the last for everyone.
fn five() -> Vec<Push> {
    let audiences = [Everyone, Group(0), Everyone, Group(7), Everyone];
    (1..).zip(audiences).map(|(number, audience)| accepted(number, audience)).collect()
}

/// A client of group 0 that got this, one entry a millisecond.
fn client(entries: Vec<TranscriptEntry>) -> Transcript {
    let notes = entries.into_iter().enumerate().map(|(number, entry)| {
        let at = Duration::from_millis(number as u64);
        Note { at, entry }
    });
    Transcript { who: "a client".to_owned(), groups: vec![0], notes: notes.collect() }
}

fn hello(position: Position) -> TranscriptEntry {
    TranscriptEntry::Hello(position, Recovery::NotAsked)
}

fn recovered(position: Position) -> TranscriptEntry {
    TranscriptEntry::Hello(position, Recovery::Recovered)
}

fn not_recovered(reason: &str, position: Position) -> TranscriptEntry {
    TranscriptEntry::Hello(position, Recovery::NotRecovered(reason.to_owned()))
}

fn gap(reason: &str, position: Position) -> TranscriptEntry {
    TranscriptEntry::Gap(reason.to_owned(), position)
}

/// The event of this number, where [`accepted`] has it.
fn event(number: u64) -> TranscriptEntry {
    event_at(number, at(1, number))
}

fn event_at(number: u64, position: Position) -> TranscriptEntry {
    TranscriptEntry::Event { position, number, to: None }
}

fn lost() -> TranscriptEntry {
    TranscriptEntry::Ended(Ended::Lost)
}

/// The verdict on [`five`] and a client.
fn on_five(entries: Vec<TranscriptEntry>) -> Verdict {
    judge(&five(), &[], &[client(entries)])
}

/// Everything but the number of pushes and what is told.
fn found(verdict: &Verdict) -> [usize; 8] {
    let v = verdict;
    assert_eq!(v.is_clean(), v.told.is_empty(), "{v:?}");
    [
        v.deliveries,
        v.lost,
        v.duplicated,
        v.reordered,
        v.strange,
        v.unexplained_gaps,
        v.explained_gaps,
        v.missed,
    ]
}

#[test]
fn a_client_that_got_all_its_events_in_order_is_content() {
    let verdict = on_five(vec![hello(at(1, 0)), event(1), event(2), event(3), event(5)]);
    assert_eq!(found(&verdict), [4, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((verdict.accepted, verdict.unknown, verdict.refused), (5, 0, 0));
    assert!(verdict.is_clean());
}

#[test]
fn what_was_before_its_start_is_not_expected() {
    let verdict = on_five(vec![hello(at(1, 2)), event(3), event(5)]);
    assert_eq!(found(&verdict), [2, 0, 0, 0, 0, 0, 0, 0]);
    let verdict = on_five(vec![TranscriptEntry::Start(at(1, 3)), event(5)]);
    assert_eq!(found(&verdict), [1, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_missing_event_is_lost_wherever_it_is() {
    for missing in [1, 2, 3, 5] {
        let got = [1, 2, 3, 5].into_iter().filter(|number| *number != missing).map(event);
        let verdict = on_five([hello(at(1, 0))].into_iter().chain(got).collect());
        assert_eq!(found(&verdict), [3, 1, 0, 0, 0, 0, 0, 0], "without {missing}");
    }
}

#[test]
fn a_mark_does_not_excuse_what_is_missing() {
    let verdict =
        on_five(vec![hello(at(1, 0)), event(1), TranscriptEntry::Mark(at(1, 5)), event(5)]);
    assert_eq!(found(&verdict), [1, 2, 0, 1, 0, 0, 0, 0], "and 5 is not above the mark");
}

#[test]
fn a_recovered_resume_changes_nothing() {
    let verdict = on_five(vec![
        hello(at(1, 0)),
        event(1),
        lost(),
        recovered(at(1, 1)),
        lost(),
        TranscriptEntry::Ended(Ended::ComeBack),
        TranscriptEntry::Ended(Ended::Status(503)),
        recovered(at(1, 1)),
        event(2),
        event(3),
        TranscriptEntry::Mark(at(1, 4)),
        TranscriptEntry::Ended(Ended::Closed(1001)),
        recovered(at(1, 4)),
        event(5),
    ]);
    assert_eq!(found(&verdict), [4, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_recovered_resume_elsewhere_is_an_unexplained_gap() {
    let verdict = on_five(vec![hello(at(1, 0)), event(1), lost(), recovered(at(1, 3)), event(5)]);
    assert_eq!(found(&verdict), [2, 2, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn a_greeting_that_ignores_the_resume_is_an_unexplained_gap() {
    let verdict = on_five(vec![hello(at(1, 0)), event(1), lost(), hello(at(1, 3)), event(5)]);
    assert_eq!(found(&verdict), [2, 2, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn what_is_missing_in_an_explained_gap_is_missed_and_not_lost() {
    for explained in [gap("expired", at(1, 3)), not_recovered("too_far", at(1, 3))] {
        let verdict = on_five(vec![hello(at(1, 0)), event(1), explained, event(5)]);
        assert_eq!(found(&verdict), [2, 0, 0, 0, 0, 0, 1, 2]);
        assert!(verdict.is_clean());
    }
    let verdict = on_five(vec![hello(at(1, 0)), gap("expired", at(1, 2)), event(5)]);
    assert_eq!(found(&verdict), [1, 1, 0, 0, 0, 0, 1, 2], "3 is behind the gap");
    let verdict = on_five(vec![hello(at(1, 0)), event(1), gap("whatever", at(1, 3)), event(5)]);
    assert_eq!(found(&verdict), [2, 2, 0, 0, 0, 1, 0, 0], "that is no reason");
}

#[test]
fn an_event_that_comes_twice_is_duplicated() {
    let verdict = on_five(vec![hello(at(1, 0)), event(1), event(2), event(2), event(3), event(5)]);
    assert_eq!(found(&verdict), [4, 0, 1, 0, 0, 0, 0, 0]);
    let verdict = on_five(vec![
        hello(at(1, 0)),
        event(1),
        event(2),
        event(3),
        lost(),
        recovered(at(1, 3)),
        event(2),
        event(5),
    ]);
    assert_eq!(found(&verdict), [4, 0, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn one_push_that_is_in_the_log_twice_is_duplicated() {
    let got = vec![hello(at(1, 0)), event(1), event(2), event(3), event_at(3, at(1, 4)), event(5)];
    assert_eq!(found(&on_five(got)), [4, 0, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn an_event_after_a_later_one_is_reordered() {
    let verdict = on_five(vec![hello(at(1, 0)), event(1), event(3), event(2), event(5)]);
    assert_eq!(found(&verdict), [3, 0, 0, 1, 0, 0, 0, 0]);
    let late = vec![
        hello(at(1, 0)),
        event(1),
        TranscriptEntry::Mark(at(1, 2)),
        event(2),
        event(3),
        event(5),
    ];
    assert_eq!(found(&on_five(late)), [3, 0, 0, 1, 0, 0, 0, 0], "the mark had passed it");
    let back = vec![
        hello(at(1, 0)),
        event(1),
        event(2),
        TranscriptEntry::Mark(at(1, 1)),
        event(3),
        event(5),
    ];
    assert_eq!(found(&on_five(back)), [4, 0, 0, 1, 0, 0, 0, 0], "a mark went back");
}

#[test]
fn another_epoch_without_a_word_is_an_unexplained_gap() {
    let mut pushes = five();
    pushes.push(push(6, Everyone, PushOutcome::Accepted(at(2, 1))));
    let all = [hello(at(1, 0)), event(1), event(2), event(3), event(5)];
    let silent = [&all[..], &[event_at(6, at(2, 1))]].concat();
    let verdict = judge(&pushes, &[], &[client(silent)]);
    assert_eq!(found(&verdict), [4, 0, 0, 0, 0, 1, 0, 0]);
    let told = [&all[..], &[gap("epoch_changed", at(2, 0)), event_at(6, at(2, 1))]].concat();
    let verdict = judge(&pushes, &[], &[client(told)]);
    assert_eq!(found(&verdict), [5, 0, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn events_of_a_lost_epoch_are_missed_if_there_was_a_gap() {
    let mut pushes = five();
    pushes.push(push(6, Everyone, PushOutcome::Accepted(at(9, 1))));
    let told =
        vec![hello(at(1, 0)), event(1), gap("epoch_changed", at(9, 0)), event_at(6, at(9, 1))];
    let verdict = judge(&pushes, &[], &[client(told)]);
    assert_eq!(found(&verdict), [2, 0, 0, 0, 0, 0, 1, 3]);
    // Epochs are in the order in which they were seen, whatever their numbers.
    let mut pushes = five();
    pushes.push(push(6, Everyone, PushOutcome::Accepted(at(0, 1))));
    let told =
        vec![hello(at(1, 0)), event(1), gap("epoch_changed", at(0, 0)), event_at(6, at(0, 1))];
    let verdict = judge(&pushes, &[], &[client(told)]);
    assert_eq!(found(&verdict), [2, 0, 0, 0, 0, 0, 1, 3]);
}

#[test]
fn an_event_of_unknown_outcome_may_come_once_to_all_or_to_none() {
    let mut pushes = five();
    pushes[2].outcome = PushOutcome::Unknown;
    let with = vec![hello(at(1, 0)), event(1), event(2), event(3), event(5)];
    let without = vec![hello(at(1, 0)), event(1), event(2), event(5)];
    let verdict = judge(&pushes, &[], &[client(with.clone()), client(with.clone())]);
    assert_eq!(found(&verdict), [8, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(verdict.still_unknown, []);
    let verdict = judge(&pushes, &[], &[client(without.clone())]);
    assert_eq!(found(&verdict), [3, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(verdict.still_unknown, [pushes[2].clone()]);
    let verdict = judge(&pushes, &[], &[client(with.clone()), client(without)]);
    assert_eq!(found(&verdict), [7, 1, 0, 0, 0, 0, 0, 0], "who has it shows that it is in the log");
    let mut twice = with;
    twice.insert(4, event_at(3, at(1, 4)));
    let verdict = judge(&pushes, &[], &[client(twice)]);
    assert_eq!(found(&verdict), [4, 0, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn an_event_of_unknown_outcome_may_come_in_a_later_part() {
    let mut earlier = [accepted(2, Everyone), accepted(3, Everyone)];
    earlier.iter_mut().for_each(|push| push.outcome = PushOutcome::Unknown);
    let now = [accepted(5, Everyone)];
    let got = client(vec![TranscriptEntry::Start(at(1, 1)), event(2), event(5)]);
    let verdict = judge(&now, &earlier, &[got]);
    assert_eq!(found(&verdict), [2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((verdict.accepted, verdict.unknown), (1, 0), "it was counted when it was pushed");
    assert_eq!(verdict.still_unknown, [earlier[1].clone()]);
}

#[test]
fn an_unknown_event_behind_the_last_one_may_still_be_on_its_way() {
    let mut pushes = five();
    pushes.push(push(6, Everyone, PushOutcome::Unknown));
    let all = [hello(at(1, 0)), event(1), event(2), event(3), event(5)];
    let more = [&all[..], &[event(6)]].concat();
    let verdict = judge(&pushes, &[], &[client(all.to_vec()), client(more)]);
    assert_eq!(found(&verdict), [9, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn what_was_refused_or_never_pushed_or_is_for_others_is_strange() {
    let mut pushes = five();
    pushes[2].outcome = PushOutcome::Refused;
    let all = vec![hello(at(1, 0)), event(1), event(2), event(3), event(5)];
    let verdict = judge(&pushes, &[], &[client(all)]);
    assert_eq!(found(&verdict), [3, 0, 0, 0, 1, 0, 0, 0]);
    for strange in [
        event_at(77, at(1, 4)),
        event(4),
        TranscriptEntry::Event { position: at(1, 4), number: 3, to: None },
        TranscriptEntry::Stray("what?".to_owned()),
        TranscriptEntry::Ended(Ended::Closed(1002)),
        TranscriptEntry::Ended(Ended::Status(400)),
    ] {
        let is_wrong_place = matches!(strange, TranscriptEntry::Event { number: 3, .. });
        let mut all = vec![hello(at(1, 0)), event(1), event(2), event(3), strange, event(5)];
        if is_wrong_place {
            all.remove(3);
        }
        let got = if is_wrong_place { 3 } else { 4 };
        assert_eq!(found(&on_five(all)), [got, 0, 0, 0, 1, 0, 0, 0]);
    }
}

#[test]
fn an_event_for_somebody_else_is_strange() {
    let group =
        |number| TranscriptEntry::Event { position: at(1, 2), number: 2, to: Some(Group(number)) };
    let all = |second| vec![hello(at(1, 0)), event(1), second, event(3), event(5)];
    assert_eq!(found(&on_five(all(group(0)))), [4, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(found(&on_five(all(group(1)))), [3, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn one_position_for_two_pushes_or_a_wrong_answer_is_strange() {
    let mut pushes = five();
    pushes.push(push(6, Group(7), PushOutcome::Accepted(at(1, 4))));
    pushes.push(push(7, Group(7), PushOutcome::Wrong("409: used".to_owned())));
    let all = vec![hello(at(1, 0)), event(1), event(2), event(3), event(5)];
    let verdict = judge(&pushes, &[], &[client(all)]);
    assert_eq!(found(&verdict), [4, 0, 0, 0, 2, 0, 0, 0]);
}

#[test]
fn a_client_that_was_never_greeted_is_strange() {
    let verdict = on_five(vec![lost()]);
    assert_eq!(found(&verdict), [0, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn a_changed_byte_makes_another_content() {
    let time = Duration::from_micros(1_234);
    for padding in [0, 1, 5_000] {
        let text = content(7, time, padding);
        assert_eq!(parse_content(&text), Some((7, time)));
        for broken in [format!("{text}~"), format!("{text} "), format!("0{text}")] {
            assert_eq!(parse_content(&broken), None);
        }
        assert_eq!(parse_content(&text[..text.len() - 1]), None);
    }
    for text in ["", "hi", "1 2 3", "1 2 99999999999999999999 ~", "1 2 9999999999999999 ~"] {
        assert_eq!(parse_content(text), None);
    }
}

#[test]
fn verdicts_are_a_markdown_table() {
    let mut total = on_five(vec![hello(at(1, 0)), event(1), event(2), event(3), event(5)]);
    total.add(&on_five(vec![hello(at(1, 0)), event(1), event(2), event(3)]));
    let recovery = Recovered::Within(Duration::from_millis(120));
    let row = Row { name: "two".to_owned(), verdict: total, recovery };
    let never = Row { recovery: Recovered::Never, ..row.clone() };
    let text = Table { rows: vec![row, never] }.to_string();
    let lines: Vec<_> = text.lines().collect();
    let columns = lines[0].matches('|').count();
    assert!(lines.iter().all(|line| line.matches('|').count() == columns), "{text}");
    assert_eq!(lines[2], "| two | 10 | 0 | 0 | 7 | 1 | 0 | 0 | 0 | 0 | 0 | 0 | 120 ms |");
    assert!(lines[3].ends_with("| never |"));
}
