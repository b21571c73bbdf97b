//! What a publisher answers when operators ask.

use campanile_messages::inquiry::{Answer, PublisherSummary, Question, Summary};

/// Answers a question of an operator.
pub fn answer(question: Question) -> Answer {
    match question {
        Question::Summary => Answer::Summary(Summary::Publisher(PublisherSummary {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })),
        _ => Answer::Nothing,
    }
}
