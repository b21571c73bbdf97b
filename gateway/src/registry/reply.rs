//! What a client gets when one of its steps is complete: its greeting, or the answer to a join, and the
//! events that it missed. Pure: a part of the registry's core.
//!
//! A client listens from the place of this reply in the deliveries. So the reply comes before every later
//! event, and the events that it missed end where the later ones begin.

use std::sync::Arc;

use campanile_messages::{Audience, Position};

use crate::delivery::{FoundEvents, ResumeOutcome};
use crate::dialects::Framed;
use crate::history::SaidHistory;
use crate::registry::subscriptions::{Standing, Step};
use crate::resume::{Lost, ReplayStart, Resumed};

/// An effect that writes to the client whose step is complete.
#[derive(Debug, PartialEq)]
pub enum ClientEffect {
    /// Send the greeting.
    Greet {
        /// The position after which its stream begins.
        position: Position,
        /// For a client with a position, whether it was resumed.
        resumed: Option<Resumed>,
        /// For a new listener that asked for earlier events, what follows.
        history: Option<SaidHistory>,
    },
    /// Send missed or earlier events, in order.
    Replay(Vec<Arc<Framed>>),
    /// Send that the client has joined an audience.
    SendJoined(Audience, Option<Resumed>),
    /// Send a position up to which nothing is missing.
    SendPosition(Position),
}

/// Replies to a step that waited for its confirmation only. `cursor` is the position that the deliveries
/// have reached.
pub fn confirmed(
    step: &Step,
    resumed: Option<Resumed>,
    standing: Standing,
    cursor: Position,
    effects: &mut Vec<ClientEffect>,
) {
    match step {
        Step::Attach(_) => {
            effects.push(ClientEffect::Greet { position: cursor, resumed, history: None })
        }
        Step::Join(_, audience) => {
            effects.push(ClientEffect::SendJoined(audience.clone(), resumed));
            // The replayed events may have lower positions than events that the client got before.
            if resumed.is_some() && standing == Standing::Settled {
                effects.push(ClientEffect::SendPosition(cursor));
            }
        }
    }
}

/// Replies to a step whose client missed events, or asked for earlier ones. `found` has these events, or
/// the reason why they are lost. `has_room` says whether they may be sent to the client; it is called only
/// if there are any.
pub fn resumed(
    step: &Step,
    start: ReplayStart,
    found: ResumeOutcome,
    standing: Standing,
    cursor: Position,
    has_room: impl FnOnce() -> bool,
    effects: &mut Vec<ClientEffect>,
) {
    let since = match start {
        ReplayStart::After(since) => since,
        ReplayStart::History(_) => return greet_with_history(found, cursor, effects),
    };
    let missed = found.and_then(|FoundEvents { events, .. }| {
        if events.is_empty() || has_room() { Ok(events) } else { Err(Lost::TooFar) }
    });
    let missed = match missed {
        Ok(missed) => missed,
        Err(lost) => return confirmed(step, Some(Err(lost)), standing, cursor, effects),
    };
    let resumed = Some(Ok(()));
    match step {
        Step::Attach(_) => {
            confirmed(step, resumed, standing, since, effects);
            effects.push(ClientEffect::Replay(missed));
        }
        Step::Join(..) => {
            effects.push(ClientEffect::Replay(missed));
            confirmed(step, resumed, standing, cursor, effects);
        }
    }
}

/// Greets a new listener and sends it the earlier events that it asked for. There is room for them,
/// because nothing waits in its outbox yet.
fn greet_with_history(found: ResumeOutcome, cursor: Position, effects: &mut Vec<ClientEffect>) {
    let FoundEvents { events, is_complete } =
        found.unwrap_or_else(|_| FoundEvents { events: Vec::new(), is_complete: false });
    // If the connection is lost before all of them have arrived, the client can resume before the next.
    let before = |first: &Arc<Framed>| first.sequence().saturating_sub(1);
    let sequence = events.first().map_or(cursor.sequence, before);
    let history = Some(SaidHistory { events: events.len(), complete: is_complete });
    let position = Position { sequence, ..cursor };
    effects.push(ClientEffect::Greet { position, resumed: None, history });
    effects.push(ClientEffect::Replay(events));
}

#[cfg(test)]
mod tests {
    use campanile_messages::{ConnectionId, GroupName};

    use super::*;
    use crate::history::History;

    const CONNECTION: ConnectionId = ConnectionId(1);

    fn at(sequence: u64) -> Position {
        Position { epoch: 1, sequence }
    }

    fn group() -> Audience {
        Audience::Group(GroupName::new("a").expect("a name"))
    }

    fn event(sequence: u64) -> Arc<Framed> {
        Framed::new(Some((at(sequence), group())), "x".into())
    }

    fn found(sequences: &[u64]) -> ResumeOutcome {
        Ok(FoundEvents {
            events: sequences.iter().copied().map(event).collect(),
            is_complete: true,
        })
    }

    fn replied(
        step: &Step,
        start: ReplayStart,
        found: ResumeOutcome,
        has_room: bool,
    ) -> Vec<ClientEffect> {
        let mut effects = Vec::new();
        let standing = Standing::Settled;
        resumed(step, start, found, standing, at(9), || has_room, &mut effects);
        effects
    }

    fn greet(sequence: u64, resumed: Option<Resumed>) -> ClientEffect {
        ClientEffect::Greet { position: at(sequence), resumed, history: None }
    }

    const SINCE: ReplayStart = ReplayStart::After(Position { epoch: 1, sequence: 5 });

    #[test]
    fn a_resumed_client_is_greeted_before_its_missed_events() {
        let attach = Step::Attach(CONNECTION);
        let replay = ClientEffect::Replay(vec![event(6), event(8)]);
        assert_eq!(replied(&attach, SINCE, found(&[6, 8]), true), [greet(5, Some(Ok(()))), replay]);
        let lost = |lost| [greet(9, Some(Err(lost)))];
        assert_eq!(replied(&attach, SINCE, Err(Lost::Expired), true), lost(Lost::Expired));
        assert_eq!(replied(&attach, SINCE, found(&[6, 8]), false), lost(Lost::TooFar));
        let replay = ClientEffect::Replay(vec![]);
        assert_eq!(replied(&attach, SINCE, found(&[]), false), [greet(5, Some(Ok(()))), replay]);
    }

    #[test]
    fn a_resumed_join_is_answered_after_the_missed_events() {
        let join = Step::Join(CONNECTION, group());
        let joined = |resumed| ClientEffect::SendJoined(group(), Some(resumed));
        let position = || ClientEffect::SendPosition(at(9));
        let replay = ClientEffect::Replay(vec![event(6)]);
        assert_eq!(replied(&join, SINCE, found(&[6]), true), [replay, joined(Ok(())), position()]);
        assert_eq!(
            replied(&join, SINCE, Err(Lost::Expired), true),
            [joined(Err(Lost::Expired)), position()]
        );
    }

    #[test]
    fn no_position_is_sent_while_another_join_is_pending() {
        let (join, mut effects) = (Step::Join(CONNECTION, group()), Vec::new());
        confirmed(&join, Some(Ok(())), Standing::Joining, at(9), &mut effects);
        confirmed(&join, None, Standing::Settled, at(9), &mut effects);
        let joined = |resumed| ClientEffect::SendJoined(group(), resumed);
        assert_eq!(effects, [joined(Some(Ok(()))), joined(None)]);
    }

    #[test]
    fn a_new_listener_is_greeted_before_its_earlier_events() {
        let (attach, start) = (Step::Attach(CONNECTION), ReplayStart::History(History::First));
        let greet = |sequence, events, complete| {
            let history = Some(SaidHistory { events, complete });
            ClientEffect::Greet { position: at(sequence), resumed: None, history }
        };
        let replay = ClientEffect::Replay(vec![event(4), event(7)]);
        assert_eq!(replied(&attach, start, found(&[4, 7]), false), [greet(3, 2, true), replay]);
        let nothing = ClientEffect::Replay(vec![]);
        assert_eq!(replied(&attach, start, Err(Lost::TooFar), true), [greet(9, 0, false), nothing]);
    }
}
