//! What a client is told when one of its steps is done: its greeting, or that it has joined, and what
//! it missed. Pure: a part of the registry's core.
//!
//! A client listens from the place of this answer in the deliveries. So what it is told here comes
//! before every later event, and what it missed ends where those begin.

use std::sync::Arc;

use campanile_messages::{Audience, Position};

use crate::delivery::{FoundEvents, ResumeOutcome};
use crate::dialects::Framed;
use crate::history::SaidHistory;
use crate::registry::subscriptions::{Standing, Step};
use crate::resume::{Lost, ReplayStart, Resumed};

/// What to write to the client whose step it is.
#[derive(Debug, PartialEq)]
pub enum ClientEffect {
    /// Its first message.
    Greet {
        /// Where its stream begins.
        position: Position,
        /// For a client that wanted to go on somewhere, whether it does.
        resumed: Option<Resumed>,
        /// For a new listener that asked for some of the past, what follows.
        history: Option<SaidHistory>,
    },
    /// Events of the past, in order.
    Replay(Vec<Arc<Framed>>),
    /// It listens to this audience, too.
    SendJoined(Audience, Option<Resumed>),
    /// Nothing is missing up to here.
    SendPosition(Position),
}

/// The broker has confirmed a step that waited for nothing else. `cursor` is the place in the
/// deliveries.
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
            // What was replayed had lower positions than the client may have seen before.
            if resumed.is_some() && standing == Standing::Settled {
                effects.push(ClientEffect::SendPosition(cursor));
            }
        }
    }
}

/// The broker has confirmed a step, and what its client missed is found or lost. `has_room` says
/// whether the client may be sent that: it is asked only where there is something to send.
pub fn answered(
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
        ReplayStart::History(_) => return begin_with_history(found, cursor, effects),
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

/// A new listener is greeted, and hears what it asked for of the past. (Nothing waits for it yet, so
/// there is room.)
fn begin_with_history(found: ResumeOutcome, cursor: Position, effects: &mut Vec<ClientEffect>) {
    let FoundEvents { events, is_complete } =
        found.unwrap_or_else(|_| FoundEvents { events: Vec::new(), is_complete: false });
    // Where it is lost before all of that has come, it goes on in front of the next.
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

    fn told(
        step: &Step,
        start: ReplayStart,
        found: ResumeOutcome,
        has_room: bool,
    ) -> Vec<ClientEffect> {
        let mut effects = Vec::new();
        let standing = Standing::Settled;
        answered(step, start, found, standing, at(9), || has_room, &mut effects);
        effects
    }

    fn greet(sequence: u64, resumed: Option<Resumed>) -> ClientEffect {
        ClientEffect::Greet { position: at(sequence), resumed, history: None }
    }

    const SINCE: ReplayStart = ReplayStart::After(Position { epoch: 1, sequence: 5 });

    #[test]
    fn a_client_that_goes_on_is_greeted_where_it_was_before_what_it_missed() {
        let attach = Step::Attach(CONNECTION);
        let replay = ClientEffect::Replay(vec![event(6), event(8)]);
        assert_eq!(told(&attach, SINCE, found(&[6, 8]), true), [greet(5, Some(Ok(()))), replay]);
        let lost = |lost| [greet(9, Some(Err(lost)))];
        assert_eq!(told(&attach, SINCE, Err(Lost::Expired), true), lost(Lost::Expired));
        assert_eq!(told(&attach, SINCE, found(&[6, 8]), false), lost(Lost::TooFar));
        let replay = ClientEffect::Replay(vec![]);
        assert_eq!(told(&attach, SINCE, found(&[]), false), [greet(5, Some(Ok(()))), replay]);
    }

    #[test]
    fn a_join_that_goes_on_says_so_behind_what_was_missed() {
        let join = Step::Join(CONNECTION, group());
        let joined = |resumed| ClientEffect::SendJoined(group(), Some(resumed));
        let position = || ClientEffect::SendPosition(at(9));
        let replay = ClientEffect::Replay(vec![event(6)]);
        assert_eq!(told(&join, SINCE, found(&[6]), true), [replay, joined(Ok(())), position()]);
        assert_eq!(
            told(&join, SINCE, Err(Lost::Expired), true),
            [joined(Err(Lost::Expired)), position()]
        );
    }

    #[test]
    fn no_position_is_told_while_another_join_is_pending() {
        let (join, mut effects) = (Step::Join(CONNECTION, group()), Vec::new());
        confirmed(&join, Some(Ok(())), Standing::Joining, at(9), &mut effects);
        confirmed(&join, None, Standing::Settled, at(9), &mut effects);
        let joined = |resumed| ClientEffect::SendJoined(group(), resumed);
        assert_eq!(effects, [joined(Some(Ok(()))), joined(None)]);
    }

    #[test]
    fn a_new_listener_is_greeted_in_front_of_what_it_hears_of_the_past() {
        let (attach, start) = (Step::Attach(CONNECTION), ReplayStart::History(History::First));
        let greet = |sequence, events, complete| {
            let history = Some(SaidHistory { events, complete });
            ClientEffect::Greet { position: at(sequence), resumed: None, history }
        };
        let replay = ClientEffect::Replay(vec![event(4), event(7)]);
        assert_eq!(told(&attach, start, found(&[4, 7]), false), [greet(3, 2, true), replay]);
        let nothing = ClientEffect::Replay(vec![]);
        assert_eq!(told(&attach, start, Err(Lost::TooFar), true), [greet(9, 0, false), nothing]);
    }
}
