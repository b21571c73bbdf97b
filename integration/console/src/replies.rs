//! What gateways answer to questions about connections, and how connections are shown.

use std::collections::HashMap;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use campanile_admin::said;
use campanile_channel::inquiries::Answered;
use campanile_messages::inquiry::{
    Answer, BrokerSummary, ConnectionSummary, ConnectionsSummary, DisconnectedSummary, Summary,
};
use campanile_messages::link::Asked;
use campanile_messages::{Address, InstanceId};
use serde_json::{Map, Value, json};

use crate::cluster::{AWAY, silent_one};

/// What the gateways have answered.
pub struct Replies {
    answers: Vec<Answer>,
    /// Those that have not, as they are shown.
    pub silent: Vec<Value>,
    /// How many more of these there are.
    pub silent_left_out: u64,
}

impl Replies {
    /// Reads the answers to a question about connections, which these were asked.
    pub fn of(answered: Answered, to: Asked) -> Self {
        let Answered { broker, answers, silent } = answered;
        let BrokerSummary { links, away, away_left_out, .. } = match broker {
            Answer::Summary(Summary::Broker(broker)) => *broker,
            _ => BrokerSummary::default(),
        };
        let links: HashMap<_, _> = links.into_iter().map(|link| (link.instance, link)).collect();
        let mut without_answer: Vec<(InstanceId, &str)> =
            silent.into_iter().map(|instance| (instance, "silent")).collect();
        let mut replies = Vec::new();
        for (instance, answer) in answers {
            match answer {
                Answer::Busy => without_answer.push((instance, "busy")),
                Answer::NotUnderstood => without_answer.push((instance, "not_understood")),
                answer => replies.push(answer),
            }
        }
        // The gateway of one worker has a link, or there was no answer at all.
        let is_of_one = matches!(to, Asked::Worker(_));
        let silent_left_out = if is_of_one { 0 } else { away_left_out };
        if !is_of_one {
            without_answer.extend(away.into_iter().map(|instance| (instance, AWAY)));
        }
        // One of an earlier release is not asked. If nobody else knows the worker, it may be one of its own.
        if !is_of_one || replies.is_empty() && without_answer.is_empty() {
            let gateways = links.values().filter(|link| link.role == "gateway");
            let earlier = gateways.filter(|gateway| !gateway.is_askable);
            without_answer.extend(earlier.map(|gateway| (gateway.instance, "not_understood")));
        }
        without_answer.sort_unstable();
        let silent =
            without_answer.into_iter().map(|(who, reason)| silent_one(who, reason, &links));
        Self { answers: replies, silent: silent.collect(), silent_left_out }
    }

    /// The answer if every gateway that was asked is silent.
    pub fn nobody(&self) -> Option<HttpResponse> {
        if !self.answers.is_empty() || self.silent.is_empty() {
            return None;
        }
        let names = self.silent.iter().map(|gateway| {
            let part = |name: &str| gateway[name].as_str().unwrap_or("?").to_owned();
            format!("{} ({}) at {}", part("instance"), part("reason"), part("address"))
        });
        let names = names.collect::<Vec<_>>().join(", ");
        let sentence = format!(
            "no gateway has answered, so whether anything was done or found is not known; asked: {names}"
        );
        Some(said(StatusCode::GATEWAY_TIMEOUT, &sentence))
    }

    /// The connections of all gateways.
    pub fn connections(&self) -> ConnectionsSummary {
        self.found().fold(ConnectionsSummary::default(), ConnectionsSummary::join)
    }

    /// The connections that ended last at all gateways, at most this many.
    pub fn last_ended(&self, most: u16) -> ConnectionsSummary {
        self.found().fold(ConnectionsSummary::default(), |all, more| all.join_ended(more, most))
    }

    fn found(&self) -> impl Iterator<Item = ConnectionsSummary> {
        self.answers.iter().filter_map(|answer| match answer {
            Answer::Connections(found) => Some(found.clone()),
            _ => None,
        })
    }

    /// How many connections all gateways have closed.
    pub fn disconnected(&self) -> DisconnectedSummary {
        let all = self.answers.iter().filter_map(|answer| match answer {
            Answer::Disconnected(all) => Some(*all),
            _ => None,
        });
        all.fold(DisconnectedSummary::default(), DisconnectedSummary::join)
    }
}

/// A connection as it is shown.
pub fn shown(connection: &ConnectionSummary) -> Map<String, Value> {
    let Address { worker, connection: number } = connection.at;
    let state = if connection.ended.is_some() { "ended" } else { "live" };
    let value = json!({
        "worker": worker,
        "connection": number,
        "state": state,
        "user": connection.user.as_deref(),
        "address": connection.address,
        "dialect": connection.dialect,
        "groups": connection.groups,
        "groups_left_out": connection.groups_left_out,
        "open_seconds": connection.open_millis as f64 / 1e3,
        "position": connection.position.map(|position| position.to_string()),
        "outbox_bytes": connection.outbox_bytes,
        "sent_bytes": connection.sent_bytes,
    });
    let mut shown = crate::object(value);
    if let Some(end) = &connection.ended {
        shown.insert("code".to_owned(), end.code.into());
        let cause = Some(end.cause.as_str()).filter(|cause| !cause.is_empty());
        shown.insert("cause".to_owned(), cause.into());
        shown.insert("ended".to_owned(), (end.unix_millis as f64 / 1e3).into());
    }
    shown
}

#[cfg(test)]
mod tests {
    use campanile_messages::WorkerId;
    use campanile_messages::inquiry::LinkSummary;

    use super::*;

    const ONE: Asked = Asked::Worker(WorkerId(7));

    fn link(number: u8, role: &str, is_askable: bool) -> LinkSummary {
        let (instance, role) = (InstanceId(number.into()), role.to_owned());
        let address = format!("192.0.2.{number}:1");
        LinkSummary { instance, role, address, lag_events: 0, lag_bytes: 0, is_askable }
    }

    fn replies(links: &[LinkSummary], answers: &[Answer], to: Asked) -> Replies {
        let broker = BrokerSummary { links: links.to_vec(), ..BrokerSummary::default() };
        let answers = answers.iter().map(|answer| (InstanceId(1), answer.clone()));
        let broker = Answer::Summary(Summary::Broker(Box::new(broker)));
        Replies::of(Answered { broker, answers: answers.collect(), silent: Vec::new() }, to)
    }

    #[test]
    fn a_gateway_that_cannot_be_asked_may_have_the_connection() {
        let links =
            [link(1, "gateway", true), link(2, "gateway", false), link(3, "publisher", false)];
        let nobody = replies(&links, &[], ONE).nobody().expect("it is not known");
        assert_eq!(nobody.status(), StatusCode::GATEWAY_TIMEOUT);
        let nothing = Answer::Connections(ConnectionsSummary::default());
        let found = replies(&links, &[nothing], ONE);
        assert!(found.nobody().is_none() && found.silent.is_empty(), "its gateway has answered");
        let silent = replies(&links, &[Answer::Busy], ONE).silent;
        assert_eq!(silent.len(), 1, "its gateway is known: {silent:?}");
        assert!(replies(&links[..1], &[], ONE).nobody().is_none(), "all could be asked");
    }
}
