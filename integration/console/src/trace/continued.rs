//! Which connection continued where another one has ended.

use campanile_channel::inquiries::Answered;
use campanile_messages::inquiry::Traced;
use campanile_messages::inquiry::trace::{ConnectionTrace, ContinuedClient, EndedClient};
use serde_json::{Value, json};

use super::shown::shown_address;
use super::{Traceable, traced};

/// The client of the connection that was asked for, if that has ended and its client may not have the event: also
/// where it was written, unless the client has closed the connection itself.
pub fn ended_client(wanted: Traceable, connection: &ConnectionTrace) -> Option<EndedClient> {
    const CLOSED_BY_CLIENT: Option<u16> = Some(1000);
    let Traceable { position, at } = wanted;
    let details = connection.details.as_ref()?;
    let is_broken = details.ended.is_some() && details.code != CLOSED_BY_CLIENT;
    let may_miss = match &*connection.reason {
        "written" => is_broken,
        reason => reason.starts_with("closed_"),
    };
    // A plain client has no position with which it could continue.
    let may_continue = may_miss && details.dialect != "plain";
    may_continue.then(|| EndedClient {
        user: details.user.clone(),
        address: details.address.clone(),
        at,
        opened: details.opened.unwrap_or(0),
        ended: details.ended.unwrap_or(0),
        position,
    })
}

fn first_continued(answered: &Answered) -> Option<ContinuedClient> {
    let found = traced(answered).filter_map(|(_, traced)| match traced {
        Traced::Continued(continued) => Some(continued.clone()),
        _ => None,
    });
    found.min_by_key(|found| found.opened)
}

/// Adds where the client has continued. What is known already stays, if that could not be asked.
pub fn add_answer(connection: &mut Value, answered: Option<&Answered>) {
    match answered {
        Some(answered) => {
            if let Some(continued) = first_continued(answered) {
                add_continued(connection, &continued);
            }
        }
        None => {
            let sentence = connection["sentence"].as_str().unwrap_or_default();
            let unknown = "whether its client has continued could not be asked: try again";
            connection["sentence"] = json!(format!("{sentence}; {unknown}"));
        }
    }
}

fn add_continued(connection: &mut Value, continued: &ContinuedClient) {
    let ContinuedClient { at, since, is_recovered, .. } = continued;
    let by = match connection["details"]["user"].is_string() {
        true => "the same user",
        false => "a client with the same address",
    };
    let what = if *is_recovered { "and got what it had missed" } else { "and did not recover" };
    let sentence = connection["sentence"].as_str().unwrap_or_default();
    connection["sentence"] =
        json!(format!("{sentence}; then {by} continued after {since} as connection {at}, {what}"));
    connection["details"]["resumed_as"] = shown_address(*at);
}

#[cfg(test)]
mod tests {
    use campanile_messages::inquiry::Answer;
    use campanile_messages::inquiry::trace::ConnectionDetails;
    use campanile_messages::{Address, ConnectionId, InstanceId, Position, WorkerId};

    use super::*;

    #[test]
    fn who_may_have_missed_an_event_is_asked_for_where_it_ended() {
        let at = Some(Address { worker: WorkerId(3), connection: ConnectionId(4) });
        let wanted = Traceable { position: Position { epoch: 1, sequence: 2 }, at };
        let asked = |reason: &str, code, ended| {
            let details =
                ConnectionDetails { opened: Some(5), ended, code, ..ConnectionDetails::default() };
            let connection = ConnectionTrace {
                reason: reason.to_owned(),
                details: Some(details),
                ..ConnectionTrace::default()
            };
            let client = ended_client(wanted, &connection);
            client.map(|client| (client.at, client.opened, client.ended))
        };
        let client = Some((at, 5, 9));
        assert_eq!(asked("closed_before", Some(1000), Some(9)), client);
        assert_eq!(asked("written", Some(1011), Some(9)), client);
        assert_eq!(asked("written", None, Some(9)), client);
        assert_eq!(asked("written", Some(1000), Some(9)), None, "the client has closed it");
        assert_eq!(asked("written", None, None), None, "it lives");
        assert_eq!(asked("not_listening", None, Some(9)), None);
    }

    #[test]
    fn a_trace_stays_if_it_cannot_be_asked_who_continued() {
        let mut connection = json!({"reason": "closed_before", "sentence": "it had ended"});
        add_answer(
            &mut connection,
            Some(&Answered {
                broker: Answer::Nothing,
                answers: vec![(InstanceId(1), Answer::Nothing)],
                silent: vec![],
            }),
        );
        assert_eq!(connection["sentence"], "it had ended");
        add_answer(&mut connection, None);
        let sentence = connection["sentence"].as_str().expect("a sentence");
        assert!(
            sentence.starts_with("it had ended; whether its client has continued"),
            "{sentence}"
        );
        assert_eq!(connection["reason"], "closed_before");
    }
}
