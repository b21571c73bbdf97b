use proptest::prelude::*;

use super::source::{COUNTER_BITS, FIRST_DRAWN, MAX_AHEAD, NO_INCARNATION, RESERVED_IDS};
use super::*;

const A: InstanceId = InstanceId(1);
const AWAY_LIMIT: Duration = Duration::from_secs(10);
const B: InstanceId = InstanceId(2);

fn ids_from(incarnations: impl IntoIterator<Item = u32, IntoIter: 'static>) -> WorkerIds {
    let mut incarnations = incarnations.into_iter();
    let random = move || incarnations.next().expect("incarnations are enough") << 1;
    WorkerIds::new(Supply::Drawn(Box::new(random)), Duration::ZERO, AWAY_LIMIT)
}

fn id(incarnation: u64, counter: u64) -> WorkerId {
    WorkerId(FIRST_DRAWN | incarnation << COUNTER_BITS | counter)
}

fn link(number: u64) -> LinkNumber {
    LinkNumber(number)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn every_worker_gets_an_id_of_its_own() {
    let mut ids = ids_from([5]);
    let of_a = ids.take(A, link(1), 2, vec![]);
    assert_eq!(of_a, Ok(vec![id(5, 0), id(5, 1)]));
    assert_eq!(ids.take(B, link(2), 1, vec![]), Ok(vec![id(5, 2)]));
    assert_eq!(ids.find(id(5, 1), AWAY_LIMIT), Whereabouts::At(link(1)));
    assert_eq!(ids.find(id(5, 2), AWAY_LIMIT), Whereabouts::At(link(2)));
    assert_eq!(ids.find(id(5, 3), AWAY_LIMIT), Whereabouts::Unknown);
}

#[test]
fn a_used_up_incarnation_is_followed_by_another() {
    const LAST: u32 = NO_INCARNATION - 1;
    let mut ids = ids_from([LAST, NO_INCARNATION, 9]);
    assert_eq!(ids.next(), id(u64::from(LAST), 0));
    let IdSource::Drawn(drawn) = &mut ids.source else { unreachable!() };
    drawn.counter = (1 << COUNTER_BITS) - 1;
    assert_eq!(ids.next(), id(u64::from(LAST), (1 << COUNTER_BITS) - 1));
    assert_eq!(ids.next(), id(9, 0));
}

#[test]
fn a_new_broker_gives_earlier_workers_time_to_return() {
    let mut ids = ids_from([5]);
    ids.take(A, link(1), 1, vec![]).unwrap();
    let early = AWAY_LIMIT - Duration::from_nanos(1);
    assert_eq!(ids.find(id(6, 0), early), Whereabouts::Away);
    assert_eq!(ids.find(id(6, 0), AWAY_LIMIT), Whereabouts::Unknown);
    // Nobody has an id that no broker gives out, or that this one has not given out.
    for nobody in [WorkerId(0), WorkerId(FIRST_DRAWN - 1), WorkerId(ID_LIMIT - 1), id(5, 1)] {
        assert_eq!(ids.find(nobody, early), Whereabouts::Unknown, "{nobody}");
    }
}

#[test]
fn ids_of_another_broker_are_kept_and_never_given_out() {
    let mut ids = ids_from([5]);
    let held = vec![id(5, 1), id(77, 0)];
    assert_eq!(ids.take(A, link(1), 2, held.clone()), Ok(held));
    assert_eq!(ids.take(B, link(2), 2, vec![]), Ok(vec![id(5, 0), id(5, 2)]));
}

#[test]
fn an_id_of_another_gateway_is_refused() {
    let mut ids = ids_from([5]);
    ids.take(A, link(1), 1, vec![]).unwrap();
    let taken = InvalidWorkers::Taken { id: id(5, 0), instance: A };
    assert_eq!(ids.take(B, link(2), 1, vec![id(5, 0)]), Err(taken));
    assert_eq!(ids.find(id(5, 0), AWAY_LIMIT), Whereabouts::At(link(1)));
    ids.leave(A, link(1), secs(0));
    assert_eq!(ids.take(B, link(3), 1, vec![id(5, 0)]), Err(taken));
}

#[test]
fn a_hello_that_contradicts_itself_is_refused() {
    let mut ids = ids_from([5]);
    let mut take = |workers, held: &[u64]| {
        let held = held.iter().copied().map(WorkerId).collect();
        ids.take(A, link(1), workers, held)
    };
    assert_eq!(take(0, &[]), Err(InvalidWorkers::Count { workers: 0 }));
    assert_eq!(take(1_025, &[]), Err(InvalidWorkers::Count { workers: 1_025 }));
    assert_eq!(take(2, &[1]), Err(InvalidWorkers::HeldCount { held: 1, workers: 2 }));
    assert_eq!(take(2, &[1, 1]), Err(InvalidWorkers::Repeated(WorkerId(1))));
    assert_eq!(take(1, &[ID_LIMIT]), Err(InvalidWorkers::TooLarge(WorkerId(ID_LIMIT))));
}

#[test]
fn a_gateway_without_a_link_is_away_first_and_then_unknown() {
    let mut ids = ids_from([5]);
    ids.take(A, link(1), 1, vec![]).unwrap();
    ids.leave(A, link(1), secs(3));
    ids.expire(secs(13) - Duration::from_nanos(1));
    assert_eq!(ids.find(id(5, 0), AWAY_LIMIT), Whereabouts::Away);
    ids.expire(secs(13));
    assert_eq!(ids.find(id(5, 0), AWAY_LIMIT), Whereabouts::Unknown);
    assert!(ids.gateways.is_empty() && ids.holders.is_empty() && ids.left.is_empty());
}

#[test]
fn a_gateway_that_came_back_is_not_forgotten() {
    let mut ids = ids_from([5]);
    let held = ids.take(A, link(1), 1, vec![]).unwrap();
    ids.leave(A, link(1), secs(0));
    ids.take(A, link(2), 1, held.clone()).unwrap();
    ids.leave(A, link(1), secs(1));
    ids.expire(secs(60));
    assert_eq!(ids.find(held[0], AWAY_LIMIT), Whereabouts::At(link(2)));
}

#[test]
fn the_ids_of_gateways_without_a_link_are_bounded() {
    let mut ids = ids_from(1..);
    for instance in 0..1_000 {
        let instance = InstanceId(instance);
        ids.take(instance, link(instance.0), MAX_WORKERS, vec![]).unwrap();
        ids.leave(instance, link(instance.0), secs(0));
    }
    assert_eq!(ids.holders.len(), MAX_AWAY_IDS);
    assert_eq!(ids.find(id(1, 0), AWAY_LIMIT), Whereabouts::Unknown);
}

proptest! {
    /// The model is all ids that were ever given out, and who holds which of them on what link.
    #[test]
    fn no_id_is_given_out_twice_and_each_is_found(
        steps in prop::collection::vec((0u64..4, 0u8..3, 1u16..4, 0u64..6), 0..60),
    ) {
        let mut ids = ids_from(1..);
        let mut given = HashSet::new();
        let mut model: HashMap<u64, (Vec<WorkerId>, LinkNumber, bool)> = HashMap::new();
        let mut now = Duration::ZERO;
        for (number, (instance, action, workers, wait)) in steps.into_iter().enumerate() {
            let number = link(number as u64);
            match action {
                0 => {
                    let new = ids.take(InstanceId(instance), number, workers, vec![]).unwrap();
                    prop_assert_eq!(new.len(), usize::from(workers));
                    prop_assert!(new.iter().all(|id| given.insert(*id)));
                    model.insert(instance, (new, number, true));
                }
                1 => {
                    if let Some((held, link, linked)) = model.get_mut(&instance) {
                        let workers = held.len() as u16;
                        let kept = ids.take(InstanceId(instance), number, workers, held.clone());
                        prop_assert_eq!(kept.as_ref(), Ok(&*held));
                        (*link, *linked) = (number, true);
                    }
                }
                _ => {
                    if let Some((_, link, linked)) = model.get_mut(&instance) {
                        ids.leave(InstanceId(instance), *link, now);
                        *linked = false;
                    }
                }
            }
            now += secs(wait);
            ids.expire(now);
            for (held, link, linked) in model.values() {
                for id in held {
                    let found = ids.find(*id, AWAY_LIMIT);
                    if *linked {
                        prop_assert_eq!(found, Whereabouts::At(*link));
                    } else {
                        prop_assert!(!matches!(found, Whereabouts::At(_)));
                    }
                }
            }
        }
    }
}

fn counted(next: u64) -> WorkerIds {
    WorkerIds::new(Supply::Counted(next), Duration::ZERO, AWAY_LIMIT)
}

fn take(ids: &mut WorkerIds, workers: u16, held: &[u64]) -> Result<Vec<WorkerId>, InvalidWorkers> {
    let number = ids.gateways.len() as u64;
    let held = held.iter().copied().map(WorkerId).collect();
    ids.take(InstanceId(100 + number), link(number), workers, held)
}

#[test]
fn a_claim_far_above_the_counter_is_refused() {
    let mut ids = counted(4);
    let far = 4 + MAX_AHEAD;
    let refused = InvalidWorkers::TooFarAhead { id: WorkerId(far), next: 4 };
    assert_eq!(take(&mut ids, 1, &[far]), Err(refused));
    assert_eq!(ids.next_counted(), Some(4));
    // It is refused in steps, too.
    assert!(take(&mut ids, 1, &[far - 1]).is_ok());
    assert_eq!(ids.next_counted(), Some(far));
    let refused = InvalidWorkers::TooFarAhead { id: WorkerId(far), next: far };
    assert_eq!(take(&mut ids, 1, &[far]), Err(refused));
    assert_eq!(take(&mut ids, 1, &[]), Ok(vec![WorkerId(far)]));
}

#[test]
fn drawn_ids_do_not_move_the_counter() {
    let mut ids = counted(4);
    let drawn = ID_LIMIT - 2;
    assert_eq!(take(&mut ids, 1, &[drawn]), Ok(vec![WorkerId(drawn)]));
    assert_eq!(take(&mut ids, 1, &[]), Ok(vec![WorkerId(4)]));
    assert_eq!(ids.find(WorkerId(drawn), AWAY_LIMIT), Whereabouts::At(link(0)));
}

#[test]
fn no_id_is_given_out_that_is_not_reserved_on_disk() {
    let mut ids = counted(0);
    assert!(!ids.must_wait(MAX_WORKERS));
    assert_eq!(ids.ids_to_reserve(), None);
    take(&mut ids, MAX_WORKERS, &[]).unwrap();
    take(&mut ids, MAX_WORKERS, &[]).unwrap();
    let up_to = 2 * u64::from(MAX_WORKERS) + RESERVED_IDS;
    assert_eq!(ids.ids_to_reserve(), Some(up_to));
    assert_eq!(ids.ids_to_reserve(), None, "the request is under way");
    take(&mut ids, MAX_WORKERS, &[]).unwrap();
    take(&mut ids, MAX_WORKERS, &[]).unwrap();
    assert!(ids.must_wait(1));
    ids.reserved(up_to);
    assert!(!ids.must_wait(MAX_WORKERS));
    assert_eq!(ids.ids_to_reserve(), Some(RESERVED_IDS * 2));
}

#[test]
fn ids_that_are_used_up_are_refused() {
    for limit in [FIRST_DRAWN, ID_LIMIT] {
        let mut ids = counted(limit - 2);
        assert_eq!(reserved_from(limit - 2), limit);
        assert!(!ids.must_wait(3));
        assert_eq!(take(&mut ids, 3, &[]), Err(InvalidWorkers::UsedUp));
        assert!(take(&mut ids, 2, &[]).is_ok());
        assert_eq!(take(&mut ids, 1, &[]), Err(InvalidWorkers::UsedUp));
        assert_eq!(ids.ids_to_reserve(), None);
    }
}
