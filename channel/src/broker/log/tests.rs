use std::collections::BTreeMap;

use bytes::Bytes;
use campanile_messages::{Content, GroupName, InstanceId};
use proptest::prelude::*;

use super::*;

const EPOCH: u64 = 7;
const AGE: Duration = Duration::from_secs(300);
/// Longer ago than this, gateways had their time to come back.
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
    Record { sequence, at, audience, except, content, publisher, number, gateways, matched }
}

fn group(name: impl ToString) -> Audience {
    Audience::Group(GroupName::new(name.to_string()).unwrap())
}

fn frame(sequence: u64, audience: Audience, content: &'static str) -> EncodedFrame {
    FromBroker::Event(Event { sequence, audience, except: None, content: content.into() }).encode()
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
fn what_comes_after_a_sequence_is_answered_in_order() {
    let log = log_of(opening(), &["a", "b"], KEEP_UNTIL);
    let (a, b) = (frame(1, group("g"), "a"), frame(2, group("g"), "b"));
    assert_eq!(after(&log, 0), [a, b.clone()]);
    assert_eq!(after(&log, 1), [b]);
    assert_eq!(after(&log, 2), []);
    assert_eq!(log.head(), Position { epoch: EPOCH, sequence: 2 });
}

#[test]
fn the_past_of_an_audience_is_its_newest_events_within_the_limit() {
    let mut log = Log::new(opening());
    for (sequence, name) in (1..).zip(["a", "b", "a", "a"]) {
        log.append(&record(sequence, group(name), "1234".into(), KEEP_UNTIL));
    }
    let past = |max_bytes| log.past(&group("a"), max_bytes);
    let frames = |sequences: &[u64]| -> Vec<_> {
        sequences.iter().map(|sequence| frame(*sequence, group("a"), "1234")).collect()
    };
    let all = Past { expired: 0, left_out: 0, frames: frames(&[1, 3, 4]) };
    let each = 4 + EACH_BYTES;
    assert_eq!(past(3 * each), all);
    assert_eq!(past(3 * each - 1), Past { expired: 0, left_out: 1, frames: frames(&[3, 4]) });
    assert_eq!(past(0), Past { expired: 0, left_out: 3, frames: frames(&[4]) }, "at least one");
    assert_eq!(log.past(&group("quiet"), 1), Past { expired: 0, left_out: 0, frames: vec![] });
}

#[test]
fn a_quiet_audience_has_lost_nothing_while_others_are_trimmed() {
    let room_for_two = Opening { max_bytes: 2 * (ENTRY_OVERHEAD_BYTES + 4), ..opening() };
    let mut log = log_of(room_for_two, &["1", "2", "3", "4"], Duration::ZERO);
    let trimmed = trim(&mut log, Duration::ZERO);
    assert_eq!(trimmed.last, [(group("g"), 1), (group("g"), 2)]);
    assert_eq!((log.lost_up_to(&group("g")), log.lost_up_to(&group("quiet"))), (2, 0));
    assert_eq!(log.past(&group("g"), 100).expired, 2);
    assert_eq!(log.tail(), 2);
}

#[test]
fn what_an_earlier_broker_dropped_is_known() {
    let trimmed = vec![(group("b"), 20), (group("a"), 10)];
    let log = Log::new(Opening { head: 30, floor: 5, trimmed, ..opening() });
    let lost = ["a", "b", "c"].map(|name| log.lost_up_to(&group(name)));
    assert_eq!(lost, [10, 20, 5]);
    assert_eq!(log.head().sequence, 30);
}

#[test]
fn until_gateways_had_time_to_return_nothing_is_too_old() {
    let mut log = log_of(opening(), &["a"], Duration::ZERO);
    assert_eq!(trim(&mut log, KEEP_UNTIL - Duration::from_nanos(1)).last, []);
    assert_eq!(trim(&mut log, KEEP_UNTIL).last, [(group("g"), 1)]);
}

#[test]
fn old_events_are_dropped_and_their_memory_with_them() {
    let mut log = log_of(opening(), &["x"; 1_000], KEEP_UNTIL);
    let due = KEEP_UNTIL + AGE;
    assert_eq!(trim(&mut log, due - Duration::from_nanos(1)).last, []);
    assert_eq!(trim(&mut log, due).last.len(), 1_000);
    assert_eq!((log.kept_bytes, log.entries.capacity(), log.by_audience.capacity()), (0, 0, 0));
}

#[test]
fn a_clock_that_went_back_only_keeps_more() {
    let mut log = log_of(opening(), &["a"], KEEP_UNTIL + AGE);
    assert_eq!(trim(&mut log, KEEP_UNTIL).last, []);
}

#[test]
fn a_new_epoch_is_empty_and_its_sequences_go_on() {
    let log = log_of(opening(), &["a", "b"], KEEP_UNTIL).begin_epoch(EPOCH + 1, 5);
    assert_eq!(log.head(), Position { epoch: EPOCH + 1, sequence: 5 });
    assert_eq!(after(&log, 0), []);
    assert_eq!(log.lost_up_to(&group("g")), 5);
}

#[test]
fn the_overhead_covers_the_entry_its_place_in_the_index_and_a_frame_head() {
    let index = 2 * size_of::<(Audience, VecDeque<u64>)>() + 4 * size_of::<u64>() + 2;
    assert!(2 * size_of::<Entry>() + index + 128 <= ENTRY_OVERHEAD_BYTES);
}

proptest! {
    /// The model: every event that was ever kept, and what the rules say about it.
    #[test]
    fn what_is_kept_is_the_newest_within_age_and_bytes(
        steps in prop::collection::vec((0usize..200, 0u64..90, 0u8..4, 0u64..600), 0..80),
        max_bytes in 1_000usize..6_000,
    ) {
        let mut log = Log::new(Opening { max_bytes, ..opening() });
        let mut model: Vec<(Duration, u8, usize)> = Vec::new();
        let mut dropped = 0;
        let mut now = KEEP_UNTIL - Duration::from_secs(200);
        for (len, wait, name, max_past) in steps {
            now += Duration::from_secs(wait);
            let content = Content::Binary(Bytes::from(vec![0; len]));
            let sequence = model.len() as u64 + 1;
            log.append(&record(sequence, group(name), content, now));
            model.push((now, name, len));
            let cost = |(_, _, len): &(Duration, u8, usize)| len + 3 + ENTRY_OVERHEAD_BYTES;
            let kept = |dropped: usize| model[dropped..].iter().map(cost).sum::<usize>();
            let mut last = Vec::new();
            let is_old = |at: Duration| now >= KEEP_UNTIL && at + AGE <= now;
            while dropped < model.len()
                && (kept(dropped) > max_bytes || is_old(model[dropped].0))
            {
                dropped += 1;
                last.push((group(model[dropped - 1].1), dropped as u64));
            }
            prop_assert_eq!(trim(&mut log, now).last, last);
            prop_assert_eq!(log.kept_bytes, kept(dropped));
            prop_assert_eq!(log.tail(), dropped as u64);
            let of_each: BTreeMap<u8, Vec<usize>> = (0..4)
                .map(|name| (name, (0..model.len()).filter(|i| model[*i].1 == name).collect()))
                .collect();
            for (name, places) in of_each {
                let lost = places.iter().filter(|i| **i < dropped).max().map_or(0, |i| i + 1);
                let past = log.past(&group(name), max_past);
                prop_assert_eq!(past.expired, lost as u64);
                let kept: Vec<_> = places.into_iter().filter(|i| *i >= dropped).collect();
                let mut bytes = 0;
                let fits = |i: &&usize| {
                    bytes += model[**i].2 as u64 + EACH_BYTES;
                    bytes <= max_past || Some(*i) == kept.last()
                };
                let count = kept.iter().rev().take_while(fits).count();
                prop_assert_eq!(past.frames.len(), count);
                let left_out = kept.len().checked_sub(count + 1).map(|i| kept[i] as u64 + 1);
                prop_assert_eq!(past.left_out, left_out.unwrap_or(lost as u64));
            }
        }
    }
}
