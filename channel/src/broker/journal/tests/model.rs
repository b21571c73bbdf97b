//! Random histories against a naive model.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Order {
    Append {
        count: u64,
        synced: bool,
    },
    Roll,
    /// A piece of a snapshot, and whether it is the last one.
    State(bool),
    /// Blocks that are needed from this one on, counted from the end.
    Trim(u64),
    Epoch,
    Close,
    Drop,
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        8 => (1u64..9, any::<bool>()).prop_map(|(count, synced)| Order::Append { count, synced }),
        4 => Just(Order::Roll),
        8 => any::<bool>().prop_map(Order::State),
        4 => (0u64..30).prop_map(Order::Trim),
        1 => Just(Order::Epoch),
        1 => Just(Order::Close),
        2 => Just(Order::Drop),
    ]
}

#[derive(Debug)]
struct Model {
    epoch: u64,
    last: u64,
    /// The blocks after which there is a snapshot, with it.
    snapshots: Vec<(u64, Vec<u8>)>,
    after: u64,
    /// What is there of a snapshot that is waited for, and for which segment.
    pending: Option<(u64, Vec<u8>)>,
}

impl Model {
    fn begin(&mut self, epoch: u64, first: u64) {
        *self = Self {
            epoch,
            last: first - 1,
            snapshots: vec![(first - 1, state(first))],
            after: first - 1,
            pending: None,
        };
    }

    fn trim(&mut self, needed: u64) {
        for (after, _) in &self.snapshots {
            if *after < needed && *after > self.after {
                self.after = *after;
            }
        }
    }

    fn check(&self, log: &Log) {
        let kept = self.snapshots.iter().find(|(after, _)| *after == self.after);
        assert_eq!((log.epoch, log.after), (self.epoch, self.after));
        assert_eq!(log.state.as_ref(), kept.map(|(_, content)| content));
        assert_eq!(log.blocks, (self.after + 1..=self.last).collect::<Vec<_>>());
        assert_eq!(log.torn_bytes, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_was_appended_is_found_again(
        orders in prop::collection::vec(order(), 1..80),
        durability in prop::sample::select(MODES.to_vec()),
    ) {
        let dir = temp();
        let (mut segments, log) = open(dir.path(), durability);
        let mut model =
            Model { epoch: EPOCH, last: 0, snapshots: vec![], after: 0, pending: None };
        model.check(&log);
        let mut epoch = 100;
        for order in orders {
            match order {
                Order::Append { count, synced } => for _ in 0..count {
                    model.last += 1;
                    segments.append(model.last, &block(model.last), synced).unwrap();
                },
                Order::Roll if model.pending.is_none() && segments.segment_bytes() > 52 => {
                    segments.roll(model.last + 1).unwrap();
                    model.pending = Some((model.last, Vec::new()));
                }
                Order::Roll => {}
                Order::State(is_last) => if let Some((after, mut content)) = model.pending.take() {
                    content.extend_from_slice(b"piece");
                    segments.add_state(b"piece", is_last).unwrap();
                    if is_last {
                        model.snapshots.push((after, content));
                    } else {
                        model.pending = Some((after, content));
                    }
                },
                Order::Trim(kept) => {
                    let needed = model.last.saturating_sub(kept);
                    segments.trim(needed).unwrap();
                    model.trim(needed);
                }
                Order::Epoch => {
                    epoch += 1;
                    let first = model.last + 2;
                    segments.begin_epoch(epoch, first, &state(first)).unwrap();
                    model.begin(epoch, first);
                }
                Order::Close | Order::Drop => {
                    let clean = matches!(order, Order::Close);
                    if clean { segments.close().unwrap() } else { drop(segments) }
                    model.pending = None;
                    let log;
                    (segments, log) = open(dir.path(), durability);
                    model.check(&log);
                    prop_assert_eq!(log.renewal.is_some(), !clean && durability == Durability::Memory);
                    if let Some(Renewal { first, .. }) = log.renewal {
                        epoch += 1;
                        segments.begin_epoch(epoch, first, &state(first)).unwrap();
                        model.begin(epoch, first);
                    }
                }
            }
        }
        segments.close().unwrap();
        model.check(&open(dir.path(), durability).1);
    }
}
