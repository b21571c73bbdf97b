//! What operators see of one connection.

use std::time::{Duration, Instant};

use campanile_messages::inquiry::{
    ConnectionEnd, ConnectionSummary, ConnectionsSummary, MAX_GROUPS_BYTES_OF_ONE,
};
use campanile_messages::{Address, Audience, ConnectionId, Position, UserName, WorkerId};

use crate::registry::clients::Clients;
use crate::registry::subscriptions::Standing;
use crate::trace::ended::EndedConnection;
use crate::trace::wall::WallClock;
use crate::websocket::CloseCause;

/// What the name of a group costs in a list beside its length, in bytes.
const GROUP_COST_BYTES: usize = 3;

impl Clients {
    /// What operators see of a connection, with names of groups of at most this many bytes; `None` if there is
    /// no such connection.
    pub fn describe(
        &self,
        connection: ConnectionId,
        now: Instant,
        max_groups_bytes: usize,
    ) -> Option<ConnectionSummary> {
        let client = self.subscriptions.known(connection)?;
        let names = self.subscriptions.audiences_of(connection).filter_map(|joined| match joined {
            Audience::Group(group) => Some(&**group),
            Audience::Everyone | Audience::User(_) => None,
        });
        let (groups, groups_left_out) = listed(names.collect(), max_groups_bytes);
        let seen = client.line.socket.seen();
        let has_position = client.line.dialect.has_positions()
            && self.subscriptions.standing(connection) != Standing::Pending;
        let position = self.mark().filter(|_| has_position);
        Some(ConnectionSummary {
            at: Address { worker: self.id()?, connection },
            user: self.subscriptions.user(connection).cloned(),
            address: seen.client.map(|client| client.to_string()),
            dialect: client.line.dialect.word().to_owned(),
            groups,
            groups_left_out,
            open_millis: millis(client.open_for(now)),
            position: position.map(|mark| Position { sequence: client.known(), ..mark }),
            outbox_bytes: seen.waiting_bytes,
            sent_bytes: seen.sent_bytes,
            ended: None,
        })
    }

    /// What is remembered of a connection of this worker that has ended; `None` if nothing is.
    pub fn describe_ended(&self, at: Address, clock: WallClock) -> Option<ConnectionSummary> {
        let ended = self.trail.ended.get(at.connection)?;
        Some(describe_end(at.worker, &ended, clock, MAX_GROUPS_BYTES_OF_ONE))
    }

    /// The connections of this worker that ended last, the newest first, at most this many. Their groups are
    /// only counted.
    pub fn last_ended(&self, most: u16, clock: WallClock) -> ConnectionsSummary {
        let Some(worker) = self.id() else { return ConnectionsSummary::default() };
        let newest = self.trail.ended.newest(most.into());
        let connections: Vec<_> =
            newest.map(|ended| describe_end(worker, &ended, clock, 0)).collect();
        let left_out = (self.trail.ended.len() - connections.len()) as u64;
        ConnectionsSummary { connections, left_out }
    }
}

/// What is remembered of a connection of a worker that has ended, with names of groups of at most this many bytes.
fn describe_end(
    worker: WorkerId,
    ended: &EndedConnection,
    clock: WallClock,
    max_groups_bytes: usize,
) -> ConnectionSummary {
    let names = ended.groups.iter().map(|(name, _)| &**name).collect();
    let (groups, left_out) = listed(names, max_groups_bytes);
    let position = Position { epoch: ended.epoch, sequence: ended.last };
    ConnectionSummary {
        at: Address { worker, connection: ended.connection },
        user: ended.user.as_deref().and_then(|user| UserName::new(user.to_owned()).ok()),
        address: ended.address.map(|address| address.to_string()),
        dialect: ended.dialect.word().to_owned(),
        groups,
        groups_left_out: left_out + ended.groups_left_out as u64,
        open_millis: millis(ended.ended.saturating_duration_since(ended.opened)),
        position: ended.dialect.has_positions().then_some(position),
        outbox_bytes: 0,
        sent_bytes: ended.end.sent_bytes,
        ended: Some(ConnectionEnd {
            code: ended.end.code(),
            unix_millis: clock.at(ended.ended) / 1_000,
            cause: ended.end.cause.map_or("", CloseCause::word).to_owned(),
        }),
    }
}

/// The names in order, as far as they have at most this many bytes, and how many are left out.
fn listed(mut names: Vec<&str>, max_bytes: usize) -> (Vec<String>, u64) {
    names.sort_unstable();
    let (mut groups, mut len_bytes) = (Vec::new(), 0);
    for name in &names {
        len_bytes += name.len() + GROUP_COST_BYTES;
        if len_bytes > max_bytes {
            break;
        }
        groups.push((*name).to_owned());
    }
    let left_out = (names.len() - groups.len()) as u64;
    (groups, left_out)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_listed_in_order_as_far_as_they_fit() {
        let names = || vec!["news", "a", "chat"];
        assert_eq!(listed(names(), 12), (vec!["a".to_owned(), "chat".to_owned()], 1));
        assert_eq!(listed(names(), 3), (vec![], 3));
        assert_eq!(listed(names(), 1_000).1, 0);
    }
}
