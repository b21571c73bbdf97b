use std::collections::BTreeMap;

use bytes::Bytes;
use campanile_messages::{Content, GroupName, InstanceId};
use proptest::prelude::*;

use super::*;

const EPOCH: u64 = 7;
const AGE: Duration = Duration::from_secs(300);
/// From then on, gateways have had enough time to come back.
const KEEP_UNTIL: Duration = Duration::from_secs(1_000);

fn opening() -> Opening {
    Opening {
        epoch: EPOCH,
        head: 0,
        floor: 0,
        trimmed: Vec::new(),
        max_bytes: 1 << 20,
        max_age: AGE,
        keep_until: KEEP_UNTIL,
    }
}

fn record(sequence: u64, audience: Audience, content: Content, at: Duration) -> Record {
    let (publisher, number, gateways, matched) = (InstanceId(1), sequence, 0, 0);
    let except = None;
    Record {
        sequence,
        at,
        audience,
        except,
        content,
        from: None,
        publisher,
        number,
        gateways,
        matched,
    }
}

fn group(name: impl ToString) -> Audience {
    Audience::Group(GroupName::new(name.to_string()).unwrap())
}

fn frame(sequence: u64, audience: Audience, content: &'static str) -> EncodedFrame {
    let content = content.into();
    FromBroker::Event(Event { sequence, audience, except: None, content, from: None }).encode()
}

fn log_of(opening: Opening, contents: &[&'static str], at: Duration) -> Log {
    let mut log = Log::new(opening);
    for content in contents {
        let sequence = log.head().sequence + 1;
        log.append(&record(sequence, group("g"), (*content).into(), at));
    }
    log
}

fn trim(log: &mut Log, now: Duration) -> Trim {
    let mut trim = Trim::default();
    log.trim(now, &mut trim);
    trim
}

fn after(log: &Log, sequence: u64) -> Vec<EncodedFrame> {
    log.after(sequence).map(|entry| entry.frame.clone()).collect()
}

#[test]
fn events_after_a_sequence_are_returned_in_order() {
    let log = log_of(opening(), &["a", "b"], KEEP_UNTIL);
    let (a, b) = (frame(1, group("g"), "a"), frame(2, group("g"), "b"));
    assert_eq!(after(&log, 0), [a, b.clone()]);
    assert_eq!(after(&log, 1), [b]);
    assert_eq!(after(&log, 2), []);
    assert_eq!(log.head(), Position { epoch: EPOCH, sequence: 2 });
}

fn want(since: u64, names: &[&'static str]) -> Want {
    Want { since, audiences: names.iter().copied().map(group).collect() }
}

/// For each audience, the sequence above which it is complete, and the sequences of its events.
fn past(log: &Log, want: &Want, max_bytes: u64) -> Vec<(u64, Vec<u64>)> {
    let (pasts, _) = log.past(want, max_bytes);
    let sequences = |past: Past| past.events.into_iter().map(|(sequence, _)| sequence).collect();
    pasts.into_iter().map(|past| (past.complete_after, sequences(past))).collect()
}

#[test]
fn a_want_gets_the_newest_of_all_its_audiences() {
    let mut log = Log::new(opening());
    for (sequence, name) in (1..).zip(["a", "b", "a", "c", "a", "b"]) {
        log.append(&record(sequence, group(name), "1234".into(), KEEP_UNTIL));
    }
    let each = 4 + EACH_BYTES;
    let all = want(0, &["a", "b", "quiet"]);
    assert_eq!(past(&log, &all, 5 * each), [(0, vec![1, 3, 5]), (0, vec![2, 6]), (0, vec![])]);
    assert_eq!(log.past(&all, 5 * each).1, Looked { bytes: 5 * each, events: 5 });
    // The first event above the bound is there, so that a gateway sees that it was too much.
    assert_eq!(past(&log, &all, 3 * each - 1), [(2, vec![3, 5]), (2, vec![6]), (2, vec![])]);
    assert_eq!(past(&log, &all, 0), [(4, vec![5]), (4, vec![6]), (4, vec![])]);
    assert_eq!(past(&log, &want(0, &["c"]), 0), [(0, vec![4])], "one event of any size");
    assert_eq!(past(&log, &want(3, &["a", "b"]), 9 * each), [(3, vec![5]), (3, vec![6])]);
    assert_eq!(past(&log, &want(6, &["a"]), 9 * each), [(6, vec![])]);
    let (pasts, _) = log.past(&want(4, &["a"]), each);
    assert_eq!(pasts[0].events, [(5, frame(5, group("a"), "1234"))]);
}

#[test]
fn a_quiet_audience_loses_nothing_when_others_do() {
    let room_for_two = Opening { max_bytes: 2 * (ENTRY_OVERHEAD_BYTES + 4), ..opening() };
    let mut log = log_of(room_for_two, &["1", "2", "3", "4"], Duration::ZERO);
    let trimmed = trim(&mut log, Duration::ZERO);
    assert_eq!(trimmed.last, [(group("g"), 1), (group("g"), 2)]);
    assert_eq!((log.lost_up_to(&group("g")), log.lost_up_to(&group("quiet"))), (2, 0));
    let (pasts, _) = log.past(&want(0, &["g"]), 100);
    assert_eq!((pasts[0].expired, pasts[0].complete_after), (2, 2));
    assert_eq!(log.tail(), 2);
}

#[test]
fn the_log_knows_what_an_earlier_broker_dropped() {
    let trimmed = vec![(group("b"), 20), (group("a"), 10)];
    let log = Log::new(Opening { head: 30, floor: 5, trimmed, ..opening() });
    let lost = ["a", "b", "c"].map(|name| log.lost_up_to(&group(name)));
    assert_eq!(lost, [10, 20, 5]);
    assert_eq!(log.head().sequence, 30);
}

#[test]
fn no_event_expires_before_gateways_could_return() {
    let mut log = log_of(opening(), &["a"], Duration::ZERO);
    assert_eq!(trim(&mut log, KEEP_UNTIL - Duration::from_nanos(1)).last, []);
    assert_eq!(trim(&mut log, KEEP_UNTIL).last, [(group("g"), 1)]);
}

#[test]
fn old_events_are_dropped_in_turns_and_excess_at_once() {
    let len = MAX_EXPIRED + 10;
    let mut log =
        log_of(Opening { max_bytes: usize::MAX, ..opening() }, &vec!["x"; len], KEEP_UNTIL);
    assert_eq!(trim(&mut log, KEEP_UNTIL + AGE).last.len(), MAX_EXPIRED);
    assert_eq!(log.lost_up_to(&group("g")), MAX_EXPIRED as u64);
    assert_eq!(trim(&mut log, KEEP_UNTIL + AGE).last.len(), 10);
    let mut log = log_of(Opening { max_bytes: 0, ..opening() }, &vec!["x"; len], KEEP_UNTIL);
    assert_eq!(trim(&mut log, KEEP_UNTIL).last.len(), len);
}

#[test]
fn dropping_old_events_frees_their_memory() {
    let mut log = log_of(opening(), &["x"; 1_000], KEEP_UNTIL);
    let due = KEEP_UNTIL + AGE;
    assert_eq!(trim(&mut log, due - Duration::from_nanos(1)).last, []);
    assert_eq!(trim(&mut log, due).last.len(), 1_000);
    assert_eq!((log.kept_bytes, log.entries.capacity(), log.by_audience.capacity()), (0, 0, 0));
}

#[test]
fn a_clock_that_went_back_drops_nothing() {
    let mut log = log_of(opening(), &["a"], KEEP_UNTIL + AGE);
    assert_eq!(trim(&mut log, KEEP_UNTIL).last, []);
}

#[test]
#[should_panic(expected = "4 is not above the head, 5")]
fn an_event_that_is_not_above_the_head_is_never_appended() {
    let mut log = log_of(opening(), &["a"], KEEP_UNTIL);
    log.advance(5);
    log.append(&record(4, group("g"), "b".into(), KEEP_UNTIL));
}

#[test]
fn a_new_epoch_is_empty_and_its_sequences_continue() {
    let log = log_of(opening(), &["a", "b"], KEEP_UNTIL).begin_epoch(EPOCH + 1, 5);
    assert_eq!(log.head(), Position { epoch: EPOCH + 1, sequence: 5 });
    assert_eq!(after(&log, 0), []);
    assert_eq!(log.lost_up_to(&group("g")), 5);
}

#[test]
fn the_overhead_covers_entry_index_and_frame_head() {
    let index = 2 * size_of::<(Audience, VecDeque<u64>)>() + 4 * size_of::<u64>() + 2;
    assert!(2 * size_of::<LogEntry>() + index + 128 <= ENTRY_OVERHEAD_BYTES);
}

/// How many numbers are left out before an event, and how far the head then is beyond it.
fn gap() -> impl Strategy<Value = (u64, u64)> {
    // The last is what one event per block makes of them.
    prop_oneof![Just((0, 0)), (0u64..3, 0u64..3), Just((1, 0xfffe))]
}

proptest! {
    /// The model is every event that was ever kept.
    #[test]
    fn the_log_keeps_the_newest_within_age_and_bytes(
        steps in prop::collection::vec(
            (0usize..200, 0u64..90, 0u8..4, 0u64..600, 0u64..20, 0u8..16, gap()),
            0..80,
        ),
        max_bytes in 1_000usize..6_000,
    ) {
        let mut log = Log::new(Opening { max_bytes, ..opening() });
        let mut model: Vec<(Duration, u8, usize)> = Vec::new();
        let mut sequences: Vec<u64> = Vec::new();
        let mut dropped = 0;
        let mut now = KEEP_UNTIL - Duration::from_secs(200);
        for (len, wait, name, max_past, back, wanted, (before, after)) in steps {
            now += Duration::from_secs(wait);
            let content = Content::Binary(Bytes::from(vec![0; len]));
            let sequence = log.head().sequence + 1 + before;
            log.append(&record(sequence, group(name), content, now));
            log.advance(sequence + after);
            prop_assert_eq!(log.head().sequence, sequence + after);
            model.push((now, name, len));
            sequences.push(sequence);
            let cost = |(_, _, len): &(Duration, u8, usize)| len + 3 + ENTRY_OVERHEAD_BYTES;
            let kept = |dropped: usize| model[dropped..].iter().map(cost).sum::<usize>();
            let mut last = Vec::new();
            let is_old = |at: Duration| now >= KEEP_UNTIL && at + AGE <= now;
            while dropped < model.len()
                && (kept(dropped) > max_bytes || is_old(model[dropped].0))
            {
                dropped += 1;
                last.push((group(model[dropped - 1].1), sequences[dropped - 1]));
            }
            prop_assert_eq!(trim(&mut log, now).last, last);
            prop_assert_eq!(log.kept_bytes, kept(dropped));
            let kept_sequences = &sequences[dropped..];
            prop_assert_eq!(log.len(), kept_sequences.len());
            let oldest = kept_sequences.first().map(|oldest| oldest - 1);
            prop_assert_eq!(log.tail(), oldest.unwrap_or(sequence + after));
            let names: Vec<u8> = (0..4).filter(|name| wanted & 1 << name != 0).collect();
            let since = sequences[sequences.len().saturating_sub(back as usize + 1)] - back % 2;
            let found = sequences.iter().map(|of| log.entry(*of).map(|entry| entry.sequence));
            let expected = sequences.iter().map(|of| kept_sequences.contains(of).then_some(*of));
            prop_assert!(found.eq(expected));
            let later: Vec<_> = log.after(since).map(|entry| entry.sequence).collect();
            let is_later = |of: &&u64| **of > since;
            prop_assert!(later.iter().eq(kept_sequences.iter().filter(is_later)));
            prop_assert_eq!(log.entry(sequence + 1).map(LogEntry::at), None);
            let audiences = names.iter().map(|name| group(*name)).collect();
            let (pasts, _) = log.past(&Want { since, audiences }, max_past);
            // The newest of all wanted events, up to the first that is too much.
            let (mut bytes, mut count, mut cut) = (0, 0, 0);
            let mut expected = BTreeMap::<u8, Vec<u64>>::new();
            for place in (dropped..model.len()).rev() {
                let (_, name, len) = model[place];
                let sequence = sequences[place];
                if cut > 0 || sequence <= since || !names.contains(&name) {
                    continue;
                }
                expected.entry(name).or_default().insert(0, sequence);
                (bytes, count) = (bytes + len as u64 + EACH_BYTES, count + 1);
                if bytes > max_past && count > 1 {
                    cut = sequence - 1;
                }
            }
            for (name, past) in names.into_iter().zip(pasts) {
                let of_it = |place: &usize| model[*place].1 == name;
                let lost = (0..dropped).rev().find(of_it).map_or(0, |place| sequences[place]);
                prop_assert_eq!(past.expired, lost);
                prop_assert_eq!(past.complete_after, lost.max(since).max(cut));
                let sequences: Vec<_> = past.events.iter().map(|(sequence, _)| *sequence).collect();
                prop_assert_eq!(sequences, expected.remove(&name).unwrap_or_default());
            }
        }
    }
}
