//! What is pushed, and what the broker is sent for it.

use std::time::Duration;

use campanile_messages::link::Number;
use campanile_messages::{
    Address, Audience, Content, ContentKind, IdempotencyKey, ToBroker, TraceContext, UserName,
};

/// Whom a push is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Everyone, or a group.
    Audience(Audience),
    /// One connection.
    Connection(Address),
}

impl Target {
    /// The address of the one connection; `None` for an audience.
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Audience(_) => None,
            Self::Connection(to) => Some(*to),
        }
    }
}

/// What a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// That the broker has the event.
    #[default]
    Accepted,
    /// That the gateways have reported what they wrote.
    Delivered,
}

/// One push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Whom it is for.
    pub target: Target,
    /// The one connection of the audience that does not get it. `None` for a push to one connection.
    pub except: Option<Address>,
    /// What it says.
    pub content: Content,
    /// A repeat under the same id is accepted once. `None` for a push to one connection.
    pub id: Option<IdempotencyKey>,
    /// What its caller waits for. It means nothing for a push to one connection, because the only
    /// answer to that is that the event was written.
    pub wait: Wait,
    /// How long its caller waits at most, from the moment when it was added.
    pub timeout: Option<Duration>,
    /// The user whose client publishes it; `None` for a backend. The ids of each user are apart.
    pub from: Option<UserName>,
    /// The span of this process, if the push belongs to a trace that the broker and the gateways follow. It
    /// means nothing for a push to one connection.
    pub trace: Option<TraceContext>,
}

impl Push {
    /// Returns a push without an exception, an id and a timeout, whose caller waits until it is
    /// accepted.
    pub fn new(target: Target, content: Content) -> Self {
        Self {
            target,
            except: None,
            content,
            id: None,
            wait: Wait::Accepted,
            timeout: None,
            from: None,
            trace: None,
        }
    }

    /// Returns the message to the broker, in front of the content. If the caller waits for what is
    /// delivered, gateways have `within_millis` to count what they wrote.
    pub fn head(
        &self,
        number: Number,
        unanswered: Number,
        within_millis: u32,
    ) -> ToBroker<ContentKind> {
        let content = self.content.kind();
        match &self.target {
            Target::Audience(audience) => ToBroker::Publish {
                number,
                unanswered,
                id: self.id.clone(),
                count_within_millis: (self.wait == Wait::Delivered).then_some(within_millis),
                audience: audience.clone(),
                except: self.except,
                content,
                from: self.from.clone(),
            },
            Target::Connection(to) => ToBroker::Direct { number, to: *to, content },
        }
    }
}
