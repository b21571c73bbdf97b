//! What each publisher may still repeat: the numbers that were accepted, and whose answers it may not
//! have. Pure: times are those of the broker's clock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use campanile_messages::InstanceId;
use campanile_messages::link::Number;

use super::publish_receipt::PublishReceipt;
use super::routing::LinkNumber;

/// How long a number is remembered if its publisher does not say that it has the answer. By then, its
/// caller has got an answer long ago.
const REMEMBERED: Duration = Duration::from_secs(120);

/// The most numbers of one publisher. One more is refused until the publisher says that it has answers.
const MAX_UNANSWERED: usize = 1 << 16;

/// The most numbers of all publishers, which take about 64 MiB. When there are more, publishers without
/// a link are forgotten, those that left first; if there are none, a publisher that has its share is
/// refused more.
const MAX_NUMBERS: usize = 1 << 20;

/// How many numbers a publisher may always have, however many others have.
const SHARE: usize = 1 << 10;

/// The most publishers without a link that have numbers. When there are more, those that left first are
/// forgotten. If one of them came back and repeated a push, that would be accepted twice. For this, more
/// processes than any cluster has must have left within [`REMEMBERED`], with unanswered pushes.
const MAX_AWAY: usize = 1 << 13;

/// What is known about a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing, so it is not a repeat.
    New,
    /// Nothing, and there is no room.
    Full,
    /// Its event is staged.
    Waiting,
    /// Its event was accepted.
    Accepted(PublishReceipt),
}

/// All publishers and their numbers.
#[derive(Debug, Default)]
pub struct Publishers {
    /// The publishers that have a link or a number.
    by_instance: HashMap<InstanceId, Publisher>,
    /// The publishers that lost their links, in that order. Losses are numbered. Some of these
    /// publishers may be back or forgotten.
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
    /// The number of the last loss of its link.
    left: u64,
    /// Sorted by number.
    numbers: VecDeque<Numbered>,
}

#[derive(Debug)]
struct Numbered {
    number: Number,
    receipt: PublishReceipt,
    at: Duration,
    is_accepted: bool,
}

impl Publishers {
    /// A publisher has a new link. Numbers below `unanswered` are forgotten.
    pub fn enter(&mut self, instance: InstanceId, link: LinkNumber, unanswered: Number) {
        let known = self.by_instance.get(&instance);
        self.away -= usize::from(known.is_some_and(|publisher| publisher.link.is_none()));
        self.by_instance.entry(instance).or_default().link = Some(link);
        self.forget_below(instance, unanswered);
    }

    /// Notes that a publisher has lost this link. It may already have a newer one.
    pub fn leave(&mut self, instance: InstanceId, link: LinkNumber) {
        if let Some(publisher) = self.by_instance.get_mut(&instance)
            && publisher.link == Some(link)
        {
            publisher.link = None;
            if publisher.numbers.is_empty() {
                // There is nothing to remember.
                self.by_instance.remove(&instance);
                return;
            }
            self.away += 1;
            self.note_loss(instance);
            self.keep_bounds();
        }
    }

    /// What is known about a publisher's number.
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

    /// The event of a new number is staged.
    pub fn stage(
        &mut self,
        instance: InstanceId,
        number: Number,
        receipt: PublishReceipt,
        at: Duration,
    ) {
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

    /// The event of a number is accepted. Returns the link of its publisher.
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

    /// Adds a number that an earlier broker accepted at this time, as its publisher may come back.
    pub fn recover(
        &mut self,
        instance: InstanceId,
        number: Number,
        receipt: PublishReceipt,
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

    /// Every number below `unanswered` has its answer.
    pub fn forget_below(&mut self, instance: InstanceId, unanswered: Number) {
        if let Some(publisher) = self.by_instance.get_mut(&instance) {
            let is_answered = |first: &mut Numbered| first.number < unanswered && first.is_accepted;
            while publisher.numbers.pop_front_if(is_answered).is_some() {
                self.numbers -= 1;
            }
        }
    }

    /// Forgets numbers that are as old as [`REMEMBERED`]. Looks at every publisher, of which there are
    /// about 10,000 at most.
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

    /// The oldest event that a publisher may still repeat. Looks at every number, once a second.
    pub fn oldest(&self) -> Option<u64> {
        let numbers = self.by_instance.values().flat_map(|publisher| &publisher.numbers);
        numbers.map(|numbered| numbered.receipt.sequence).min()
    }

    /// Whether there are no numbers.
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
        // A publisher that comes and goes all the time adds one each time.
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

/// Whether a publisher has no link since this loss.
fn is_away(by_instance: &HashMap<InstanceId, Publisher>, instance: InstanceId, loss: u64) -> bool {
    let publisher = by_instance.get(&instance);
    publisher.is_some_and(|publisher| publisher.link.is_none() && publisher.left == loss)
}

impl Publisher {
    fn find(&self, number: Number) -> Result<usize, usize> {
        // It is nearly always a new number, or one of the last.
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

    fn receipt(sequence: u64) -> PublishReceipt {
        PublishReceipt { sequence, gateways: 1, matched: 2 }
    }

    #[test]
    fn a_number_is_remembered_until_its_publisher_is_answered() {
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
    fn a_refused_number_is_new_even_after_later_ones() {
        let mut publishers = Publishers::default();
        publishers.enter(A, LinkNumber(1), 1);
        publishers.stage(A, 2, receipt(7), AT);
        assert_eq!(publishers.look_up(A, 1), Repeat::New);
        publishers.stage(A, 1, receipt(8), AT);
        assert_eq!(publishers.look_up(A, 1), Repeat::Waiting);
        assert_eq!(publishers.look_up(A, 2), Repeat::Waiting);
    }

    #[test]
    fn the_numbers_of_a_publisher_are_bounded() {
        let mut publishers = Publishers::default();
        for number in 1..=MAX_UNANSWERED as u64 {
            publishers.stage(A, number, receipt(number), AT);
        }
        assert_eq!(publishers.look_up(A, MAX_UNANSWERED as u64 + 1), Repeat::Full);
        assert_eq!(publishers.look_up(A, 1), Repeat::Waiting);
    }

    #[test]
    fn only_a_publisher_that_stays_away_is_forgotten() {
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
    fn a_number_expires_even_if_its_publisher_stays() {
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
    fn the_publishers_that_left_first_are_forgotten() {
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
    fn a_publisher_without_numbers_leaves_nothing_behind() {
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
    fn all_numbers_are_bounded_and_everyone_has_a_share() {
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
        // A publisher that leaves makes room for those that stay.
        publishers.leave(InstanceId(3), LinkNumber(3));
        assert_eq!(publishers.look_up(late, SHARE as u64 + 1), Repeat::New);
        assert_eq!(publishers.look_up(InstanceId(3), 1), Repeat::New);
    }

    #[test]
    fn a_recovered_number_keeps_its_age() {
        let mut publishers = Publishers::default();
        publishers.recover(A, 1, receipt(7), AT);
        publishers.recover(A, 2, receipt(8), AT + REMEMBERED / 2);
        publishers.expire(AT + REMEMBERED);
        assert_eq!(publishers.look_up(A, 1), Repeat::New);
        assert_eq!(publishers.look_up(A, 2), Repeat::Accepted(receipt(8)));
    }
}
