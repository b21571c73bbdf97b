//! What a publisher answers when operators ask.

use std::time::Instant;

use campanile_channel::usage;
use campanile_messages::Position;
use campanile_messages::inquiry::trace::PublisherTrace;
use campanile_messages::inquiry::{Answer, PublisherSummary, Question, Summary, Traced};

use crate::config::PublisherConfig;
use crate::courier::health::Health;
use crate::meters::PublisherMeters;

/// Answers the questions of operators.
pub struct Answers {
    started: Instant,
    meters: PublisherMeters,
    health: Health,
}

impl Answers {
    /// For a publisher that starts now.
    pub fn new(config: &PublisherConfig) -> Self {
        let (meters, health) = (config.meters.clone(), config.health.clone());
        Self { started: Instant::now(), meters, health }
    }

    /// Answers a question.
    pub fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Summary => Answer::Summary(Summary::Publisher(Box::new(self.summary()))),
            Question::Trace { position, .. } => self.trace(position),
            _ => Answer::Nothing,
        }
    }

    /// Whether this publisher has pushed an event, and with which key.
    fn trace(&self, position: Position) -> Answer {
        let Some(key) = self.meters.recent().key_of(position) else { return Answer::Nothing };
        Traced::Publisher(PublisherTrace { key: Some(key).filter(|key| !key.is_empty()) }).into()
    }

    fn summary(&self) -> PublisherSummary {
        PublisherSummary {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_millis: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            hindrance: self.health.readiness().hindrance().map(str::to_owned),
            usage: usage(),
            ..self.meters.summary()
        }
    }
}
