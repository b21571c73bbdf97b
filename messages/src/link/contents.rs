//! Messages with their contents taken out, and put back in.

use super::{FromBroker, ToBroker};
use crate::Event;

impl<C> ToBroker<C> {
    /// Replaces the content, if the message has one.
    ///
    /// # Errors
    /// The error of `replace`, which is called at most once.
    pub fn try_map_content<D, E>(
        self,
        replace: impl FnOnce(C) -> Result<D, E>,
    ) -> Result<ToBroker<D>, E> {
        Ok(match self {
            Self::Heartbeat => ToBroker::Heartbeat,
            Self::Interest { revision, changes } => ToBroker::Interest { revision, changes },
            Self::Attach { cursor } => ToBroker::Attach { cursor },
            Self::Fetch { number, wants, max_bytes } => {
                ToBroker::Fetch { number, wants, max_bytes }
            }
            Self::Counted { ticket, tally } => ToBroker::Counted { ticket, tally },
            Self::Delivered { ticket, outcome } => ToBroker::Delivered { ticket, outcome },
            Self::Publish {
                number,
                unanswered,
                id,
                count_within_millis,
                audience,
                except,
                content,
                from,
            } => ToBroker::Publish {
                number,
                unanswered,
                id,
                count_within_millis,
                audience,
                except,
                content: replace(content)?,
                from,
            },
            Self::Settled { unanswered } => ToBroker::Settled { unanswered },
            Self::AskHead { number } => ToBroker::AskHead { number },
            Self::Direct { number, to, content } => {
                ToBroker::Direct { number, to, content: replace(content)? }
            }
            Self::Traced { number, context } => ToBroker::Traced { number, context },
            Self::Ask { number, to, content } => {
                ToBroker::Ask { number, to, content: replace(content)? }
            }
            Self::Told { ticket, content } => ToBroker::Told { ticket, content: replace(content)? },
        })
    }
}

impl<C> FromBroker<C> {
    /// Replaces the content, if the message has one.
    ///
    /// # Errors
    /// The error of `replace`, which is called at most once.
    pub fn try_map_content<D, E>(
        self,
        replace: impl FnOnce(C) -> Result<D, E>,
    ) -> Result<FromBroker<D>, E> {
        Ok(match self {
            Self::Heartbeat => FromBroker::Heartbeat,
            Self::Confirmed { revision, head } => FromBroker::Confirmed { revision, head },
            Self::Attached { from, gap } => FromBroker::Attached { from, gap },
            Self::Mark { head } => FromBroker::Mark { head },
            Self::Past { audience, events, expired, complete_after } => {
                FromBroker::Past { audience, events, expired, complete_after }
            }
            Self::Fetched { number, served } => FromBroker::Fetched { number, served },
            Self::Count { ticket, sequence, within_millis } => {
                FromBroker::Count { ticket, sequence, within_millis }
            }
            Self::Traced { sequence, context } => FromBroker::Traced { sequence, context },
            Self::Event(Event { sequence, audience, except, content, from }) => {
                let content = replace(content)?;
                FromBroker::Event(Event { sequence, audience, except, content, from })
            }
            Self::Head { number, head } => FromBroker::Head { number, head },
            Self::Deliver { ticket, to, content } => {
                FromBroker::Deliver { ticket, to, content: replace(content)? }
            }
            Self::Accepted { number, sequence, matched, counting, away } => {
                FromBroker::Accepted { number, sequence, matched, counting, away }
            }
            Self::Counted { number, tally } => FromBroker::Counted { number, tally },
            Self::Refused { number, refusal } => FromBroker::Refused { number, refusal },
            Self::Answered { number, outcome } => FromBroker::Answered { number, outcome },
            Self::Stamp { unix_micros } => FromBroker::Stamp { unix_micros },
            Self::Asked { ticket, content } => {
                FromBroker::Asked { ticket, content: replace(content)? }
            }
            Self::Asking { number, instances, content } => {
                FromBroker::Asking { number, instances, content: replace(content)? }
            }
            Self::Told { number, instance, content } => {
                FromBroker::Told { number, instance, content: replace(content)? }
            }
            Self::Disk { is_waiting } => FromBroker::Disk { is_waiting },
            Self::Goodbye { reason } => FromBroker::Goodbye { reason },
        })
    }
}
