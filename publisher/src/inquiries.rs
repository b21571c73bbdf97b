//! What a publisher answers when operators ask.

use campanile_messages::inquiry::trace::PublisherTrace;
use campanile_messages::inquiry::{Answer, PublisherSummary, Question, Summary, Traced};

use crate::pushes::RecentPushes;

/// Answers a question of an operator.
pub fn answer(question: Question, pushes: &RecentPushes) -> Answer {
    match question {
        Question::Summary => Answer::Summary(Summary::Publisher(PublisherSummary {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })),
        Question::Trace { position, .. } => {
            let key = pushes.key_of(position);
            let named = |key: &str| Some(key.to_owned()).filter(|key| !key.is_empty());
            key.map_or(Answer::Nothing, |key| {
                Traced::Publisher(PublisherTrace { key: named(key) }).into()
            })
        }
        _ => Answer::Nothing,
    }
}
