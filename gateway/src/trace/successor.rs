//! Whether one connection may continue where another one has ended. Pure.

use campanile_messages::inquiry::EndedClient;
use campanile_messages::{Address, Position};

/// How long a client may have been back before its gateway found its earlier connection dead. The clocks of two
/// gateways may differ, too.
const HALF_OPEN_MICROS: u64 = 120_000_000;

/// Whether a connection that was opened then, by the same client, and continues after `since`, comes after the one
/// that has ended. It may have been opened a while before that was found dead, but not before that was opened.
pub fn may_succeed(client: &EndedClient, at: Address, opened: u64, since: Position) -> bool {
    let EndedClient { position, .. } = client;
    since.epoch == position.epoch
        && since.sequence < position.sequence
        && client.at != Some(at)
        && opened > client.opened
        && opened + HALF_OPEN_MICROS >= client.ended
}

#[cfg(test)]
mod tests {
    use campanile_messages::{ConnectionId, WorkerId};

    use super::*;

    #[test]
    fn a_client_may_be_back_before_its_connection_is_found_dead() {
        let at = |connection| Address { worker: WorkerId(1), connection: ConnectionId(connection) };
        let position = |sequence| Position { epoch: 1, sequence };
        let second = 1_000_000;
        let client = EndedClient {
            user: None,
            address: None,
            at: Some(at(7)),
            opened: 1_000 * second,
            ended: 1_500 * second,
            position: position(9),
        };
        let opened = |seconds| may_succeed(&client, at(8), seconds * second, position(5));
        let verdicts = [999, 1_300, 1_450, 1_501].map(opened);
        assert_eq!(verdicts, [false, false, true, true]);
        assert!(!may_succeed(&client, at(7), 1_501 * second, position(5)), "it is the same one");
        assert!(
            !may_succeed(&client, at(8), 1_501 * second, position(9)),
            "its client has the event"
        );
        let other_log = Position { epoch: 2, sequence: 5 };
        assert!(!may_succeed(&client, at(8), 1_501 * second, other_log));
        let young = EndedClient { opened: 1_460 * second, ..client.clone() };
        assert!(!may_succeed(&young, at(8), 1_450 * second, position(5)), "it was there before");
    }
}
