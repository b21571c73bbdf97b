//! What each publisher may still repeat: the numbers that it has had accepted and may not have had
//! answered. Pure: times are durations since the Unix epoch.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use campanile_messages::InstanceId;
use campanile_messages::link::Number;

use super::LinkNumber;
use super::receipt::Receipt;

/// How long a number is remembered whose publisher says nothing of it. Its caller has long been
/// answered by then.
pub const REMEMBERED: Duration = Duration::from_secs(120);

/// The most numbers of one publisher; one more is refused until it says that it has answers.
pub const MAX_UNANSWERED: usize = 1 << 16;

/// What is known of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing: it is no repeat.
    New,
    /// Nothing, and there is no room.
    Full,
    /// Its event is on its way into the log.
    Waiting,
    /// Its event was accepted.
    Accepted(Receipt),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Publishers {
    by_instance: HashMap<InstanceId, Publisher>,
    /// Who lost its link when, in that order; some are back.
    left: VecDeque<(Duration, InstanceId)>,
}

#[derive(Debug, Default)]
struct Publisher {
    link: Option<LinkNumber>,
    left_at: Duration,
    /// By number.
    numbers: VecDeque<Numbered>,
}

#[derive(Debug)]
struct Numbered {
    number: Number,
    receipt: Receipt,
    at: Duration,
    is_accepted: bool,
}

impl Publishers {
    /// A publisher has a new link; what it has answers for is forgotten.
    pub fn enter(&mut self, instance: InstanceId, link: LinkNumber, unanswered: Number) {
        self.by_instance.entry(instance).or_default().link = Some(link);
        self.forget_below(instance, unanswered);
    }

    /// Notes that a publisher has lost this link. It may have a newer one already.
    pub fn leave(&mut self, instance: InstanceId, link: LinkNumber, now: Duration) {
        if let Some(publisher) = self.by_instance.get_mut(&instance)
            && publisher.link == Some(link)
        {
            publisher.link = None;
            publisher.left_at = now;
            self.left.push_back((now, instance));
        }
    }

    /// What is known of a publisher's number.
    pub fn look_up(&self, instance: InstanceId, number: Number) -> Repeat {
        let Some(publisher) = self.by_instance.get(&instance) else {
            return Repeat::New;
        };
        match publisher.find(number) {
            Ok(at) => match &publisher.numbers[at] {
                Numbered { is_accepted: true, receipt, .. } => Repeat::Accepted(*receipt),
                Numbered { is_accepted: false, .. } => Repeat::Waiting,
            },
            Err(_) if publisher.numbers.len() >= MAX_UNANSWERED => Repeat::Full,
            Err(_) => Repeat::New,
        }
    }

    /// The event of a new number is on its way into the log.
    pub fn stage(&mut self, instance: InstanceId, number: Number, receipt: Receipt, now: Duration) {
        let publisher = self.by_instance.entry(instance).or_default();
        if let Err(place) = publisher.find(number) {
            let numbered = Numbered { number, receipt, at: now, is_accepted: false };
            publisher.numbers.insert(place, numbered);
        }
    }

    /// The event of a number is in the log: the link on which its publisher is to be told.
    pub fn accept(&mut self, instance: InstanceId, number: Number) -> Option<LinkNumber> {
        let publisher = self.by_instance.get_mut(&instance)?;
        if let Ok(at) = publisher.find(number) {
            publisher.numbers[at].is_accepted = true;
        }
        publisher.link
    }

    /// The link of a publisher.
    pub fn link(&self, instance: InstanceId) -> Option<LinkNumber> {
        self.by_instance.get(&instance)?.link
    }

    /// Takes in a number that an earlier broker accepted; its publisher may come back.
    pub fn recover(
        &mut self,
        instance: InstanceId,
        number: Number,
        receipt: Receipt,
        now: Duration,
    ) {
        let publisher = self.by_instance.entry(instance).or_insert_with(|| {
            self.left.push_back((now, instance));
            Publisher { left_at: now, ..Publisher::default() }
        });
        if publisher.numbers.len() >= MAX_UNANSWERED {
            publisher.numbers.pop_front();
        }
        self.stage(instance, number, receipt, now);
        self.accept(instance, number);
    }

    /// Every number below this one has its answer.
    pub fn forget_below(&mut self, instance: InstanceId, unanswered: Number) {
        if let Some(publisher) = self.by_instance.get_mut(&instance) {
            let is_answered = |first: &mut Numbered| first.number < unanswered && first.is_accepted;
            while publisher.numbers.pop_front_if(is_answered).is_some() {}
        }
    }

    /// Forgets numbers of which nothing was said for [`REMEMBERED`], and publishers that were away
    /// for as long.
    pub fn expire(&mut self, now: Duration) {
        for publisher in self.by_instance.values_mut() {
            let is_old = |first: &mut Numbered| first.at + REMEMBERED <= now && first.is_accepted;
            while publisher.numbers.pop_front_if(is_old).is_some() {}
        }
        while let Some((at, instance)) = self.left.pop_front_if(|(at, _)| *at + REMEMBERED <= now) {
            let is_away =
                |publisher: &Publisher| publisher.link.is_none() && publisher.left_at == at;
            if self.by_instance.get(&instance).is_some_and(is_away) {
                self.by_instance.remove(&instance);
            }
        }
    }

    /// The oldest event that a publisher may still repeat.
    pub fn oldest(&self) -> Option<u64> {
        let firsts = self.by_instance.values().filter_map(|publisher| publisher.numbers.front());
        firsts.map(|first| first.receipt.sequence).min()
    }
}

impl Publisher {
    fn find(&self, number: Number) -> Result<usize, usize> {
        // Nearly always the next, or one of the last.
        match self.numbers.back() {
            Some(last) if last.number < number => Err(self.numbers.len()),
            _ => self.numbers.binary_search_by_key(&number, |numbered| numbered.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InstanceId = InstanceId(1);
    const AT: Duration = Duration::from_secs(1_000);

    fn receipt(sequence: u64) -> Receipt {
        Receipt { sequence, gateways: 1, matched: 2 }
    }

    #[test]
    fn a_number_waits_then_answers_again_until_its_publisher_has_the_answer() {
        let mut publishers = Publishers::default();
        publishers.enter(A, LinkNumber(1), 1);
        assert_eq!(publishers.look_up(A, 1), Repeat::New);
        publishers.stage(A, 1, receipt(7), AT);
        assert_eq!(publishers.look_up(A, 1), Repeat::Waiting);
        publishers.leave(A, LinkNumber(1), AT);
        assert_eq!(publishers.accept(A, 1), None);
        publishers.enter(A, LinkNumber(2), 1);
        assert_eq!(publishers.look_up(A, 1), Repeat::Accepted(receipt(7)));
        publishers.stage(A, 2, receipt(8), AT);
        assert_eq!(publishers.accept(A, 2), Some(LinkNumber(2)));
        assert_eq!(publishers.oldest(), Some(7));
        publishers.forget_below(A, 2);
        assert_eq!(publishers.look_up(A, 1), Repeat::New);
        assert_eq!(publishers.oldest(), Some(8));
    }

    #[test]
    fn a_number_that_was_refused_is_new_also_behind_later_ones() {
        let mut publishers = Publishers::default();
        publishers.enter(A, LinkNumber(1), 1);
        publishers.stage(A, 2, receipt(7), AT);
        assert_eq!(publishers.look_up(A, 1), Repeat::New);
        publishers.stage(A, 1, receipt(8), AT);
        assert_eq!(publishers.look_up(A, 1), Repeat::Waiting);
        assert_eq!(publishers.look_up(A, 2), Repeat::Waiting);
    }

    #[test]
    fn a_publisher_that_says_nothing_of_its_answers_is_bounded() {
        let mut publishers = Publishers::default();
        for number in 1..=MAX_UNANSWERED as u64 {
            publishers.stage(A, number, receipt(number), AT);
        }
        assert_eq!(publishers.look_up(A, MAX_UNANSWERED as u64 + 1), Repeat::Full);
        assert_eq!(publishers.look_up(A, 1), Repeat::Waiting);
    }

    #[test]
    fn a_publisher_that_stays_away_is_forgotten_and_one_that_returned_is_not() {
        let mut publishers = Publishers::default();
        publishers.recover(A, 5, receipt(7), AT);
        publishers.expire(AT + REMEMBERED - Duration::from_nanos(1));
        assert_eq!(publishers.look_up(A, 5), Repeat::Accepted(receipt(7)));
        publishers.enter(A, LinkNumber(1), 1);
        publishers.expire(AT + REMEMBERED);
        assert_eq!(publishers.link(A), Some(LinkNumber(1)));
        publishers.leave(A, LinkNumber(1), AT + REMEMBERED);
        publishers.expire(AT + 2 * REMEMBERED);
        assert!(publishers.by_instance.is_empty());
    }

    #[test]
    fn a_number_of_which_nothing_is_said_is_forgotten_in_time_though_its_publisher_stays() {
        let mut publishers = Publishers::default();
        publishers.enter(A, LinkNumber(1), 1);
        publishers.stage(A, 5, receipt(7), AT);
        publishers.accept(A, 5);
        publishers.expire(AT + REMEMBERED - Duration::from_nanos(1));
        assert_eq!(publishers.oldest(), Some(7));
        publishers.expire(AT + REMEMBERED);
        assert_eq!(publishers.oldest(), None);
    }
}
