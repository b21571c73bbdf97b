use proptest::prelude::*;

use super::*;

/// Of 1,000 bytes: 500 unfinished, 250 of them of one peer; 750 of one peer.
const SHARES: (usize, usize, usize) = (1_000, 1, 1);

fn budget() -> Budget {
    let (whole, content, body) = SHARES;
    Budget::new(Shares::of(whole, content, body))
}

fn peer(last: u8) -> Peer {
    Peer::of(Some([127, 0, 0, last].into()))
}

/// So many unfinished bytes that are counted.
fn counted(bytes: usize) -> usize {
    FREE_BYTES + bytes
}

#[test]
fn the_default_shares_are_those_of_the_documentation() {
    let shares = Shares::of(64 << 20, 1 << 20, 8 << 20);
    let expected = Shares {
        whole_bytes: 64 << 20,
        unfinished_bytes: 32 << 20,
        unfinished_bytes_of_peer: 16 << 20,
        bytes_of_peer: 48 << 20,
        bytes_of_stream: 8 << 20,
    };
    assert_eq!(shares, expected);
}

#[test]
fn a_small_budget_has_room_for_one_content_in_every_share() {
    let shares = Shares::of(1_000, 1_000, 8_000);
    let Shares { unfinished_bytes, unfinished_bytes_of_peer, bytes_of_peer, .. } = shares;
    assert_eq!([unfinished_bytes, unfinished_bytes_of_peer, bytes_of_peer], [1_000; 3]);
    let shares = Shares::of(1_000, 100, 8_000);
    let Shares { unfinished_bytes, unfinished_bytes_of_peer, bytes_of_peer, .. } = shares;
    assert_eq!([unfinished_bytes, unfinished_bytes_of_peer, bytes_of_peer], [750; 3]);
}

#[test]
fn one_address_leaves_a_quarter_to_others() {
    let budget = budget();
    let mut first = budget.reserve(peer(1));
    let mut second = budget.reserve(peer(1));
    assert_eq!(first.grow(700), Ok(()));
    assert_eq!(second.grow(51), Err(UsedUp::OfPeer { max_bytes: 750 }));
    assert_eq!(second.grow(50), Ok(()));
    let mut other = budget.reserve(peer(2));
    assert_eq!(other.grow(251), Err(UsedUp::Whole { max_bytes: 1_000 }));
    assert_eq!(other.grow(250), Ok(()));
}

#[test]
fn bodies_without_an_end_leave_half_to_whole_pushes() {
    let budget = budget();
    let mut bodies: Vec<_> = (1..=3).map(|last| budget.reserve(peer(last))).collect();
    assert_eq!(bodies[0].hold(counted(251)), Err(UsedUp::UnfinishedOfPeer { max_bytes: 250 }));
    assert_eq!(bodies[0].hold(counted(250)), Ok(()));
    assert_eq!(bodies[1].hold(counted(250)), Ok(()));
    assert_eq!(bodies[2].hold(counted(1)), Err(UsedUp::Unfinished { max_bytes: 500 }));
    assert_eq!(bodies[2].hold(counted(0)), Ok(()), "what is small is not counted");
    assert_eq!(bodies[2].arrived(500), Ok(()));
    assert_eq!(budget.used_bytes(), 1_000);
}

#[test]
fn what_has_arrived_makes_room_for_other_bodies() {
    let budget = budget();
    let mut body = budget.reserve(peer(1));
    let mut next = budget.reserve(peer(1));
    assert_eq!(body.hold(counted(250)), Ok(()));
    assert!(next.hold(counted(1)).is_err());
    assert_eq!(body.arrived(100), Ok(()));
    assert_eq!(budget.used_bytes(), 100);
    assert_eq!(next.hold(counted(250)), Ok(()));
    drop((body, next));
    assert_eq!(budget.used_bytes(), 0);
    assert!(lock(&budget.0).peers.is_empty());
}

#[test]
fn more_than_can_be_counted_is_refused() {
    let budget = budget();
    let mut reserved = budget.reserve(peer(1));
    assert_eq!(reserved.grow(4), Ok(()));
    assert!(reserved.grow(usize::MAX).is_err());
    assert!(reserved.arrived(usize::MAX).is_err());
    assert!(reserved.hold(usize::MAX).is_err());
    let mut unbounded = Budget::new(Shares::of(usize::MAX, 1, 1)).reserve(peer(1));
    assert_eq!(unbounded.grow(1 << 62), Ok(()));
    assert!(unbounded.grow(usize::MAX).is_err());
    reserved.shrink(1);
    assert_eq!(budget.used_bytes(), 3);
}

proptest! {
    /// Against the sums over all that is reserved.
    #[test]
    fn no_bound_is_passed_and_nothing_is_lost(
        steps in prop::collection::vec((0usize..6, 0u8..4, 0usize..400), 0..200),
    ) {
        let budget = budget();
        let mut all: Vec<_> = (0..6).map(|i| budget.reserve(peer(i / 2))).collect();
        for (index, step, bytes) in steps {
            let reserved = &mut all[index];
            match step {
                0 => drop(reserved.hold(counted(bytes))),
                1 => drop(reserved.arrived(bytes)),
                2 => drop(reserved.grow(bytes)),
                _ => reserved.shrink(bytes.min(reserved.held.under_way)),
            }
            let sum = |of: Option<Peer>| {
                let held = all.iter().filter(|r| of.is_none_or(|peer| r.peer == peer));
                held.fold((0, 0), |(u, w), r| (u + r.held.unfinished, w + r.held.under_way))
            };
            let (unfinished, under_way) = sum(None);
            prop_assert_eq!(budget.used_bytes(), unfinished + under_way);
            prop_assert!(unfinished <= 500 && unfinished + under_way <= 1_000);
            for last in 0..3 {
                let (unfinished, under_way) = sum(Some(peer(last)));
                prop_assert!(unfinished <= 250 && unfinished + under_way <= 750);
            }
        }
        drop(all);
        prop_assert_eq!(budget.used_bytes(), 0);
    }
}
