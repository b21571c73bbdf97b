//! What a registry reports to the bridge about its connections: what they listen to, and which events
//! they wait for. The other direction is [`Delivery`](crate::delivery::Delivery).

use campanile_messages::Audience;

use crate::resume::ReplayStart;

/// A worker's number for a step that the broker has to confirm. Each step has a higher one than the last.
pub type StepTicket = u64;

/// An audience, and by how much the number of its listeners changes.
pub type Change = (Audience, i32);

/// The changes at one worker since its last report.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The last step that the report includes.
    pub ticket: StepTicket,
    /// At most one change per audience.
    pub changes: Vec<Change>,
    /// The new resumes, in the order of their tickets.
    pub resumes: Vec<Resume>,
    /// The resumes of earlier reports that nobody waits for any more.
    pub gone: Vec<StepTicket>,
}

/// A step that waits for events: those that a returning client missed, in all its audiences or in one
/// group, or those that a new listener asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The ticket of the step.
    pub ticket: StepTicket,
    /// Where these events begin.
    pub start: ReplayStart,
    /// The audiences that the connection listens to from this step on.
    pub audiences: Vec<Audience>,
}
