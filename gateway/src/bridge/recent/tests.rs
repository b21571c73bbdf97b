use std::collections::HashSet;

use campanile_messages::{Content, GroupName, Position};
use proptest::prelude::*;

use super::*;

const MAX: usize = 1 << 20;

fn group(name: u8) -> Audience {
    Audience::Group(GroupName::new(name.to_string()).expect("a name"))
}

fn event(sequence: u64, audience: &Audience) -> Arc<Framed> {
    let position = Position { epoch: 1, sequence };
    Framed::new(Some((position, audience.clone())), Content::from("1234"))
}

fn sequences(missed: Missed) -> Vec<u64> {
    match missed {
        Missed::Events(events) => events.iter().map(|event| event.sequence()).collect(),
        other => panic!("{other:?}"),
    }
}

fn unknown(missed: Missed) -> Vec<Audience> {
    match missed {
        Missed::Unknown(audiences) => audiences,
        other => panic!("{other:?}"),
    }
}

fn lost(missed: Missed) -> Lost {
    match missed {
        Missed::Lost(lost) => lost,
        other => panic!("{other:?}"),
    }
}

#[test]
fn live_events_are_known_from_the_first_one_on() {
    let mut recent = Recent::new(1 << 20);
    let audiences = [group(1), group(2)];
    recent.add(4, &group(1), event(5, &group(1)));
    assert_eq!(unknown(recent.missed(4, &audiences, MAX)), [group(2)]);
    recent.add(6, &group(2), event(7, &group(2)));
    recent.add(8, &group(1), event(9, &group(1)));
    assert_eq!(sequences(recent.missed(6, &audiences, MAX)), [7, 9]);
    assert_eq!(sequences(recent.missed(4, &audiences[..1], MAX)), [5, 9]);
    assert_eq!(unknown(recent.missed(3, &audiences, MAX)), audiences);
}

#[test]
fn fetched_events_precede_live_ones_and_others_are_lost() {
    let mut recent = Recent::new(1 << 20);
    recent.add(8, &group(1), event(9, &group(1)));
    let events = [5, 9].map(|sequence| event(sequence, &group(1))).to_vec();
    recent.add_past(&group(1), Past { expired: 2, complete_after: 4, events });
    let missed = |since| recent.missed(since, &[group(1)], MAX);
    assert_eq!(sequences(missed(4)), [5, 9]);
    assert_eq!(sequences(missed(7)), [9]);
    assert_eq!(unknown(missed(3)), [group(1)]);
    assert_eq!(lost(missed(1)), Lost::Expired);
}

#[test]
fn several_events_beyond_the_bound_are_too_far() {
    let mut recent = Recent::new(1 << 20);
    let each = 4 + SLICE_BYTES;
    for sequence in 5..8 {
        recent.add(sequence - 1, &group(1), event(sequence, &group(1)));
    }
    let missed = |since, max_bytes| recent.missed(since, &[group(1), group(2)], max_bytes);
    assert_eq!(lost(missed(4, 3 * each - 1)), Lost::TooFar);
    assert_eq!(unknown(missed(4, 3 * each)), [group(2)]);
    assert_eq!(lost(missed(3, 3 * each - 1)), Lost::TooFar, "the events that are here are enough");
    assert_eq!(unknown(missed(6, 0)), [group(2)], "one event may have any size");
    assert_eq!(lost(missed(5, 0)), Lost::TooFar);
}

#[test]
fn a_quiet_audience_is_asked_about_once() {
    let mut recent = Recent::new(1 << 20);
    recent.add_past(&group(1), Past { expired: 2, complete_after: 2, events: vec![] });
    assert!(sequences(recent.missed(2, &[group(1)], MAX)).is_empty());
    recent.forget(&group(1));
    assert_eq!(unknown(recent.missed(2, &[group(1)], MAX)), [group(1)]);
}

fn history(recent: &Recent, max: usize, names: &[u8]) -> (Vec<u64>, bool, Vec<Audience>) {
    let audiences: Vec<_> = names.iter().map(|name| group(*name)).collect();
    let (found, unknown) = recent.history(max, &audiences, MAX);
    let sequences = found.events.iter().map(|event| event.sequence()).collect();
    (sequences, found.is_complete, unknown)
}

fn past(name: u8, expired: u64, complete_after: u64, sequences: &[u64]) -> Past {
    let events = sequences.iter().map(|sequence| event(*sequence, &group(name))).collect();
    Past { expired, complete_after, events }
}

#[test]
fn a_new_listener_gets_the_newest_of_all_its_audiences() {
    let mut recent = Recent::new(1 << 20);
    recent.add_past(&group(1), past(1, 0, 0, &[2, 5, 9]));
    recent.add_past(&group(2), past(2, 0, 0, &[3, 8]));
    let all = usize::MAX;
    assert_eq!(history(&recent, all, &[1, 2]), (vec![2, 3, 5, 8, 9], true, vec![]));
    assert_eq!(history(&recent, 5, &[1, 2]), (vec![2, 3, 5, 8, 9], true, vec![]));
    assert_eq!(history(&recent, 4, &[1, 2]), (vec![3, 5, 8, 9], false, vec![]));
    assert_eq!(history(&recent, 1, &[2]), (vec![8], false, vec![]));
    assert_eq!(history(&recent, all, &[]), (vec![], true, vec![]));
}

#[test]
fn a_history_with_expired_events_is_incomplete() {
    let mut recent = Recent::new(1 << 20);
    recent.add_past(&group(1), past(1, 4, 4, &[5, 9]));
    recent.add_past(&group(2), past(2, 0, 0, &[3, 8]));
    assert_eq!(history(&recent, 9, &[1, 2]), (vec![5, 8, 9], false, vec![]));
    assert_eq!(history(&recent, 9, &[2]), (vec![3, 8], true, vec![]));
}

#[test]
fn an_event_is_left_out_of_a_history_that_lacks_a_later_one() {
    let mut recent = Recent::new(1 << 20);
    recent.add(0, &group(1), event(1, &group(1)));
    recent.add_past(&group(1), past(1, 1, 1, &[]));
    recent.add_past(&group(2), past(2, 2, 2, &[]));
    assert_eq!(history(&recent, 1, &[1, 2]), (vec![], false, vec![]), "2 is lost");
    assert_eq!(history(&recent, 1, &[1]), (vec![1], false, vec![]));
}

#[test]
fn a_history_ends_where_an_audience_is_unknown() {
    let mut recent = Recent::new(1 << 20);
    recent.add_past(&group(1), past(1, 0, 0, &[2, 5, 9]));
    recent.add(6, &group(2), event(7, &group(2)));
    let unknown = vec![group(2)];
    assert_eq!(history(&recent, 3, &[1, 2]), (vec![7, 9], false, unknown));
    assert_eq!(history(&recent, 1, &[1, 2]), (vec![9], false, vec![]), "that is enough");
    assert_eq!(history(&recent, 9, &[3]), (vec![], false, vec![group(3)]));
}

#[test]
fn a_history_has_whole_events_or_one_of_any_size() {
    let mut recent = Recent::new(1 << 20);
    recent.add_past(&group(1), past(1, 0, 0, &[2, 5, 9]));
    let each = 4 + SLICE_BYTES;
    for (max_bytes, count) in [(3 * each, 3), (3 * each - 1, 2), (each, 1), (0, 1)] {
        let (found, unknown) = recent.history(usize::MAX, &[group(1)], max_bytes);
        assert_eq!((found.len(), found.is_complete), (count, count == 3), "{max_bytes}");
        assert_eq!(unknown, []);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Live(u8),
    Ask(u8),
    Forget(u8),
    Trim(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..4).prop_map(Step::Live),
        2 => (0u8..4).prop_map(Step::Ask),
        1 => (0u8..4).prop_map(Step::Forget),
        2 => any::<bool>().prop_map(Step::Trim),
    ]
}

proptest! {
    /// The model: all events that were ever published, and the audiences that have listeners. Every
    /// answer has all events that belong to it, and the bound holds.
    #[test]
    fn no_answer_has_a_hole(steps in prop::collection::vec(step(), 0..80)) {
        let max_bytes = 6 * (OVERHEAD_BYTES + 12);
        let mut recent = Recent::new(max_bytes);
        let mut all: Vec<(u64, u8)> = Vec::new();
        let mut heard: HashSet<u8> = HashSet::new();
        for step in steps {
            match step {
                Step::Live(name) => {
                    let sequence = all.len() as u64 + 1;
                    all.push((sequence, name));
                    if heard.contains(&name) {
                        recent.add(sequence - 1, &group(name), event(sequence, &group(name)));
                    }
                }
                Step::Ask(name) => {
                    heard.insert(name);
                    let of_it = all.iter().filter(|(_, of)| *of == name);
                    let events = of_it.map(|(s, _)| event(*s, &group(name))).collect();
                    let past = Past { expired: 0, complete_after: 0, events };
                    recent.add_past(&group(name), past);
                }
                Step::Forget(name) => {
                    heard.remove(&name);
                    recent.forget(&group(name));
                }
                Step::Trim(is_fetching) => {
                    recent.trim(is_fetching);
                    let times = if is_fetching { WHILE_FETCHING } else { 1 };
                    prop_assert!(recent.bytes <= times * max_bytes);
                }
            }
            let held: usize = recent.tails.values().map(|tail| tail.events.len()).sum();
            prop_assert_eq!(held * (OVERHEAD_BYTES + 12), recent.bytes);
            prop_assert_eq!(held, recent.by_sequence.len());
            for (names, max) in [(&[0][..], 2), (&[1, 2], 3), (&[0, 1, 2, 3], usize::MAX)] {
                let (found, is_complete, unknown) = history(&recent, max, names);
                let there = all.iter().filter(|(_, name)| names.contains(name));
                let there: Vec<_> = there.map(|(sequence, _)| *sequence).collect();
                prop_assert!(there.ends_with(&found), "a hole: {found:?} of {there:?}");
                prop_assert_eq!(is_complete, unknown.is_empty() && found.len() == there.len());
                if unknown.is_empty() {
                    prop_assert_eq!(found.len(), there.len().min(max));
                }
            }
            for since in 0..=all.len() as u64 {
                for names in [&[0][..], &[1, 2], &[0, 1, 2, 3]] {
                    let audiences: Vec<_> = names.iter().map(|name| group(*name)).collect();
                    match recent.missed(since, &audiences, MAX) {
                        Missed::Lost(lost) => panic!("{lost:?}"),
                        Missed::Unknown(_) => {}
                        missed => {
                            let expected: Vec<_> = all
                                .iter()
                                .filter(|(s, name)| *s > since && names.contains(name))
                                .map(|(sequence, _)| *sequence)
                                .collect();
                            let bytes = expected.len() * (4 + SLICE_BYTES);
                            prop_assert_eq!(sequences(missed), expected);
                            if let Some(less) = bytes.checked_sub(1) {
                                let missed = recent.missed(since, &audiences, less);
                                let is_one = bytes == 4 + SLICE_BYTES;
                                prop_assert_eq!(matches!(missed, Missed::Events(_)), is_one);
                            }
                        }
                    }
                }
            }
        }
    }
}
