//! What each publisher may still repeat: the numbers that it has had accepted and may not have had
//! answered. Pure: times are those of the broker's clock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use campanile_messages::InstanceId;
use campanile_messages::link::Number;

use super::receipt::Receipt;
use super::routing::LinkNumber;

/// How long a number is remembered whose publisher says nothing of it. Its caller has long been
/// answered by then.
pub const REMEMBERED: Duration = Duration::from_secs(120);

/// The most numbers of one publisher; one more is refused until it says that it has answers.
pub const MAX_UNANSWERED: usize = 1 << 16;

/// The most numbers of all publishers: some 64 MiB. Past it the publishers without a link are
/// forgotten, the longest gone first; if there are none, a publisher that has its share is refused more.
const MAX_NUMBERS: usize = 1 << 20;

/// How many numbers a publisher may have however many others have.
const SHARE: usize = 1 << 10;

/// The most publishers without a link that have numbers. Past it the longest gone are forgotten: what
/// one of them repeats after all is taken for new, and accepted twice. It takes more processes than any
/// cluster has, gone within [`REMEMBERED`] and with pushes that were not answered.
const MAX_AWAY: usize = 1 << 13;

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
    /// Whoever has a link or a number.
    by_instance: HashMap<InstanceId, Publisher>,
    /// Who lost its link, in that order, each with the count of such losses; some are back or
    /// forgotten.
    left: VecDeque<(u64, InstanceId)>,
    losses: u64,
    /// How many have no link.
    away: usize,
    /// How many numbers there are.
    numbers: usize,
}

#[derive(Debug, Default)]
struct Publisher {
    link: Option<LinkNumber>,
    /// The last loss of its link.
    left: u64,
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
        let known = self.by_instance.get(&instance);
        self.away -= usize::from(known.is_some_and(|publisher| publisher.link.is_none()));
        self.by_instance.entry(instance).or_default().link = Some(link);
        self.forget_below(instance, unanswered);
    }

    /// Notes that a publisher has lost this link. It may have a newer one already.
    pub fn leave(&mut self, instance: InstanceId, link: LinkNumber) {
        if let Some(publisher) = self.by_instance.get_mut(&instance)
            && publisher.link == Some(link)
        {
            publisher.link = None;
            if publisher.numbers.is_empty() {
                // Of this one there is nothing to remember.
                self.by_instance.remove(&instance);
                return;
            }
            self.away += 1;
            self.note_loss(instance);
            self.keep_bounds();
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
            Err(_) if self.is_full() && publisher.numbers.len() >= SHARE => Repeat::Full,
            Err(_) => Repeat::New,
        }
    }

    /// The event of a new number is on its way into the log.
    pub fn stage(&mut self, instance: InstanceId, number: Number, receipt: Receipt, at: Duration) {
        let known = self.by_instance.len();
        let publisher = self.by_instance.entry(instance).or_default();
        if let Err(place) = publisher.find(number) {
            let numbered = Numbered { number, receipt, at, is_accepted: false };
            publisher.numbers.insert(place, numbered);
            self.numbers += 1;
        }
        if self.by_instance.len() > known {
            self.away += 1;
            self.note_loss(instance);
        }
        self.keep_bounds();
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

    /// Takes in a number that an earlier broker accepted at this time; its publisher may come back.
    pub fn recover(
        &mut self,
        instance: InstanceId,
        number: Number,
        receipt: Receipt,
        at: Duration,
    ) {
        if let Some(publisher) = self.by_instance.get_mut(&instance)
            && publisher.numbers.len() >= MAX_UNANSWERED
        {
            publisher.numbers.pop_front();
            self.numbers -= 1;
        }
        self.stage(instance, number, receipt, at);
        self.accept(instance, number);
    }

    /// Every number below this one has its answer.
    pub fn forget_below(&mut self, instance: InstanceId, unanswered: Number) {
        if let Some(publisher) = self.by_instance.get_mut(&instance) {
            let is_answered = |first: &mut Numbered| first.number < unanswered && first.is_accepted;
            while publisher.numbers.pop_front_if(is_answered).is_some() {
                self.numbers -= 1;
            }
        }
    }

    /// Forgets numbers of which nothing was said for [`REMEMBERED`]. Looks at every publisher: some
    /// 10,000 at most.
    pub fn expire(&mut self, now: Duration) {
        let Self { by_instance, numbers, away, .. } = self;
        by_instance.retain(|_, publisher| {
            let is_old = |first: &mut Numbered| first.at + REMEMBERED <= now && first.is_accepted;
            while publisher.numbers.pop_front_if(is_old).is_some() {
                *numbers -= 1;
            }
            let is_kept = publisher.link.is_some() || !publisher.numbers.is_empty();
            *away -= usize::from(!is_kept);
            is_kept
        });
    }

    /// The oldest event that a publisher may still repeat. Looks at every number: asked once a second.
    pub fn oldest(&self) -> Option<u64> {
        let numbers = self.by_instance.values().flat_map(|publisher| &publisher.numbers);
        numbers.map(|numbered| numbered.receipt.sequence).min()
    }

    /// Whether there are numbers.
    pub fn is_empty(&self) -> bool {
        self.numbers == 0
    }

    fn is_full(&self) -> bool {
        self.numbers >= MAX_NUMBERS && self.away == 0
    }

    fn note_loss(&mut self, instance: InstanceId) {
        self.losses += 1;
        if let Some(publisher) = self.by_instance.get_mut(&instance) {
            publisher.left = self.losses;
        }
        self.left.push_back((self.losses, instance));
        // Whoever comes and goes all the time leaves one behind each time.
        if self.left.len() > 2 * (self.away + SHARE) {
            let by_instance = &self.by_instance;
            self.left.retain(|(loss, of)| is_away(by_instance, *of, *loss));
        }
    }

    fn keep_bounds(&mut self) {
        while self.away > MAX_AWAY || self.numbers > MAX_NUMBERS && self.away > 0 {
            let Some((loss, instance)) = self.left.pop_front() else {
                return;
            };
            if is_away(&self.by_instance, instance, loss)
                && let Some(forgotten) = self.by_instance.remove(&instance)
            {
                self.away -= 1;
                self.numbers -= forgotten.numbers.len();
            }
        }
    }
}

/// Whether this was the last time that a publisher lost its link, and it is not back.
fn is_away(by_instance: &HashMap<InstanceId, Publisher>, instance: InstanceId, loss: u64) -> bool {
    let publisher = by_instance.get(&instance);
    publisher.is_some_and(|publisher| publisher.link.is_none() && publisher.left == loss)
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
        publishers.leave(A, LinkNumber(1));
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
        publishers.leave(A, LinkNumber(1));
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

    #[test]
    fn publishers_that_are_away_with_numbers_are_counted_and_the_longest_gone_forgotten() {
        let mut publishers = Publishers::default();
        for instance in 1..=MAX_AWAY as u64 + 2 {
            let (instance, link) = (InstanceId(instance), LinkNumber(instance));
            publishers.enter(instance, link, 1);
            publishers.stage(instance, 1, receipt(link.0), AT);
            publishers.leave(instance, link);
        }
        assert_eq!(publishers.look_up(InstanceId(2), 1), Repeat::New);
        assert_eq!(publishers.look_up(InstanceId(3), 1), Repeat::Waiting);
        assert_eq!((publishers.away, publishers.numbers), (MAX_AWAY, MAX_AWAY));
    }

    #[test]
    fn whoever_has_nothing_to_repeat_leaves_nothing_behind() {
        let mut publishers = Publishers::default();
        for turn in 0..10_000 {
            publishers.enter(InstanceId(turn), LinkNumber(turn), 1);
            publishers.leave(InstanceId(turn), LinkNumber(turn));
        }
        assert!(publishers.by_instance.is_empty() && publishers.left.is_empty());
        for turn in 0..10_000 {
            publishers.enter(A, LinkNumber(turn), 1);
            publishers.stage(A, turn, receipt(turn), AT);
            publishers.leave(A, LinkNumber(turn));
        }
        assert_eq!(publishers.away, 1);
        assert!(publishers.left.len() < 3_000, "{}", publishers.left.len());
    }

    #[test]
    fn all_numbers_together_are_bounded_and_nobody_loses_its_share() {
        let mut publishers = Publishers::default();
        let full = MAX_NUMBERS / MAX_UNANSWERED;
        for instance in 1..=full as u64 {
            let instance = InstanceId(instance);
            publishers.enter(instance, LinkNumber(instance.0), 1);
            for number in 1..=MAX_UNANSWERED as u64 {
                publishers.stage(instance, number, receipt(number), AT);
            }
        }
        let (late, link) = (InstanceId(99), LinkNumber(99));
        publishers.enter(late, link, 1);
        for number in 1..=SHARE as u64 {
            assert_eq!(publishers.look_up(late, number), Repeat::New);
            publishers.stage(late, number, receipt(number), AT);
        }
        assert_eq!(publishers.look_up(late, SHARE as u64 + 1), Repeat::Full);
        // One that goes makes room for those that are there.
        publishers.leave(InstanceId(3), LinkNumber(3));
        assert_eq!(publishers.look_up(late, SHARE as u64 + 1), Repeat::New);
        assert_eq!(publishers.look_up(InstanceId(3), 1), Repeat::New);
    }

    #[test]
    fn a_number_that_was_found_is_as_old_as_it_was() {
        let mut publishers = Publishers::default();
        publishers.recover(A, 1, receipt(7), AT);
        publishers.recover(A, 2, receipt(8), AT + REMEMBERED / 2);
        publishers.expire(AT + REMEMBERED);
        assert_eq!(publishers.look_up(A, 1), Repeat::New);
        assert_eq!(publishers.look_up(A, 2), Repeat::Accepted(receipt(8)));
    }
}
