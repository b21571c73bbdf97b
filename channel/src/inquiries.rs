//! The questions of operators that a publisher has asked, until they are answered. Pure: a part of the
//! core of the actor that owns the publisher's link.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use campanile_messages::inquiry::{Answer, unpack, weight};
use campanile_messages::link::Number;
use campanile_messages::{Content, InstanceId};

/// The most questions that may wait for answers. One more may be for the open pages, which are shown nothing
/// otherwise.
pub const MAX_INQUIRIES: usize = 32;

/// How many of them are kept for those that close connections, or ask how everybody fares, so that look-ups cannot
/// keep these from being asked. The last half of these are for closing connections alone.
const KEPT_INQUIRIES: usize = 8;

/// How long a question waits for its answers.
pub const INQUIRY_LIMIT: Duration = Duration::from_secs(3);

/// The most bytes that the answers to one question take together, by their [`weight`]. Processes whose answers would
/// pass it count as silent.
const MAX_ANSWERS_BYTES: usize = 16 << 20;

/// The wall clock, in microseconds since 1970. What operators are shown is counted back from it when they
/// ask: times are kept by monotonic clocks.
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as u64
}

/// What a cluster has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The broker's answer.
    pub broker: Answer,
    /// The answers of those that were asked, in the order in which they came.
    pub answers: Vec<(InstanceId, Answer)>,
    /// Who was asked and did not answer in time.
    pub silent: Vec<InstanceId>,
}

/// What a question is for, which decides how many others may wait when it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody looks.
    Look,
    /// Somebody wants to know how everybody fares.
    Summary,
    /// Connections shall be closed.
    Disconnect,
    /// The open pages wait for it, one question at a time.
    Pages,
}

impl Purpose {
    /// How many may wait with it.
    fn most(self) -> usize {
        match self {
            Self::Look => MAX_INQUIRIES - KEPT_INQUIRIES,
            Self::Summary => MAX_INQUIRIES - KEPT_INQUIRIES / 2,
            Self::Disconnect => MAX_INQUIRIES,
            Self::Pages => MAX_INQUIRIES + 1,
        }
    }
}

/// Why a question was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoInquiry {
    /// The publisher has no link to its broker at the moment.
    #[error("this publisher has no link to its broker: try again")]
    NoBroker,
    /// The link was lost before the answer came.
    #[error("this publisher lost its link to the broker before the answer came: try again")]
    LinkLost,
    /// The broker reads too slowly now.
    #[error("the link to the broker is full, because the broker reads too slowly now: try again")]
    LinkFull,
    /// The broker is of an earlier release.
    #[error("the broker of this cluster does not know such questions: it is of an earlier release")]
    NotSupported,
    /// The broker did not answer.
    #[error("the broker did not answer within {} s: try again", INQUIRY_LIMIT.as_secs())]
    Unanswered,
    /// Too many questions wait already.
    #[error("too many questions wait for their answers already: try again")]
    TooMany,
    /// The broker passed the question on to nobody, because this publisher asks too often.
    #[error("this publisher asked too many questions within this second: try again")]
    Busy,
    /// The broker passed the question on to nobody, because the only one who knows has no link.
    #[error("the gateway of this worker has no link to the broker now: try again")]
    GatewayAway,
    /// This process shuts down.
    #[error("this publisher is shutting down: ask another one")]
    ShuttingDown,
}

impl NoInquiry {
    /// The reason in one word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoBroker => "no_broker",
            Self::LinkLost => "link_lost",
            Self::LinkFull => "link_full",
            Self::NotSupported => "not_supported",
            Self::Unanswered => "unanswered",
            Self::TooMany => "too_many",
            Self::Busy => "busy",
            Self::GatewayAway => "away",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// Whether the question surely reached nobody but the broker. What it asked for was not done then.
    pub fn was_not_asked(self) -> bool {
        match self {
            Self::NoBroker
            | Self::LinkFull
            | Self::NotSupported
            | Self::TooMany
            | Self::Busy
            | Self::GatewayAway => true,
            Self::LinkLost | Self::Unanswered | Self::ShuttingDown => false,
        }
    }

    /// Whether the same question may be answered a second later.
    pub fn may_pass(self) -> bool {
        !matches!(self, Self::NotSupported | Self::ShuttingDown)
    }
}

/// The questions that wait. `W` is what is needed to answer one of them.
#[derive(Debug)]
pub struct Inquiries<W> {
    pending: BTreeMap<Number, Pending<W>>,
    last: Number,
}

#[derive(Debug)]
struct Pending<W> {
    waiter: W,
    until: Instant,
    /// `None` until the broker has said whom it asked.
    broker: Option<Answer>,
    asked: HashSet<InstanceId>,
    answers: Vec<(InstanceId, Answer)>,
    bytes: usize,
}

/// A question that has ended, and how.
pub type Ended<W> = (W, Result<Answered, NoInquiry>);

impl<W> Default for Inquiries<W> {
    fn default() -> Self {
        Self { pending: BTreeMap::new(), last: 0 }
    }
}

impl<W> Inquiries<W> {
    /// Whether no question waits.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Adds a question and returns its number.
    ///
    /// # Errors
    /// Returns the waiter if too many wait already.
    pub fn ask(&mut self, waiter: W, purpose: Purpose, now: Instant) -> Result<Number, W> {
        if self.pending.len() >= purpose.most() {
            return Err(waiter);
        }
        self.last += 1;
        let pending = Pending {
            waiter,
            until: now + INQUIRY_LIMIT,
            broker: None,
            asked: HashSet::new(),
            answers: Vec::new(),
            bytes: 0,
        };
        self.pending.insert(self.last, pending);
        Ok(self.last)
    }

    /// Takes a question back that could not be sent.
    pub fn take_back(&mut self, number: Number) -> Option<W> {
        self.pending.remove(&number).map(|pending| pending.waiter)
    }

    /// Handles the broker's own answer, with whom it asked. Returns the question if nobody was.
    pub fn asking(
        &mut self,
        number: Number,
        instances: &[InstanceId],
        content: &Content,
    ) -> Option<Ended<W>> {
        let pending = self.pending.get_mut(&number)?;
        if pending.broker.is_none() {
            pending.broker = Some(unpack(content).unwrap_or(Answer::NotUnderstood));
            pending.asked = instances.iter().copied().collect();
        }
        self.end_if_complete(number)
    }

    /// Handles the answer of one process. Returns the question if it was the last one.
    pub fn told(
        &mut self,
        number: Number,
        instance: InstanceId,
        content: &Content,
    ) -> Option<Ended<W>> {
        let pending = self.pending.get_mut(&number)?;
        let weight = weight(content);
        if pending.bytes + weight <= MAX_ANSWERS_BYTES && pending.asked.remove(&instance) {
            pending.bytes += weight;
            let answer = unpack(content).unwrap_or(Answer::NotUnderstood);
            pending.answers.push((instance, answer));
        }
        self.end_if_complete(number)
    }

    /// Removes and returns the questions whose time is over, with what was answered by then.
    pub fn expire(&mut self, now: Instant) -> Vec<Ended<W>> {
        let late = self.pending.extract_if(.., |_, pending| pending.until <= now);
        late.map(|(_, pending)| pending.end(NoInquiry::Unanswered)).collect()
    }

    /// Removes and returns all questions, for this reason unless the broker has answered.
    pub fn give_up(&mut self, reason: NoInquiry) -> Vec<Ended<W>> {
        let all = std::mem::take(&mut self.pending);
        all.into_values().map(|pending| pending.end(reason)).collect()
    }

    fn end_if_complete(&mut self, number: Number) -> Option<Ended<W>> {
        let pending = self.pending.get(&number)?;
        (pending.broker.is_some() && pending.asked.is_empty())
            .then(|| self.pending.remove(&number))
            .flatten()
            .map(|pending| pending.end(NoInquiry::Unanswered))
    }
}

impl<W> Pending<W> {
    fn end(self, otherwise: NoInquiry) -> Ended<W> {
        let Self { waiter, broker, asked, answers, .. } = self;
        let mut silent: Vec<_> = asked.into_iter().collect();
        silent.sort_unstable();
        let answered = match broker {
            None => Err(otherwise),
            // Otherwise the broker has no answer of its own, but has passed the question on.
            Some(Answer::Busy) if answers.is_empty() && silent.is_empty() => Err(NoInquiry::Busy),
            Some(Answer::Away) => Err(NoInquiry::GatewayAway),
            Some(broker) => Ok(Answered { broker, answers, silent }),
        };
        (waiter, answered)
    }
}

#[cfg(test)]
mod tests {
    use campanile_messages::inquiry::pack;

    use super::*;

    const ONE: InstanceId = InstanceId(1);
    const TWO: InstanceId = InstanceId(2);

    fn nothing() -> Content {
        pack(&Answer::Nothing).expect("small")
    }

    #[test]
    fn a_question_ends_with_the_last_answer() {
        let (mut inquiries, now) = (Inquiries::default(), Instant::now());
        let number = inquiries.ask("who", Purpose::Look, now).expect("room");
        assert_eq!(inquiries.told(number, ONE, &nothing()), None, "nobody was asked yet");
        assert_eq!(inquiries.asking(number, &[ONE, TWO], &nothing()), None);
        assert_eq!(inquiries.told(number, ONE, &nothing()), None);
        assert_eq!(inquiries.told(number, ONE, &nothing()), None, "an answer counts once");
        assert_eq!(inquiries.told(number + 1, TWO, &nothing()), None, "another question");
        let garbage = Content::Binary(vec![0xc1].into());
        let (who, answered) = inquiries.told(number, TWO, &garbage).expect("complete");
        let answered = answered.expect("answers");
        assert_eq!((who, answered.broker, answered.silent.len()), ("who", Answer::Nothing, 0));
        assert_eq!(answered.answers, [(ONE, Answer::Nothing), (TWO, Answer::NotUnderstood)]);
        assert!(inquiries.is_empty());
    }

    #[test]
    fn a_question_that_concerns_nobody_else_ends_at_once() {
        let (mut inquiries, now) = (Inquiries::default(), Instant::now());
        let number = inquiries.ask((), Purpose::Look, now).expect("room");
        assert!(inquiries.asking(number, &[], &nothing()).is_some());
    }

    #[test]
    fn a_question_that_the_broker_passed_on_to_nobody_has_no_answer() {
        let (mut inquiries, now) = (Inquiries::default(), Instant::now());
        let mut ask = |instances: &[InstanceId], answer: &Answer| {
            let number = inquiries.ask((), Purpose::Look, now).expect("room");
            let ended = inquiries.asking(number, instances, &pack(answer).expect("small"));
            ended.or_else(|| inquiries.told(number, ONE, &nothing())).expect("complete").1
        };
        assert_eq!(ask(&[], &Answer::Busy), Err(NoInquiry::Busy));
        assert_eq!(ask(&[], &Answer::Away), Err(NoInquiry::GatewayAway));
        let answered = ask(&[ONE], &Answer::Busy).expect("an answer without the broker's");
        assert_eq!(answered.answers, [(ONE, Answer::Nothing)]);
    }

    #[test]
    fn those_that_do_not_answer_in_time_are_named() {
        let (mut inquiries, now) = (Inquiries::default(), Instant::now());
        let number = inquiries.ask("a", Purpose::Look, now).expect("room");
        inquiries.asking(number, &[TWO, ONE], &nothing());
        inquiries.ask("b", Purpose::Look, now).expect("room");
        assert_eq!(inquiries.expire(now + INQUIRY_LIMIT - Duration::from_nanos(1)), []);
        let mut ended = inquiries.expire(now + INQUIRY_LIMIT).into_iter();
        let (who, answered) = ended.next().expect("the first");
        assert_eq!((who, answered.expect("the broker's").silent), ("a", vec![ONE, TWO]));
        assert_eq!(ended.next(), Some(("b", Err(NoInquiry::Unanswered))));
    }

    #[test]
    fn questions_and_answers_are_bounded() {
        let (mut inquiries, now) = (Inquiries::default(), Instant::now());
        for n in 0..MAX_INQUIRIES - KEPT_INQUIRIES {
            inquiries.ask(n, Purpose::Look, now).expect("room");
        }
        assert_eq!(inquiries.ask(99, Purpose::Look, now), Err(99));
        for n in MAX_INQUIRIES - KEPT_INQUIRIES..MAX_INQUIRIES - KEPT_INQUIRIES / 2 {
            inquiries.ask(n, Purpose::Summary, now).expect("room for how everybody fares");
        }
        assert_eq!(inquiries.ask(99, Purpose::Summary, now), Err(99));
        for n in MAX_INQUIRIES - KEPT_INQUIRIES / 2..MAX_INQUIRIES {
            inquiries.ask(n, Purpose::Disconnect, now).expect("room to close connections");
        }
        assert_eq!(inquiries.ask(99, Purpose::Disconnect, now), Err(99));
        inquiries.ask(100, Purpose::Pages, now).expect("room for the pages");
        assert_eq!(inquiries.ask(101, Purpose::Pages, now), Err(101));
        assert_eq!(inquiries.give_up(NoInquiry::NoBroker).len(), MAX_INQUIRIES + 1);
        let number = inquiries.ask(1, Purpose::Look, now).expect("room");
        let many: Vec<_> = (0..3).map(InstanceId).collect();
        inquiries.asking(number, &many, &nothing());
        // One value of as many bytes.
        let len = u32::to_be_bytes(MAX_ANSWERS_BYTES as u32 - 5);
        let large = [&[0xc6][..], &len, &vec![0; MAX_ANSWERS_BYTES - 5]].concat();
        let large = Content::Binary(large.into());
        inquiries.told(number, many[0], &large);
        inquiries.told(number, many[1], &nothing());
        let ended = inquiries.expire(now + INQUIRY_LIMIT).pop().expect("the question");
        assert_eq!(ended.1.expect("the broker's").silent, many[1..]);
    }
}
