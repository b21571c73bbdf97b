//! Who is asked when an operator asks, and how often.

use campanile_messages::inquiry::{Answer, Question, pack};
use campanile_messages::link::Asked;

use super::super::inquiries::MAX_QUESTIONS;
use super::*;

fn ask(number: Number, to: Asked) -> ToBroker {
    ToBroker::Ask { number, to, content: pack(&Question::Summary).unwrap() }
}

/// The links to which a question was passed on.
fn asked(effects: &[Effect]) -> Vec<LinkNumber> {
    let passed_on = effects.iter().filter_map(|effect| match effect {
        Effect::PassOn { links, .. } => Some(links.clone()),
        _ => None,
    });
    let mut links: Vec<_> = passed_on.flatten().collect();
    links.sort_unstable();
    links
}

#[test]
fn only_those_that_know_questions_are_asked() {
    let mut broker = TestBroker::new();
    let (asker, gateway, publisher) = (broker.publisher(), broker.gateway(), broker.publisher());
    let earlier = broker.gateway();
    for link in [asker, gateway, publisher] {
        broker.exchange.may_be_asked(link);
    }
    let to = |broker: &mut TestBroker, to| asked(&broker.hear(asker, ask(1, to)));
    assert_eq!(to(&mut broker, Asked::Everybody), [asker, gateway, publisher]);
    assert_eq!(to(&mut broker, Asked::Gateways), [gateway]);
    let effects = broker.hear(asker, ask(1, Asked::Worker(WorkerId(77))));
    assert_eq!(asked(&effects), [], "nobody has this worker");
    let own = effects.first().expect("the broker answers, too");
    let Effect::AnswerInquiry { link, instances, .. } = own else { panic!("{own:?}") };
    assert_eq!((*link, instances.len()), (asker, 0));
    assert_ne!(earlier, gateway);
}

#[test]
fn a_link_that_asks_too_often_is_told_so_until_the_next_tick() {
    let mut broker = TestBroker::new();
    let (asker, gateway) = (broker.publisher(), broker.gateway());
    broker.exchange.may_be_asked(gateway);
    for number in 1..=u64::from(MAX_QUESTIONS) {
        assert_eq!(asked(&broker.hear(asker, ask(number, Asked::Gateways))), [gateway]);
    }
    let refused = broker.hear(asker, ask(99, Asked::Gateways));
    let content = pack(&Answer::Busy).unwrap();
    let message = FromBroker::Asking { number: 99, instances: vec![], content };
    assert_eq!(refused, [Effect::Offer { link: asker, message }]);
    broker.tick(NOW);
    assert_eq!(asked(&broker.hear(asker, ask(100, Asked::Gateways))), [gateway]);
}
