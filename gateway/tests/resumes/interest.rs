//! Interest that is withdrawn and comes back, in the moments at which an event could be lost.

use std::thread::sleep;
use std::time::Duration;

use campanile_harness::link::script::{Link, at, audiences_of, event, past};
use campanile_messages::{Audience, ToBroker};

use super::{ask, expect_recovered, join_in, log, news, start};

/// Longer than the bridge waits between two searches for interest to withdraw. Nothing outside shows
/// that it has searched, so the tests wait for this time.
const EXPIRES_WITHIN: Duration = Duration::from_millis(2_200);

/// Waits until the withdrawal of an audience is reported, and confirms what is reported before it.
fn withdrawal_of(link: &Link, audience: &Audience) -> u64 {
    loop {
        match link.interest_in(audience) {
            (revision, None) => return revision,
            (revision, Some(_)) => link.confirm(revision),
        }
    }
}

#[test]
fn interest_that_returns_during_its_withdrawal_leaves_no_hole() {
    let (_script, gateway, link) = start(|config| config.linger = Duration::ZERO);
    let mut first = join_in(&gateway, "/?group=news");
    link.publish(8, &news(), "old");
    first.expect_event(8, "old");
    link.confirm_by_itself(false);
    drop(first);
    let withdrawn = withdrawal_of(&link, &news());
    let mut second = ask(&gateway, "/?group=news");
    second.upgraded();
    // The broker does not know of the withdrawal yet, and some of these events arrive after the bridge
    // has learned of the second client.
    for sequence in 9..=30 {
        link.publish(sequence, &news(), "before");
        sleep(Duration::from_millis(10));
    }
    // These events do not come.
    link.skip_to(40);
    link.confirm(withdrawn);
    let (revision, listeners) = link.interest_in(&news());
    assert_eq!(listeners, Some(1));
    link.confirm_by_itself(true);
    link.confirm(revision);
    assert_eq!(second.json()["position"], at(40).to_string());
    link.publish(41, &news(), "after");
    second.expect_event(41, "after");

    let mut third = ask(&gateway, "/?group=news&since=0000000000000001-30");
    let (number, audiences, _) = link.fetch();
    assert!(audiences.contains(&news()), "the gateway thinks that it has all of {audiences:?}");
    let log = [event(35, &news(), "between"), event(41, &news(), "after")];
    link.send(past(number, &audiences, &log));
    third.upgraded();
    expect_recovered(&mut third, 30);
    third.expect_event(35, "between");
    third.expect_event(41, "after");
}

#[test]
fn interest_that_returns_before_its_withdrawal_leaves_no_hole() {
    // Either the earlier report is confirmed in the end, or the link is lost first.
    for confirms in [true, false] {
        let (script, gateway, mut link) = start(|config| config.linger = Duration::ZERO);
        let mut first = join_in(&gateway, "/?group=news");
        link.publish(8, &news(), "eight");
        first.expect_event(8, "eight");
        link.confirm_by_itself(false);
        drop(first);
        let revision = loop {
            if let (revision, Some(0)) = link.interest_in(&news()) {
                break revision;
            }
        };
        sleep(EXPIRES_WITHIN);
        link.publish(9, &news(), "nine");
        link.said();
        let mut second = ask(&gateway, "/?group=news");
        second.upgraded();
        if confirms {
            link.confirm_by_itself(true);
            link.confirm(revision);
        } else {
            drop(link);
            link = script.accept(at(9), None);
        }
        second.json();
        link.publish(10, &news(), "ten");
        second.expect_event(10, "ten");

        let mut third = ask(&gateway, "/?group=news&since=0000000000000001-8");
        let (number, audiences, _) = link.fetch();
        assert!(audiences.contains(&news()), "the gateway thinks that it has all of news");
        let log = [(8, "eight"), (9, "nine"), (10, "ten")];
        let log = log.map(|(sequence, content)| event(sequence, &news(), content));
        link.send(past(number, &audiences, &log));
        third.upgraded();
        expect_recovered(&mut third, 8);
        third.expect_event(9, "nine");
        third.expect_event(10, "ten");
    }
}

#[test]
fn a_fetch_that_nobody_waits_for_leaves_no_hole() {
    let (script, gateway, link) = start(|config| config.linger = Duration::ZERO);
    let mut leaves = ask(&gateway, "/?group=news&since=0000000000000001-2");
    leaves.upgraded();
    link.fetch();
    drop(link);
    drop(leaves);
    sleep(EXPIRES_WITHIN);
    let link = script.accept(at(7), None);
    let ToBroker::Interest { changes, .. } = link.recv() else { panic!("no interest") };
    assert_eq!(changes, [], "nobody is there");
    // If the broker is asked anyway, it answers.
    for said in link.said() {
        if let ToBroker::Fetch { number, wants, .. } = said {
            link.send(past(number, &audiences_of(&wants), &log()));
        }
    }
    // A gateway without listeners gets no events.
    link.skip_to(9);
    let mut back = ask(&gateway, "/?group=news&since=0000000000000001-7");
    let (number, audiences, _) = link.fetch();
    link.send(past(number, &audiences, &[event(8, &news(), "eight")]));
    back.upgraded();
    expect_recovered(&mut back, 7);
    back.expect_event(8, "eight");
}
