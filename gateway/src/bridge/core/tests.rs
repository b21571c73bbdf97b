mod spans;

use campanile_messages::link::{Durability, InterestChange, Want};
use campanile_messages::{Audience, ConnectionId, GroupName};

use super::*;
use crate::delivery::FoundEvents;
use crate::report::Resume;
use crate::resume::{Lost, ReplayStart};

fn at(sequence: u64) -> Position {
    Position { epoch: 1, sequence }
}

fn welcome(head: Position) -> Welcome {
    let workers = vec![WorkerId(5), WorkerId(6)];
    Welcome { head, durability: Durability::Memory, workers, log: None }
}

fn event(sequence: u64) -> FromBroker {
    let audience = Audience::Everyone;
    FromBroker::Event(Event { sequence, audience, except: None, content: "x".into(), from: None })
}

fn framed(sequence: u64) -> std::sync::Arc<Framed> {
    Framed::new(Some((at(sequence), Audience::Everyone)), "x".into())
}

fn received(core: &mut Core, message: FromBroker) -> Vec<BridgeEffect> {
    let mut effects = Vec::new();
    core.receive(message, &mut effects);
    effects
}

fn reported(core: &mut Core, worker: usize, report: Report) -> Vec<BridgeEffect> {
    let mut effects = Vec::new();
    core.report(worker, report, Instant::now(), &mut effects);
    effects
}

fn answered(core: &mut Core) -> Vec<BridgeEffect> {
    let mut effects = Vec::new();
    while core.answer_next(&mut effects) {}
    effects
}

fn interest(revision: u64, connections: impl Into<Option<u32>>) -> BridgeEffect {
    let change = InterestChange { audience: Audience::Everyone, connections: connections.into() };
    BridgeEffect::Force(ToBroker::Interest { revision, changes: vec![change] })
}

fn fetch(number: u64, since: u64) -> BridgeEffect {
    let wants = vec![Want { since, audiences: vec![Audience::Everyone] }];
    BridgeEffect::Force(ToBroker::Fetch { number, wants, max_bytes: 1 << 20 })
}

fn connects(ticket: u64) -> Report {
    Report { ticket, changes: vec![(Audience::Everyone, 1)], ..Report::default() }
}

fn returns(ticket: u64, since: Position) -> Report {
    let (start, audiences) = (ReplayStart::After(since), vec![Audience::Everyone]);
    let resumes = vec![Resume { ticket, start, audiences }];
    Report { resumes, ..connects(ticket) }
}

/// A gateway of two workers, linked to a broker whose log ends at 7.
fn linked() -> Core {
    linked_as(&GatewayConfig { linger: Duration::ZERO, ..GatewayConfig::default() })
}

fn linked_as(config: &GatewayConfig) -> Core {
    let mut core = Core::new(config, 2, Instant::now());
    core.link_up(&welcome(at(7)), &mut Vec::new());
    received(&mut core, FromBroker::Attached { from: at(7), gap: None });
    received(&mut core, FromBroker::Confirmed { revision: 1, head: 7 });
    core
}

#[test]
fn a_fetch_is_sent_right_after_the_interest() {
    let mut core = linked();
    assert_eq!(reported(&mut core, 1, returns(4, at(5))), [interest(2, 1), fetch(1, 5)]);
    assert_eq!(
        received(&mut core, FromBroker::Confirmed { revision: 2, head: 7 }),
        [
            BridgeEffect::Deliver(0, Delivery::Confirmed(0, at(7))),
            BridgeEffect::Deliver(1, Delivery::Confirmed(4, at(7)))
        ]
    );
    assert_eq!(answered(&mut core), []);
    assert_eq!(
        received(&mut core, event(8)),
        [BridgeEffect::Deliver(1, Delivery::Event(framed(8)))]
    );
    let audience = Audience::Everyone;
    received(&mut core, FromBroker::Past { audience, events: 1, expired: 0, complete_after: 5 });
    assert_eq!(received(&mut core, event(6)), [], "it belongs to the fetch");
    received(&mut core, FromBroker::Fetched { number: 1, served: 1 });
    let found = FoundEvents { events: vec![framed(6), framed(8)], is_complete: true };
    assert_eq!(
        answered(&mut core),
        [BridgeEffect::Deliver(1, Delivery::Resumed(4, Ok(found), at(8)))]
    );
    // The next client needs no fetch.
    assert_eq!(reported(&mut core, 0, returns(1, at(6))), [interest(3, 2)]);
    received(&mut core, FromBroker::Confirmed { revision: 3, head: 8 });
    let found = FoundEvents { events: vec![framed(8)], is_complete: true };
    assert_eq!(
        answered(&mut core),
        [BridgeEffect::Deliver(0, Delivery::Resumed(1, Ok(found), at(8)))]
    );
}

#[test]
fn a_link_lost_before_the_answer_repeats_interest_and_fetch() {
    let mut core = linked();
    reported(&mut core, 0, returns(1, at(5)));
    received(&mut core, FromBroker::Confirmed { revision: 2, head: 7 });
    core.link_lost(Instant::now());
    assert_eq!(answered(&mut core), []);
    let mut effects = Vec::new();
    core.link_up(&welcome(at(9)), &mut effects);
    let attach = BridgeEffect::Force(ToBroker::Attach { cursor: Some(at(7)) });
    assert_eq!(effects, [interest(3, 1), attach, fetch(2, 5)]);
}

#[test]
fn clients_that_come_and_go_in_an_outage_leave_nothing() {
    let mut core = linked();
    core.link_lost(Instant::now());
    for ticket in 1..=100 {
        assert_eq!(reported(&mut core, 0, returns(ticket, at(5))), []);
        assert!(!core.awaits_nobody());
        let (changes, gone) = (vec![(Audience::Everyone, -1)], vec![ticket]);
        reported(&mut core, 0, Report { ticket, changes, gone, ..Report::default() });
        assert!(core.awaits_nobody());
    }
}

#[test]
fn a_client_of_another_log_costs_no_fetch() {
    let mut core = linked();
    let other = Position { epoch: 2, sequence: 3 };
    assert_eq!(reported(&mut core, 0, returns(1, other)), [interest(2, 1)]);
    received(&mut core, FromBroker::Confirmed { revision: 2, head: 7 });
    received(&mut core, event(8));
    let lost = Delivery::Resumed(1, Err(Lost::EpochChanged), at(8));
    assert_eq!(answered(&mut core), [BridgeEffect::Deliver(0, lost)]);
}

#[test]
fn an_event_goes_once_to_each_worker_that_has_listeners() {
    let mut core = linked();
    assert_eq!(received(&mut core, event(8)), [], "nobody listens");
    for worker in [0, 1] {
        reported(&mut core, worker, connects(1));
    }
    let both = [0, 1].map(|worker| BridgeEffect::Deliver(worker, Delivery::Event(framed(9))));
    assert_eq!(received(&mut core, event(9)), both);
    assert_eq!(received(&mut core, event(9)), [], "a half-open link has delivered it before");
    assert_eq!(received(&mut core, event(8)), []);
    let mark = BridgeEffect::DeliverToAll(Delivery::Mark(at(12)));
    assert_eq!(received(&mut core, FromBroker::Mark { head: 12 }), [mark]);
    assert_eq!(received(&mut core, event(12)), [], "the mark has passed it");
}

#[test]
fn a_counted_event_is_answered_once_each_worker_reported() {
    let ticket = RequestTicket { link: 1, number: 2 };
    let within = Duration::from_millis(300);
    let count = |sequence| FromBroker::Count { ticket, sequence, within_millis: 300 };
    let counted = |matched| {
        let tally = Tally { matched, written: 0, too_slow: 0 };
        [BridgeEffect::Send(ToBroker::Counted { ticket, tally })]
    };
    let mut core = linked();
    received(&mut core, count(8));
    assert_eq!(received(&mut core, event(8)), counted(0), "nobody listens");
    for worker in [0, 1] {
        reported(&mut core, worker, connects(1));
    }
    received(&mut core, count(9));
    let both = [0, 1]
        .map(|worker| BridgeEffect::Deliver(worker, Delivery::Counted(ticket, within, framed(9))));
    assert_eq!(received(&mut core, event(9)), both);
    let tally = Tally { matched: 3, written: 0, too_slow: 0 };
    let mut effects = Vec::new();
    core.counted(ticket, tally, &mut effects);
    assert_eq!(effects, []);
    core.counted(ticket, tally, &mut effects);
    assert_eq!(effects, counted(6));
    received(&mut core, count(11));
    let plain = [0, 1].map(|worker| BridgeEffect::Deliver(worker, Delivery::Event(framed(10))));
    assert_eq!(received(&mut core, event(10)), plain, "a later event is to be counted");
}

#[test]
fn a_push_goes_to_the_worker_of_its_connection() {
    let mut core = linked();
    let ticket = RequestTicket { link: 1, number: 2 };
    let deliver = |worker| {
        let to = Address { worker: WorkerId(worker), connection: ConnectionId(3) };
        FromBroker::Deliver { ticket, to, content: "x".into() }
    };
    let push = Delivery::Direct(ticket, ConnectionId(3), Framed::new(None, "x".into()));
    assert_eq!(received(&mut core, deliver(6)), [BridgeEffect::Deliver(1, push)]);
    let unknown = ToBroker::Delivered { ticket, outcome: DirectOutcome::UnknownWorker };
    assert_eq!(received(&mut core, deliver(7)), [BridgeEffect::Send(unknown)]);
}

#[test]
fn a_gap_is_reported_and_earlier_events_are_dropped() {
    let mut core = linked();
    reported(&mut core, 0, connects(1));
    received(&mut core, event(8));
    core.link_lost(Instant::now());
    core.link_up(&welcome(at(30)), &mut Vec::new());
    let gap = Gap::Expired;
    assert_eq!(
        received(&mut core, FromBroker::Attached { from: at(20), gap: Some(gap) }),
        [BridgeEffect::ReportGap { gap, cursor: at(8), from: at(20) }]
    );
    received(&mut core, FromBroker::Confirmed { revision: 3, head: 20 });
    assert_eq!(reported(&mut core, 0, returns(2, at(7))), [interest(4, 2), fetch(1, 7)]);
}

#[test]
fn clients_may_stay_when_the_stream_begins() {
    let (config, start) = (GatewayConfig::default(), Instant::now());
    let mut core = Core::new(&config, 1, start);
    let mut effects = Vec::new();
    core.tick(start + config.return_limit, &mut effects);
    assert_eq!(effects, [BridgeEffect::SendAway]);
    core.link_up(&welcome(at(7)), &mut Vec::new());
    let begun = FromBroker::Attached { from: at(7), gap: None };
    assert_eq!(received(&mut core, begun), [BridgeEffect::Stay]);
}

/// Leaves the gateway without listeners, and reports the withdrawal with revision 4.
fn withdrawn(core: &mut Core) {
    reported(core, 0, connects(1));
    received(core, FromBroker::Confirmed { revision: 2, head: 7 });
    received(core, event(8));
    let disconnects =
        Report { ticket: 1, changes: vec![(Audience::Everyone, -1)], ..Report::default() };
    assert_eq!(reported(core, 0, disconnects), [interest(3, 0)]);
    received(core, FromBroker::Confirmed { revision: 3, head: 8 });
    let mut effects = Vec::new();
    core.tick(Instant::now(), &mut effects);
    assert_eq!((effects, core.audiences()), (vec![interest(4, None)], 0));
}

#[test]
fn events_from_before_a_withdrawal_are_dropped() {
    let mut core = linked();
    withdrawn(&mut core);
    received(&mut core, FromBroker::Confirmed { revision: 4, head: 8 });
    assert_eq!(reported(&mut core, 0, returns(2, at(7))), [interest(5, 1), fetch(1, 7)]);
}

#[test]
fn events_before_a_confirmed_withdrawal_are_dropped() {
    let mut core = linked();
    withdrawn(&mut core);
    // The event comes before the broker has processed the withdrawal.
    assert_eq!(reported(&mut core, 0, connects(2)), []);
    received(&mut core, event(9));
    assert_eq!(
        received(&mut core, FromBroker::Confirmed { revision: 4, head: 20 }).last(),
        Some(&interest(5, 1))
    );
    received(&mut core, FromBroker::Confirmed { revision: 5, head: 20 });
    assert_eq!(reported(&mut core, 0, returns(3, at(8))), [interest(6, 2), fetch(1, 8)]);
}

#[test]
fn events_fetched_for_nobody_are_dropped() {
    let mut core = linked();
    assert_eq!(reported(&mut core, 0, returns(1, at(5))), [interest(2, 1), fetch(1, 5)]);
    received(&mut core, FromBroker::Confirmed { revision: 2, head: 7 });
    let (changes, gone) = (vec![(Audience::Everyone, -1)], vec![1]);
    reported(&mut core, 0, Report { ticket: 1, changes, gone, ..Report::default() });
    core.tick(Instant::now(), &mut Vec::new());
    let audience = Audience::Everyone;
    received(&mut core, FromBroker::Past { audience, events: 0, expired: 0, complete_after: 0 });
    received(&mut core, FromBroker::Fetched { number: 1, served: 1 });
    received(&mut core, FromBroker::Confirmed { revision: 3, head: 7 });
    received(&mut core, FromBroker::Confirmed { revision: 4, head: 7 });
    // The gateway has received no events of the audience in the meantime.
    assert_eq!(reported(&mut core, 0, returns(2, at(7))).last(), Some(&fetch(2, 7)));
}

#[test]
fn messages_that_do_not_belong_on_the_link_are_logged() {
    let mut core = linked();
    reported(&mut core, 0, returns(1, at(5)));
    let audience = Audience::Everyone;
    let past = FromBroker::Past { audience, events: 1, expired: 0, complete_after: 5 };
    received(&mut core, past);
    let out_of_order = OutOfOrder { sequence: 90, audience: Audience::Everyone };
    assert_eq!(received(&mut core, event(90)), [BridgeEffect::LogOutOfOrder(out_of_order)]);
    let goodbye = || FromBroker::Goodbye { reason: String::new() };
    assert_eq!(received(&mut core, goodbye()), [BridgeEffect::LogUnexpected(Box::new(goodbye()))]);
}

#[test]
fn changes_during_an_outage_do_not_pile_up() {
    let mut core = linked();
    let start = Instant::now();
    core.link_lost(start);
    for number in 0..1_000_u64 {
        let group = Audience::Group(GroupName::new(format!("{number}")).expect("a name"));
        for by in [1, -1] {
            reported(
                &mut core,
                0,
                Report { changes: vec![(group.clone(), by)], ..Report::default() },
            );
        }
        core.tick(start + Duration::from_secs(number), &mut Vec::new());
    }
    assert_eq!(core.audiences(), 0);
    assert_eq!(core.interest.unreported(), 0);
}

#[test]
fn a_link_that_replaces_another_repeats_everything() {
    let mut core = linked();
    reported(&mut core, 1, returns(4, at(5)));
    let mut effects = Vec::new();
    core.link_up(&welcome(at(7)), &mut effects);
    let attach = BridgeEffect::Force(ToBroker::Attach { cursor: Some(at(7)) });
    assert_eq!(effects, [interest(3, 1), attach, fetch(2, 5)]);
}

#[test]
fn a_past_before_the_stream_begins_is_ignored() {
    let config = GatewayConfig::default();
    let mut core = Core::new(&config, 2, Instant::now());
    core.link_up(&welcome(at(7)), &mut Vec::new());
    let (audience, events) = (Audience::Everyone, 0);
    let past = FromBroker::Past { audience, events, expired: 0, complete_after: 0 };
    assert_eq!(received(&mut core, past.clone()), [BridgeEffect::LogUnexpected(Box::new(past))]);
    received(&mut core, FromBroker::Attached { from: at(7), gap: None });
    reported(&mut core, 0, connects(1));
    assert_eq!(
        received(&mut core, event(8)),
        [BridgeEffect::Deliver(0, Delivery::Event(framed(8)))]
    );
}
