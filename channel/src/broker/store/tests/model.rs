//! Random histories against a naive model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<Change>),
    NextWorker(u64),
    Epoch,
    Close,
    Drop,
}

/// The number of events, their size, an id to remember, an id to forget, and a trim.
type Change = (u64, usize, Option<u64>, Option<u64>, Option<Trimming>);

/// The number of events that stay, an audience to remember, an audience to evict, and the floor.
type Trimming = (u64, u64, u64, u64);

fn step() -> impl Strategy<Value = Step> {
    let trimming = (0u64..30, 0u64..6, 0u64..6, 0u64..100);
    let change = (
        0u64..5,
        0usize..3_000,
        prop::option::of(0u64..12),
        prop::option::of(0u64..12),
        prop::option::of(trimming),
    );
    prop_oneof![
        8 => prop::collection::vec(change, 1..4).prop_map(Step::Write),
        1 => any::<u64>().prop_map(Step::NextWorker),
        1 => Just(Step::Epoch),
        1 => Just(Step::Close),
        2 => Just(Step::Drop),
    ]
}

#[derive(Debug, Default)]
struct Model {
    epoch: u64,
    head: u64,
    next_worker: u64,
    events: Vec<Record>,
    ids: BTreeMap<RepeatKey, KnownId>,
    trimmed: BTreeMap<Audience, u64>,
    floor: u64,
}

impl Model {
    fn new_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.events.clear();
        self.ids.clear();
        self.trimmed.clear();
        self.floor = 0;
    }

    fn write(&mut self, changes: &[Changes]) {
        for change in changes.iter().cloned() {
            self.head += change.events.len() as u64;
            self.events.extend(change.events);
            for key in change.forgotten_ids {
                self.ids.remove(&key);
            }
            self.ids.extend(change.ids.into_iter().map(|id| (id.key.clone(), id)));
            let Some(trim) = change.trim else { continue };
            self.events.retain(|record| record.sequence >= trim.below);
            self.floor = self.floor.max(trim.floor);
            for audience in trim.evicted {
                self.trimmed.remove(&audience);
            }
            self.trimmed.extend(trim.last);
        }
    }

    fn expected(&self) -> Recovered {
        Recovered {
            epoch: self.epoch,
            head: self.head,
            next_worker: self.next_worker,
            events: self.events.clone(),
            ids: self.ids.values().cloned().collect(),
            trimmed: self.trimmed.clone().into_iter().collect(),
            floor: self.floor,
            torn_bytes: 0,
        }
    }
}

fn sorted(mut recovered: Recovered) -> Recovered {
    recovered.ids.sort_by(|a, b| a.key.cmp(&b.key));
    recovered.trimmed.sort();
    recovered
}

fn change(head: &mut u64, (count, len, id, forgotten, trimming): Change) -> Changes {
    let first = *head + 1;
    *head += count;
    let trim = trimming.map(|(kept, last, evicted, floor)| Trim {
        below: (*head + 1).saturating_sub(kept),
        last: vec![(group(last), *head)],
        evicted: vec![group(evicted)],
        floor,
    });
    Changes {
        ids: id.map(known).into_iter().collect(),
        forgotten_ids: forgotten.map(key).into_iter().collect(),
        trim,
        ..events(first..=*head, len)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_was_written_is_found_again(
        steps in prop::collection::vec(step(), 1..60),
        durability in prop::sample::select(vec![Durability::Disk, Durability::Written, Durability::Memory]),
    ) {
        let dir = temp();
        let mut epoch = 100;
        let mut model = Model { epoch: EPOCH, ..Model::default() };
        let (mut store, recovered) = open(dir.path(), durability);
        prop_assert_eq!(sorted(recovered), model.expected());
        for step in steps {
            let clean = matches!(step, Step::Close);
            match step {
                Step::Write(changes) => {
                    let mut head = model.head;
                    let changes: Vec<_> =
                        changes.into_iter().map(|spec| change(&mut head, spec)).collect();
                    store.write(&changes).unwrap();
                    model.write(&changes);
                }
                Step::NextWorker(next) => {
                    store.set_next_worker(next).unwrap();
                    model.next_worker = next;
                }
                Step::Epoch => {
                    epoch += 1;
                    store.set_epoch(epoch).unwrap();
                    model.new_epoch(epoch);
                }
                Step::Close | Step::Drop => {
                    if clean { store.close().unwrap() } else { drop(store) }
                    if !clean && durability == Durability::Memory {
                        epoch += 1;
                        model.new_epoch(epoch);
                    }
                    let found;
                    (store, found) =
                        Store::open_in(dir.path(), durability, BOOT, |_| Ok(IDENTITY), || epoch).unwrap();
                    prop_assert_eq!(sorted(found), model.expected());
                }
            }
        }
        store.close().unwrap();
        prop_assert_eq!(sorted(open(dir.path(), durability).1), model.expected());
    }
}
