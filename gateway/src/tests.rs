//! The promise to clients that come back, on all the pure cores of a gateway together: a naive log and
//! broker at one end of the link, naive clients at the other, and nothing between them but queues that
//! advance one message at a time. So a gateway can lag behind another one where a client was before, be
//! faster than a confirmation, or lose its link at any message.
//!
//! What holds for each client and audience: from where it was told to be, it hears each event, once and
//! in order, until it is told of a gap; a client that cannot go on hears a reason that is true; and in
//! the end everybody has an answer.

mod broker;
mod promise;
mod world;

use proptest::prelude::*;

use broker::EACH_BYTES;
use world::{Act, From, World};

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        2 => Just(From::Nowhere),
        8 => (0u64..6).prop_map(From::Back),
        1 => (1u64..4).prop_map(From::Ahead),
        1 => Just(From::Ahead(1_000)),
        1 => Just(From::OtherEpoch),
        1 => Just(From::Nonsense),
        2 => (1usize..4).prop_map(From::Last),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        10 => (0usize..3).prop_map(Act::Publish),
        2 => Just(Act::DropOldest),
        1 => Just(Act::BeginEpoch),
        6 => (0usize..2, any::<[bool; 2]>(), from()).prop_map(|(w, g, f)| Act::Come(w, g, f)),
        3 => (0usize..4, 1usize..3, from()).prop_map(|(c, g, f)| Act::Join(c, g, f)),
        2 => (0usize..4, 1usize..3).prop_map(|(c, g)| Act::Leave(c, g)),
        4 => (0usize..4).prop_map(Act::Go),
        8 => (0usize..2).prop_map(Act::Report),
        12 => Just(Act::BrokerHears),
        14 => Just(Act::GatewayHears),
        2 => any::<bool>().prop_map(Act::SetBehind),
        12 => (0usize..2).prop_map(Act::Deliver),
        2 => Just(Act::Cut),
        4 => Just(Act::Link),
        5 => Just(Act::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn nobody_misses_anything_unnoticed_whatever_happens(
        acts in prop::collection::vec(act(), 0..150),
        workers in 1usize..3,
        // Room for two events, or for all.
        recent_bytes in prop_oneof![Just(1_100), Just(1 << 20)],
        max_replay_bytes in prop_oneof![1 => Just(3 * EACH_BYTES as usize), 3 => Just(1 << 20)],
    ) {
        let mut world = World::new(workers, recent_bytes, max_replay_bytes);
        world.link();
        acts.iter().for_each(|act| world.perform(act));
        world.settle();
    }
}

/// Clients of two workers that come back, some from a gateway that was faster, while events come.
/// Returns how many messages went over the link, and how many clients went on.
fn come_back(cut_at: Option<usize>, delivers_late: bool) -> (usize, usize) {
    let mut world = World::new(2, 1 << 20, 1 << 20);
    world.link();
    let script = [
        Act::Come(0, [true, false], From::Nowhere),
        Act::Report(0),
        Act::Publish(1),
        Act::Publish(2),
        Act::Publish(0),
        Act::Publish(1),
        Act::Come(0, [true, true], From::Back(0)),
        Act::Come(1, [true, true], From::Back(4)),
        Act::Publish(2),
        Act::Come(0, [false, true], From::Back(1)),
        Act::Report(0),
        Act::Publish(1),
        Act::Report(1),
        Act::Publish(2),
        Act::Come(1, [true, false], From::Back(2)),
        Act::Report(1),
        Act::Join(0, 2, From::Back(3)),
        Act::Report(0),
        Act::Publish(2),
    ];
    for act in script {
        world.perform(&act);
        let mut is_busy = true;
        while is_busy {
            for hears in [World::broker_hears, World::gateway_hears] {
                is_busy = hears(&mut world);
                if cut_at == Some(world.passed) && is_busy {
                    world.cut();
                    world.link();
                }
            }
            // A lagging gateway hears only what it must.
            is_busy &= matches!(act, Act::Report(_));
            if !delivers_late {
                (0..2).for_each(|worker| while world.deliver(worker) {});
            }
        }
    }
    world.settle();
    (world.passed, world.recovered)
}

#[test]
fn a_link_that_is_cut_at_any_message_changes_nothing_for_clients() {
    for delivers_late in [false, true] {
        let (passed, recovered) = come_back(None, delivers_late);
        assert!(passed > 20 && recovered >= 4, "{passed} messages, {recovered} clients went on");
        for cut_at in 1..=passed {
            let (_, went_on) = come_back(Some(cut_at), delivers_late);
            assert_eq!(went_on, recovered, "cut at message {cut_at}");
        }
    }
}
