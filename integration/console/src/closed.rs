//! `GET /closed`: the connections of the cluster that ended last, with why they did.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use campanile_admin::{Guard, Wanted, said};
use campanile_channel::courier::Inquirer;
use campanile_edge::query::{decode, pairs};
use campanile_messages::inquiry::{ConnectionsSummary, MAX_LISTED_ENDED, Question};
use campanile_messages::link::Asked;
use serde_json::{Value, json};

use crate::replies::{Replies, shown};

pub async fn answer(
    request: HttpRequest,
    guard: web::Data<Guard>,
    inquirer: web::Data<Inquirer>,
) -> HttpResponse {
    if let Err(refused) = crate::check(&guard, Wanted::Look, &request) {
        return refused;
    }
    let last = match last(request.query_string()) {
        Ok(last) => last,
        Err(sentence) => return said(StatusCode::BAD_REQUEST, &sentence),
    };
    match inquirer.ask(Question::Ended { last }, Asked::Gateways).await {
        Ok(answered) => {
            let replies = Replies::of(answered, Asked::Gateways);
            replies.nobody().unwrap_or_else(|| crate::json(&closed(&replies, last)))
        }
        Err(reason) => crate::unanswered(reason),
    }
}

/// What `/closed` answers, and the operator's page shows.
pub fn closed(replies: &Replies, last: u16) -> Value {
    let ConnectionsSummary { connections, left_out } = replies.last_ended(last);
    let connections = connections.iter().map(|connection| {
        let mut shown = shown(connection);
        // Gateways leave the groups out here, and nothing waits any more.
        for absent in ["groups", "groups_left_out", "outbox_bytes"] {
            shown.remove(absent);
        }
        shown
    });
    json!({
        "connections": connections.collect::<Vec<_>>(),
        "left_out": left_out,
        "silent": replies.silent,
        "silent_left_out": replies.silent_left_out,
    })
}

/// Reads how many connections are meant.
fn last(query: &str) -> Result<u16, String> {
    let mut last = None;
    for (name, value) in pairs(query.as_bytes()) {
        if name != b"last" {
            let name = String::from_utf8_lossy(name);
            let name: String = name.chars().take(60).collect();
            return Err(format!("the parameter {name:?} is not known: accepted is last"));
        }
        let value = decode(value).unwrap_or_default();
        let number = value.parse().ok().filter(|number| (1..=MAX_LISTED_ENDED).contains(number));
        let Some(number) = number else {
            let value: String = value.chars().take(60).collect();
            return Err(format!(
                "last={value:?}: accepted is a number from 1 to {MAX_LISTED_ENDED}"
            ));
        };
        if last.replace(number).is_some() {
            return Err("the parameter last is there twice: it is accepted once".to_owned());
        }
    }
    Ok(last.unwrap_or(MAX_LISTED_ENDED))
}

#[cfg(test)]
mod tests {
    use campanile_channel::inquiries::Answered;
    use campanile_messages::inquiry::{Answer, ConnectionEnd, ConnectionSummary};
    use campanile_messages::{Address, ConnectionId, InstanceId, WorkerId};

    use super::*;

    #[test]
    fn the_number_of_connections_is_from_1_to_50() {
        assert_eq!([last(""), last("last=1"), last("last=%350")], [Ok(50), Ok(1), Ok(50)]);
        for query in
            ["last", "last=0", "last=51", "last=-1", "last=%zz", "last=1&last=2", "first=1"]
        {
            let error = last(query).expect_err(query);
            assert!(error.contains("accepted"), "{error}");
        }
    }

    #[test]
    fn the_newest_of_all_gateways_are_shown_and_who_does_not_know_is_named() {
        let ended = |worker, unix_millis, cause: &str| ConnectionSummary {
            at: Address { worker: WorkerId(worker), connection: ConnectionId(1) },
            user: None,
            address: None,
            dialect: "v1".to_owned(),
            groups: Vec::new(),
            groups_left_out: 3,
            open_millis: 1_500,
            position: None,
            outbox_bytes: 0,
            sent_bytes: 7,
            ended: Some(ConnectionEnd { code: 4001, unix_millis, cause: cause.to_owned() }),
        };
        let of = |connections| Answer::Connections(ConnectionsSummary { connections, left_out: 1 });
        let answers = vec![
            (InstanceId(1), of(vec![ended(1, 9_000, "too_slow"), ended(1, 2_000, "")])),
            (InstanceId(2), of(vec![ended(2, 5_000, "")])),
            (InstanceId(3), Answer::NotUnderstood),
        ];
        let answered = Answered { broker: Answer::NotUnderstood, answers, silent: vec![] };
        let seen = closed(&Replies::of(answered, Asked::Gateways), 2);
        let connections = seen["connections"].as_array().expect("a list");
        let workers: Vec<_> = connections.iter().map(|one| one["worker"].clone()).collect();
        assert_eq!((workers, &seen["left_out"]), (vec![1.into(), 2.into()], &3.into()));
        let first = json!({
            "worker": 1, "connection": 1, "state": "ended", "user": null, "address": null,
            "dialect": "v1", "open_seconds": 1.5, "position": null, "sent_bytes": 7,
            "code": 4001, "cause": "too_slow", "ended": 9.0,
        });
        assert_eq!(connections[0], first);
        assert_eq!(connections[1]["cause"], Value::Null);
        assert_eq!(seen["silent"][0]["reason"], "not_understood");
    }
}
