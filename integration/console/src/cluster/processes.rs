//! The summaries of the processes as JSON.

use campanile_messages::inquiry::{
    BrokerSummary, GatewaySummary, HistogramSummary, PublisherSummary, RefusedPush, UsageSummary,
    WorkerSummary,
};
use serde_json::{Map, Value, json};

use crate::object;

/// A JSON object.
pub type Object = Map<String, Value>;

fn seconds(millis: u64) -> f64 {
    millis as f64 / 1e3
}

fn with_usage(value: Value, usage: Option<UsageSummary>) -> Object {
    let mut object = object(value);
    let (cpu, memory) = match usage {
        Some(UsageSummary { cpu_millis, memory_bytes }) => {
            (seconds(cpu_millis).into(), memory_bytes.into())
        }
        None => (Value::Null, Value::Null),
    };
    object.insert("cpu_seconds".to_owned(), cpu);
    object.insert("memory_bytes".to_owned(), memory);
    object
}

fn histogram(histogram: &HistogramSummary) -> Value {
    let HistogramSummary { buckets, count, sum_micros } = histogram;
    let buckets = buckets.iter().map(|(bound, count)| json!([*bound as f64 / 1e6, count]));
    let sum = *sum_micros as f64 / 1e6;
    json!({ "buckets": buckets.collect::<Vec<_>>(), "count": count, "sum": sum })
}

/// How the broker fares.
pub fn broker(broker: &BrokerSummary) -> Object {
    let (log, totals) = (&broker.log, &broker.totals);
    let value = json!({
        "version": broker.version,
        "uptime": seconds(broker.uptime_millis),
        "position": broker.head.map(|head| head.to_string()),
        "epoch": broker.head.map(|head| format!("{:016x}", head.epoch)),
        "durability": broker.durability.map(|durability| durability.word()),
        "log": {
            "events": log.events,
            "bytes": log.bytes,
            "max_bytes": log.max_bytes,
            "oldest_age": (log.events > 0).then(|| seconds(log.oldest_age_millis)),
        },
        "disk_waits": broker.disk_waits,
        "staged_bytes": broker.staged_bytes,
        "totals": {
            "accepted": totals.accepted,
            "duplicates": totals.duplicates,
            "conflicts": totals.conflicts,
            "busy": totals.busy,
            "delivered": totals.delivered,
            "gone": totals.gone,
            "link_events": totals.link_events,
            "replayed": totals.replayed,
            "epochs": totals.epochs,
        },
        "write_seconds": histogram(&broker.writes),
        "links": broker.links.len() as u64 + broker.links_left_out,
    });
    with_usage(value, broker.usage)
}

/// How a gateway fares.
pub fn gateway(gateway: &GatewaySummary) -> Object {
    let totals = &gateway.totals;
    let worker = |worker: &WorkerSummary| {
        let WorkerSummary { id, connections, outbox_bytes } = worker;
        json!({ "id": id, "connections": connections, "outbox_bytes": outbox_bytes })
    };
    let value = json!({
        "asked": true,
        "version": gateway.version,
        "uptime": seconds(gateway.uptime_millis),
        "ready": gateway.hindrance.is_none(),
        "hindrance": gateway.hindrance,
        "connections": gateway.connections,
        "workers": gateway.workers.iter().map(worker).collect::<Vec<_>>(),
        "totals": {
            "opened": totals.opened,
            "closed": totals.closed,
            "refused": totals.refused,
            "limits": totals.limits,
            "deliveries": totals.deliveries,
            "delivered_bytes": totals.delivered_bytes,
            "slow_closed": totals.slow_closed,
            "resumes": totals.resumes,
            "gaps": totals.gaps,
            "reconnects": totals.reconnects,
            "tokens": totals.tokens,
            "publishes": totals.publishes,
        },
        "delivery_seconds": histogram(&gateway.deliveries),
    });
    with_usage(value, gateway.usage)
}

/// How a publisher fares.
pub fn publisher(publisher: &PublisherSummary) -> Object {
    let totals = &publisher.totals;
    let pushes = totals
        .pushes
        .iter()
        .map(|push| json!({ "kind": push.kind, "result": push.result, "count": push.count }));
    let refused = |push: &RefusedPush| {
        json!({
            "time": seconds(push.unix_millis),
            "status": push.status,
            "kind": push.kind,
            "key": (!push.key.is_empty()).then_some(&push.key),
            "sentence": push.sentence,
            "count": push.count,
        })
    };
    let value = json!({
        "asked": true,
        "version": publisher.version,
        "uptime": seconds(publisher.uptime_millis),
        "ready": publisher.hindrance.is_none(),
        "hindrance": publisher.hindrance,
        "connections": publisher.connections,
        "in_flight": publisher.in_flight,
        "pending_bytes": publisher.pending_bytes,
        "totals": {
            "pushes": pushes.collect::<Vec<_>>(),
            "limits": totals.limits,
            "reconnects": totals.reconnects,
        },
        "push_seconds": histogram(&publisher.pushes),
        "refused": publisher.refused.iter().map(refused).collect::<Vec<_>>(),
    });
    with_usage(value, publisher.usage)
}
