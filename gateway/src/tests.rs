//! Tests the promise to returning clients on all the pure cores of a gateway together. A naive broker with
//! a naive log is at one end of the link, naive clients are at the other, and the queues between them
//! advance one message at a time. So a gateway can lag behind the one that a client was connected to
//! before, be faster than a confirmation, or lose its link at any message.
//!
//! The promise, for each client and audience: after the position that it got, the client gets each event
//! once and in order, until it gets a gap. A client that cannot be resumed gets a true reason. In the end,
//! every client has an answer.

mod broker;
mod promise;
mod world;

use proptest::prelude::*;

use broker::EACH_BYTES;
use world::{Act, Origin, World};

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        2 => Just(Origin::Nowhere),
        8 => (0usize..6).prop_map(Origin::Before),
        1 => (1u64..4).prop_map(Origin::Ahead),
        1 => Just(Origin::Ahead(1_000)),
        1 => Just(Origin::OtherEpoch),
        1 => Just(Origin::Malformed),
        2 => (1usize..4).prop_map(Origin::Last),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        7 => (0usize..3).prop_map(Act::Publish),
        3 => (0usize..3, 0usize..3).prop_map(|(one, other)| Act::PublishBoth(one, other)),
        2 => Just(Act::Mark),
        2 => Just(Act::DropOldest),
        1 => Just(Act::BeginEpoch),
        6 => (0usize..2, any::<[bool; 2]>(), origin()).prop_map(|(w, g, f)| Act::Connect(w, g, f)),
        3 => (0usize..4, 1usize..3, origin()).prop_map(|(c, g, f)| Act::Join(c, g, f)),
        2 => (0usize..4, 1usize..3).prop_map(|(c, g)| Act::Leave(c, g)),
        4 => (0usize..4).prop_map(Act::Disconnect),
        8 => (0usize..2).prop_map(Act::Report),
        12 => Just(Act::BrokerReceives),
        14 => Just(Act::GatewayReceives),
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
    fn no_client_misses_an_event_without_notice(
        acts in prop::collection::vec(act(), 0..150),
        workers in 1usize..3,
        // There is room for two events, or for all.
        recent_bytes in prop_oneof![Just(1_100), Just(1 << 20)],
        max_replay_bytes in prop_oneof![1 => Just(3 * EACH_BYTES as usize), 3 => Just(1 << 20)],
    ) {
        let mut world = World::new(workers, recent_bytes, max_replay_bytes);
        world.link();
        acts.iter().for_each(|act| world.perform(act));
        world.settle();
    }
}

/// Lets clients of two workers return, some of them from a gateway that was ahead, while events are
/// published. Returns how many messages passed the link, and how many clients were resumed.
fn return_clients(cut_at: Option<usize>, delivers_late: bool) -> (usize, usize) {
    let mut world = World::new(2, 1 << 20, 1 << 20);
    world.link();
    let script = [
        Act::Connect(0, [true, false], Origin::Nowhere),
        Act::Report(0),
        Act::Publish(1),
        Act::Publish(2),
        Act::Publish(0),
        Act::Publish(1),
        Act::Connect(0, [true, true], Origin::Before(0)),
        Act::Connect(1, [true, true], Origin::Before(4)),
        Act::Publish(2),
        Act::Connect(0, [false, true], Origin::Before(1)),
        Act::Report(0),
        Act::Publish(1),
        Act::Report(1),
        Act::Publish(2),
        Act::Connect(1, [true, false], Origin::Before(2)),
        Act::Report(1),
        Act::Join(0, 2, Origin::Before(3)),
        Act::Report(0),
        Act::Publish(2),
    ];
    for act in script {
        world.perform(&act);
        let mut is_busy = true;
        while is_busy {
            for receives in [World::broker_receives, World::gateway_receives] {
                is_busy = receives(&mut world);
                if cut_at == Some(world.passed) && is_busy {
                    world.cut();
                    world.link();
                }
            }
            // Otherwise the gateway lags: it receives nothing before the next report.
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
fn a_link_cut_at_any_message_changes_nothing_for_clients() {
    for delivers_late in [false, true] {
        let (passed, recovered) = return_clients(None, delivers_late);
        assert!(passed > 20 && recovered >= 4, "{passed} messages, {recovered} clients resumed");
        for cut_at in 1..=passed {
            let (_, resumed) = return_clients(Some(cut_at), delivers_late);
            assert_eq!(resumed, recovered, "cut at message {cut_at}");
        }
    }
}
