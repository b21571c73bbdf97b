//! Compares what clients got with what was accepted, event by event. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use campanile_messages::Position;

use super::push::{Push, PushOutcome};
use super::transcript::{Transcript, TranscriptEntry};
use crate::client::{Ended, Recovery};

/// Only this many offences are described; all are counted.
const MAX_TOLD: usize = 30;

/// The valid reasons for a gap.
const REASONS: [&str; 4] = ["epoch_changed", "expired", "too_far", "malformed"];

/// What was accepted, and what the clients got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Pushes by their outcome.
    pub accepted: usize,
    pub unknown: usize,
    pub refused: usize,
    /// Events that clients got and should have got.
    pub deliveries: usize,
    /// Events that a client should have got and has not, outside the gaps of which it was notified.
    pub lost: usize,
    pub duplicated: usize,
    /// Events and positions at or below what the client had already.
    pub reordered: usize,
    /// Events that were refused, never pushed, changed, or for others; answers and ends of connections
    /// without a reason.
    pub strange: usize,
    /// A stream that continued elsewhere without a notification.
    pub unexplained_gaps: usize,
    /// A stream that continued elsewhere with a notification.
    pub explained_gaps: usize,
    /// Events that are missing within explained gaps.
    pub missed: usize,
    /// Descriptions of the first offences.
    pub told: Vec<String>,
    /// What may still come, in a later part of the run.
    pub still_unknown: Vec<Push>,
}

/// A position in the order of all logs: the epochs by when they were first seen.
type LogPlace = (usize, u64);

/// The log as the callers know it.
struct Log<'a> {
    pushes: HashMap<u64, &'a Push>,
    epochs: Vec<u64>,
    /// The places of events, including those of unknown outcome that a client has got.
    places: HashMap<u64, LogPlace>,
    /// The place of the last accepted event. Later ones may still be on their way.
    end: LogPlace,
}

/// Judges a run, or a part of one, that ended with a push to everyone. `earlier` are the pushes of
/// earlier parts that were still unknown then.
pub fn judge(pushes: &[Push], earlier: &[Push], transcripts: &[Transcript]) -> Verdict {
    let mut verdict = Verdict::default();
    let log = Log::new(pushes, earlier, transcripts, &mut verdict);
    for transcript in transcripts {
        ClientCheck::new(&log, transcript, &mut verdict).judge();
    }
    verdict.still_unknown = pushes
        .iter()
        .chain(earlier)
        .filter(|push| {
            push.outcome == PushOutcome::Unknown && !log.places.contains_key(&push.number)
        })
        .cloned()
        .collect();
    verdict
}

impl Verdict {
    /// Whether the promise was kept.
    pub fn is_clean(&self) -> bool {
        let Self { lost, duplicated, reordered, strange, unexplained_gaps, .. } = self;
        lost + duplicated + reordered + strange + unexplained_gaps == 0
    }

    /// Adds the verdict on a later part.
    pub fn add(&mut self, later: &Self) {
        self.accepted += later.accepted;
        self.unknown += later.unknown;
        self.refused += later.refused;
        self.deliveries += later.deliveries;
        self.lost += later.lost;
        self.duplicated += later.duplicated;
        self.reordered += later.reordered;
        self.strange += later.strange;
        self.unexplained_gaps += later.unexplained_gaps;
        self.explained_gaps += later.explained_gaps;
        self.missed += later.missed;
        let room = MAX_TOLD.saturating_sub(self.told.len());
        self.told.extend(later.told.iter().take(room).cloned());
    }

    fn tell(&mut self, offence: String) {
        if self.told.len() < MAX_TOLD {
            self.told.push(offence);
        }
    }
}

impl<'a> Log<'a> {
    fn new(
        pushes: &'a [Push],
        earlier: &'a [Push],
        transcripts: &[Transcript],
        verdict: &mut Verdict,
    ) -> Self {
        let epochs = epochs(pushes, transcripts);
        let by_number = pushes.iter().chain(earlier).map(|push| (push.number, push)).collect();
        let mut log = Self { pushes: by_number, epochs, places: HashMap::new(), end: (0, 0) };
        let mut taken = BTreeMap::new();
        for push in pushes {
            match &push.outcome {
                PushOutcome::Accepted(position) => {
                    verdict.accepted += 1;
                    let place = log.place(*position);
                    log.end = log.end.max(place);
                    log.places.insert(push.number, place);
                    if let Some(other) = taken.insert(place, push.number) {
                        verdict.strange += 1;
                        let number = push.number;
                        verdict.tell(format!("{number} and {other} were accepted at {position}"));
                    }
                }
                PushOutcome::Unknown => verdict.unknown += 1,
                PushOutcome::Refused => verdict.refused += 1,
                PushOutcome::Wrong(answer) => {
                    verdict.strange += 1;
                    verdict.tell(format!("push {} was answered {answer}", push.number));
                }
            }
        }
        for note in transcripts.iter().flat_map(|transcript| &transcript.notes) {
            if let TranscriptEntry::Event { position, number, .. } = note.entry
                && log.pushes.get(&number).is_some_and(|push| push.outcome == PushOutcome::Unknown)
            {
                let place = log.place(position);
                log.places.entry(number).or_insert(place);
            }
        }
        log
    }

    fn place(&self, position: Position) -> LogPlace {
        let epoch = self.epochs.iter().position(|epoch| *epoch == position.epoch);
        (epoch.expect("every epoch is known"), position.sequence)
    }
}

/// All epochs, in the order in which anyone first saw them.
fn epochs(pushes: &[Push], transcripts: &[Transcript]) -> Vec<u64> {
    let mut first = HashMap::<u64, Duration>::new();
    let mut see = |epoch: u64, at: Duration| {
        let first = first.entry(epoch).or_insert(at);
        *first = (*first).min(at);
    };
    for push in pushes {
        if let PushOutcome::Accepted(position) = push.outcome {
            see(position.epoch, push.answered_at);
        }
    }
    for note in transcripts.iter().flat_map(|transcript| &transcript.notes) {
        if let Some(position) = note.entry.position() {
            see(position.epoch, note.at);
        }
    }
    let mut epochs: Vec<_> = first.into_iter().collect();
    epochs.sort_by_key(|(epoch, at)| (*at, *epoch));
    epochs.into_iter().map(|(epoch, _)| epoch).collect()
}

/// Judges one client.
struct ClientCheck<'a> {
    log: &'a Log<'a>,
    transcript: &'a Transcript,
    verdict: &'a mut Verdict,
    start: Option<LogPlace>,
    cursor: LogPlace,
    /// Numbers of the events that came.
    seen: HashSet<u64>,
    /// The gaps of which the client was notified: after the first place, up to the second.
    gaps: Vec<(LogPlace, LogPlace)>,
}

impl<'a> ClientCheck<'a> {
    fn new(log: &'a Log<'a>, transcript: &'a Transcript, verdict: &'a mut Verdict) -> Self {
        let (seen, gaps) = (HashSet::new(), Vec::new());
        Self { log, transcript, verdict, start: None, cursor: (0, 0), seen, gaps }
    }

    fn judge(mut self) {
        for note in &self.transcript.notes {
            self.read(&note.entry);
        }
        let Some(start) = self.start else {
            self.verdict.strange += 1;
            return self.tell("was never greeted");
        };
        for (number, place) in &self.log.places {
            let is_expected = *place > start && *place <= self.log.end;
            let is_for_it = self.transcript.listens_to(self.log.pushes[number].audience);
            if !is_expected || !is_for_it || self.seen.contains(number) {
                continue;
            }
            if self.gaps.iter().any(|(from, to)| from < place && place <= to) {
                self.verdict.missed += 1;
            } else {
                self.verdict.lost += 1;
                self.tell(&format!("has not got {number}, which is at {place:?}"));
            }
        }
    }

    fn read(&mut self, entry: &TranscriptEntry) {
        let place = entry.position().map(|position| self.log.place(position));
        match (entry, place) {
            (
                TranscriptEntry::Start(_) | TranscriptEntry::Hello(_, Recovery::NotAsked),
                Some(place),
            ) if self.start.is_none() => {
                self.start = Some(place);
                self.cursor = place;
            }
            (TranscriptEntry::Event { number, .. }, Some(place)) => {
                self.event(*number, entry, place)
            }
            (TranscriptEntry::Mark(_), Some(place)) => {
                self.advance(entry, place);
            }
            // It must start at the position asked for; a later one would skip events.
            (TranscriptEntry::Hello(_, Recovery::Recovered), Some(place)) => {
                if place != self.cursor {
                    self.leap(entry, place);
                }
            }
            (
                TranscriptEntry::Gap(reason, _)
                | TranscriptEntry::Hello(_, Recovery::NotRecovered(reason)),
                Some(place),
            ) if REASONS.contains(&&**reason) => {
                self.verdict.explained_gaps += 1;
                self.gaps.push((self.cursor, place));
                self.cursor = place;
            }
            (_, Some(place)) => self.leap(entry, place),
            (TranscriptEntry::Ended(ended), None) if is_reasonable(ended) => {}
            (_, None) => {
                self.verdict.strange += 1;
                self.tell(&format!("got {entry:?}"));
            }
        }
    }

    fn event(&mut self, number: u64, entry: &TranscriptEntry, place: LogPlace) {
        let TranscriptEntry::Event { to, .. } = entry else { return };
        let is_as_pushed = self.log.pushes.get(&number).is_some_and(|push| {
            self.transcript.listens_to(push.audience)
                && to.is_none_or(|to| to == push.audience)
                && self.log.places.get(&number) == Some(&place)
        });
        if !self.seen.insert(number) {
            self.verdict.duplicated += 1;
            self.tell(&format!("got a second {entry:?}"));
        } else if !is_as_pushed {
            self.verdict.strange += 1;
            let push = self.log.pushes.get(&number);
            self.tell(&format!("got {entry:?}, which was {push:?}"));
        } else if self.advance(entry, place) {
            self.verdict.deliveries += 1;
        }
    }

    /// Advances to a place, which must be later in the same epoch; a mark may repeat the same place.
    fn advance(&mut self, entry: &TranscriptEntry, place: LogPlace) -> bool {
        if place.0 != self.cursor.0 {
            self.leap(entry, place);
            return false;
        }
        let is_mark = matches!(entry, TranscriptEntry::Mark(_));
        if place < self.cursor || place == self.cursor && !is_mark {
            self.verdict.reordered += 1;
            self.tell(&format!("got {entry:?} after {:?}", self.cursor));
            return false;
        }
        self.cursor = place;
        true
    }

    fn leap(&mut self, entry: &TranscriptEntry, place: LogPlace) {
        self.verdict.unexplained_gaps += 1;
        self.tell(&format!("was at {:?} and got {entry:?}", self.cursor));
        self.cursor = place;
    }

    fn tell(&mut self, offence: &str) {
        self.verdict.tell(format!("{} {offence}", self.transcript.who));
    }
}

/// Whether this is a valid end for a client of the load.
fn is_reasonable(ended: &Ended) -> bool {
    match ended {
        Ended::Closed(code) => [1001, 4001, 1011, 1012, 1013].contains(code),
        Ended::Status(status) => *status == 503,
        Ended::ComeBack | Ended::Lost | Ended::Silent | Ended::HungUp => true,
    }
}
