//! What a registry tells the bridge of its connections: what they listen to, and what those who come
//! back have seen. The other direction is [`Delivery`](crate::delivery::Delivery).

use campanile_messages::Audience;

use crate::resume::ReplayStart;

/// A worker's own number for a step that the broker is to confirm; tickets grow.
pub type StepTicket = u64;

/// How the number of connections that listen to an audience changes.
pub type Change = (Audience, i32);

/// What the connections of a worker have done since its last report.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// All steps up to this one are counted in.
    pub ticket: StepTicket,
    /// At most one per audience.
    pub changes: Vec<Change>,
    /// Clients that want to hear of the past, by their steps.
    pub resumes: Vec<Resume>,
    /// Resumes of earlier reports for which nobody waits any more.
    pub gone: Vec<StepTicket>,
}

/// A client that comes back, or one of its groups, or a new listener that asks for some of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The step with which it came.
    pub ticket: StepTicket,
    /// Where it goes on.
    pub start: ReplayStart,
    /// What it listens to from this step on.
    pub audiences: Vec<Audience>,
}
