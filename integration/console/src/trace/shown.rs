//! The parts of a trace as JSON.

use campanile_messages::inquiry::trace::{
    BrokerTrace, ConnectionDetails, ConnectionTrace, GatewayTrace, LoggedEvent, PublisherTrace,
};
use campanile_messages::{Address, Audience, ConnectionId, InstanceId, Position, WorkerId};
use serde_json::{Value, json};

use crate::cluster::AWAY;

/// Why the broker does not have an event.
pub fn not_kept(position: Position, broker: &BrokerTrace) -> String {
    match broker.head {
        Some(head) if head.epoch != position.epoch => format!(
            "the position belongs to another log than the present one, which ends at {head}: nothing is \
             kept of earlier logs"
        ),
        Some(head) if broker.tail >= head.sequence => {
            "the broker does not keep the event any more: it has none now".to_owned()
        }
        _ => format!(
            "the broker does not keep the event any more: the oldest that it has is {}",
            Position { epoch: position.epoch, sequence: broker.tail + 1 }
        ),
    }
}

/// What is known of an event.
pub fn shown_event(
    position: Position,
    broker: &BrokerTrace,
    publisher: Option<(&InstanceId, Option<&str>, &PublisherTrace)>,
) -> Value {
    let key = publisher.and_then(|(_, _, publisher)| publisher.key.clone());
    let publisher = publisher.map(
        |(instance, address, _)| json!({"instance": instance.to_string(), "address": address}),
    );
    let Some(event) = &broker.event else {
        let sentence = not_kept(position, broker);
        return json!({
            "known": false, "sentence": sentence, "publisher": publisher, "key": key,
        });
    };
    let LoggedEvent { traced, bytes, user, accepted, stored, released, .. } = event;
    json!({
        "known": true,
        "accepted": accepted.map(seconds),
        "stored": stored.map(seconds),
        "released": released.map(seconds),
        "audience": shown_audience(&traced.audience),
        "except": traced.except.map(shown_address),
        "bytes": bytes,
        "matched": event.matched,
        "sent_to_gateways": event.gateways,
        "publisher": publisher,
        "key": key,
        "id": event.id,
        "user": user.as_deref(),
    })
}

/// What a gateway knows.
pub fn shown_gateway(
    instance: &InstanceId,
    address: Option<&str>,
    gateway: &GatewayTrace,
) -> Value {
    let GatewayTrace { sent, received, listeners, written, waiting, .. } = gateway;
    json!({
        "instance": instance.to_string(),
        "address": address,
        "position": gateway.position.map(|position| position.to_string()),
        "workers": gateway.workers,
        "sent": sent,
        "received": received.map(seconds),
        "listeners": listeners,
        "written": written,
        "waiting": waiting,
        "closed_too_slow": gateway.closed_too_slow,
        "closed_waiting": gateway.closed_waiting,
        "unknown": gateway.unknown,
    })
}

/// A process of which nothing is known.
pub fn shown_silent(instance: &InstanceId, address: Option<&str>, broker: &BrokerTrace) -> Value {
    let reason = if broker.away.contains(instance) { AWAY } else { "silent" };
    json!({ "instance": instance.to_string(), "address": address, "reason": reason })
}

/// What became of the event at a connection.
pub fn shown_connection(
    at: Address,
    gateway: Option<&InstanceId>,
    trace: &ConnectionTrace,
) -> Value {
    let ConnectionTrace { reason, sentence, at: when, details } = trace;
    let WorkerId(worker) = at.worker;
    let ConnectionId(connection) = at.connection;
    json!({
        "worker": worker,
        "connection": connection,
        "gateway": gateway.map(ToString::to_string),
        "reason": reason,
        "sentence": sentence,
        "at": when.map(seconds),
        "details": details.as_ref().map(shown_details),
    })
}

/// What is known of a connection, as JSON.
fn shown_details(details: &ConnectionDetails) -> Value {
    json!({
        "state": if details.ended.is_some() { "ended" } else { "live" },
        "user": details.user,
        "address": details.address,
        "dialect": details.dialect,
        "groups": details.groups,
        "groups_left_out": details.groups_left_out,
        "opened": details.opened.map(seconds),
        "ended": details.ended.map(seconds),
        "first_position": details.first_position.map(|position| position.to_string()),
        "last_position": details.last_position.map(|position| position.to_string()),
        "code": details.code,
        "sent_bytes": details.sent_bytes,
        "waiting_bytes": details.waiting_bytes,
        "behind_bytes": details.behind_bytes,
        "resumed_as": null,
    })
}

fn shown_audience(audience: &Audience) -> Value {
    match audience {
        Audience::Everyone => json!("everyone"),
        Audience::Group(group) => json!({"group": &**group}),
        Audience::User(user) => json!({"user": &**user}),
    }
}

/// The address of a connection.
pub fn shown_address(address: Address) -> Value {
    json!({"worker": address.worker, "connection": address.connection})
}

/// Seconds since 1970.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_not_kept_has_a_reason() {
        let position = Position { epoch: 1, sequence: 0x20001 };
        let reason = |epoch, tail| {
            let head = Some(Position { epoch, sequence: 0x5ffff });
            not_kept(position, &BrokerTrace { head, tail, ..BrokerTrace::default() })
        };
        let gone = "the broker does not keep the event any more: ";
        let oldest = Position { epoch: 1, sequence: 0x30001 };
        assert_eq!(reason(1, 0x30000), format!("{gone}the oldest that it has is {oldest}"));
        assert_eq!(reason(1, 0x5ffff), format!("{gone}it has none now"));
        assert!(reason(2, 0x30000).starts_with("the position belongs to another log"));
    }
}
