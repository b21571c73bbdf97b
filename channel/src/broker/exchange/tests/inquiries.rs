//! Who is asked when an operator asks, and how often.

use campanile_messages::inquiry::{Answer, MAX_LISTED_LINKS, Question, Whom, pack};
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

/// What the broker says of a question that it passes on to nobody.
fn refusal(link: LinkNumber, number: Number, answer: &Answer) -> [Effect; 1] {
    let content = pack(answer).unwrap();
    let message = FromBroker::Asking { number, instances: vec![], content };
    [Effect::Offer { link, message }]
}

#[test]
fn a_link_that_asks_too_often_is_told_so_until_the_next_tick() {
    let mut broker = TestBroker::new();
    let (asker, gateway) = (broker.publisher(), broker.gateway());
    broker.exchange.may_be_asked(gateway);
    let ask = |question: &Question, number| ToBroker::Ask {
        number,
        to: Asked::Gateways,
        content: pack(question).unwrap(),
    };
    let user = || UserName::new("42").unwrap();
    let look = Question::User(user());
    let disconnect = Question::Disconnect {
        whom: Whom::User(user()),
        may_return: false,
        reason: "stolen".to_owned(),
        by: String::new(),
    };
    // Those that are refused take no seat of those that are kept.
    for (question, most) in [(look, 24), (Question::Summary, 28), (disconnect, 32)] {
        let before = broker.exchange.links[&asker].asked;
        for number in u64::from(before)..most {
            assert_eq!(asked(&broker.hear(asker, ask(&question, number))), [gateway], "{number}");
        }
        for number in 90..200 {
            let refused = broker.hear(asker, ask(&question, number));
            assert_eq!(refused, refusal(asker, number, &Answer::Busy));
        }
    }
    assert_eq!(broker.exchange.links[&asker].asked, MAX_QUESTIONS);
    broker.tick(NOW);
    assert_eq!(asked(&broker.hear(asker, ask(&Question::Summary, 300))), [gateway]);
}

#[test]
fn gateways_that_may_come_back_are_named_to_operators() {
    let mut broker = TestBroker::new();
    let asker = broker.publisher();
    let hello = Hello { instance: InstanceId(70), role: gateway_role(&[]) };
    let Entered { link, welcome, .. } = broker.exchange.enter(hello.clone(), NOW).unwrap();
    let worker = welcome.workers[0];
    let question = |number| ask(number, Asked::Worker(worker));
    let nobody = (vec![], 0);
    assert_eq!((broker.exchange.away(NOW), broker.exchange.is_away(worker, NOW)), (nobody, false));
    broker.exchange.remove(link, NOW);
    assert_eq!(broker.hear(asker, question(1)), refusal(asker, 1, &Answer::Away));
    assert_eq!(broker.exchange.away(NOW), (vec![InstanceId(70)], 0));
    assert!(broker.exchange.is_away(worker, NOW));
    // Other workers are unknown as before.
    let other = broker.hear(asker, ask(2, Asked::Worker(WorkerId(worker.0 + 1))));
    assert!(matches!(other[0], Effect::AnswerInquiry { .. }), "{other:?}");

    let role = gateway_role(&[worker.0]);
    let back = broker.exchange.enter(Hello { role, ..hello }, NOW).unwrap();
    let nobody = (vec![], 0);
    assert_eq!((broker.exchange.away(NOW), broker.exchange.is_away(worker, NOW)), (nobody, false));
    broker.exchange.remove(back.link, NOW);
    let later = broker.exchange.away(NOW + RETURN_LIMIT);
    assert_eq!(later, (vec![], 0), "it does not come back");
    broker.tick(NOW + RETURN_LIMIT);
    let gone = broker.hear(asker, question(3));
    assert!(matches!(gone[0], Effect::AnswerInquiry { .. }), "{gone:?}");
}

#[test]
fn gateways_that_are_away_and_not_listed_are_counted() {
    let mut broker = TestBroker::new();
    for instance in 0..MAX_LISTED_LINKS as u64 + 2 {
        let hello = Hello { instance: InstanceId(instance), role: gateway_role(&[]) };
        let entered = broker.exchange.enter(hello, NOW).unwrap();
        broker.exchange.remove(entered.link, NOW);
    }
    let (listed, left_out) = broker.exchange.away(NOW);
    assert_eq!((listed.len(), left_out), (MAX_LISTED_LINKS, 2));
}
