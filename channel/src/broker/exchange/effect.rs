//! What the actor has to do for an exchange.

use campanile_messages::link::{Number, Refusal};
use campanile_messages::{Audience, Content, EncodedFrame, FromBroker, InstanceId, Position};

use crate::broker::intake::Trace;
use crate::broker::routing::LinkNumber;

/// What the actor has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a message on one link.
    Send { link: LinkNumber, message: FromBroker },
    /// Send an event on several links, each of which is listed once.
    Route { links: Vec<LinkNumber>, frame: EncodedFrame },
    /// Send the events that a gateway missed, as in `Replay`.
    CatchUp { link: LinkNumber, frames: Vec<EncodedFrame> },
    /// Send what a gateway fetches of the past, in order, even past the bound of its link: the log is
    /// bounded, and a gateway that does not read gets it only once.
    Replay { link: LinkNumber, frames: Vec<EncodedFrame> },
    /// Send a message on one link, or drop it if the link has no room: an operator asks again.
    Offer { link: LinkNumber, message: FromBroker },
    /// Pass an operator's question on to several links. A link without room does not get it.
    PassOn { links: Vec<LinkNumber>, frame: EncodedFrame },
    /// Answer the question of an operator on one link, after it was passed on to others.
    AnswerInquiry {
        link: LinkNumber,
        number: Number,
        instances: Vec<InstanceId>,
        question: Content,
    },
    /// End every link and begin a [new epoch](super::Exchange::begin_epoch), because a gateway has seen
    /// events that this log does not have.
    BeginEpoch,
    /// Finish the span of a publish that belongs to a trace.
    FinishSpan(Box<FollowedPublish>),
}

/// A publish that belongs to a trace, after it was released or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedPublish {
    pub trace: Trace,
    pub audience: Audience,
    /// The size of the content.
    pub body_bytes: usize,
    /// Where its event stands in the log, and how many gateways it was sent to; or why there is none.
    pub outcome: Result<(Position, usize), Refusal>,
}
