//! `GET /trace`: what became of one event, in the cluster and at one connection.

mod continued;
mod shown;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use campanile_admin::{Guard, Wanted, said};
use campanile_channel::courier::Inquirer;
use campanile_channel::inquiries::{Answered, NoInquiry};
use campanile_messages::inquiry::trace::{BrokerTrace, ConnectionTrace};
use campanile_messages::inquiry::{Answer, Question, Traced};
use campanile_messages::link::Asked;
use campanile_messages::{Address, InstanceId, Position};
use continued::{add_answer, ended_client};
use serde::Deserialize;
use serde_json::{Value, json};
use shown::{not_kept, shown_connection, shown_event, shown_gateway, shown_silent};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Traceable {
    position: Position,
    at: Option<Address>,
}

/// The parameters as they come.
#[derive(Debug, Default, Deserialize)]
struct Parameters {
    position: Option<String>,
    worker: Option<String>,
    connection: Option<String>,
}

pub async fn answer(
    request: HttpRequest,
    guard: web::Data<Guard>,
    inquirer: web::Data<Inquirer>,
) -> HttpResponse {
    if let Err(refused) = crate::check(&guard, Wanted::Look, &request) {
        return refused;
    }
    let parameters = web::Query::<Parameters>::from_query(request.query_string());
    let wanted = match parameters {
        Ok(parameters) => read(&parameters),
        Err(error) => Err(format!("the query cannot be read: {error}")),
    };
    match wanted {
        Err(sentence) => said(StatusCode::BAD_REQUEST, &sentence),
        Ok(wanted) => match trace(wanted, &inquirer).await {
            Ok(trace) => crate::json(&trace),
            Err(Untraced::NoEvent(sentence)) => said(StatusCode::NOT_FOUND, &sentence),
            Err(Untraced::Unanswered(reason)) => crate::unanswered(reason),
        },
    }
}

/// Why there is no trace.
#[derive(Debug)]
enum Untraced {
    /// A sentence that says that there is no such event.
    NoEvent(String),
    /// Nobody answered.
    Unanswered(NoInquiry),
}

/// Asks the broker and others.
async fn ask(inquirer: &Inquirer, question: Question, to: Asked) -> Result<Answered, Untraced> {
    inquirer.ask(question, to).await.map_err(Untraced::Unanswered)
}

/// Reads the parameters.
///
/// # Errors
/// A sentence that names the parameter, its value and what is accepted.
fn read(parameters: &Parameters) -> Result<Traceable, String> {
    const POSITION: &str = "accepted is the position of an event, as receipts and messages have it";
    const ID: &str = "accepted is a number below 2^53";
    let Parameters { position, worker, connection } = parameters;
    let Some(position) = position else { return Err(format!("position is missing: {POSITION}")) };
    let position = position.parse().map_err(|_| format!("position={position}: {POSITION}"))?;
    let at = match (worker, connection) {
        (None, None) => None,
        (Some(worker), Some(connection)) => Some(Address {
            worker: worker.parse().map_err(|_| format!("worker={worker}: {ID}"))?,
            connection: connection.parse().map_err(|_| format!("connection={connection}: {ID}"))?,
        }),
        (Some(_), None) => {
            return Err("worker without connection: accepted are both of them, or neither".into());
        }
        (None, Some(_)) => {
            return Err("connection without worker: accepted are both of them, or neither".into());
        }
    };
    Ok(Traceable { position, at })
}

/// Asks first what the event was, then what became of it, and last where a client has continued.
async fn trace(wanted: Traceable, inquirer: &Inquirer) -> Result<Value, Untraced> {
    let Traceable { position, at } = wanted;
    let question = Question::Trace { position, at, event: None };
    let mut first = ask(inquirer, question, Asked::Everybody).await?;
    let broker = match std::mem::replace(&mut first.broker, Answer::Nothing) {
        Answer::Trace(traced) => match *traced {
            Traced::Broker(broker) => Some(broker),
            _ => None,
        },
        _ => None,
    };
    let Some(broker) = broker else { return Err(Untraced::Unanswered(NoInquiry::NotSupported)) };
    if let Some(head) = broker.head
        && head.epoch == position.epoch
        && let Some(reason) = no_event(position.sequence, head, &broker)
    {
        return Err(Untraced::NoEvent(format!("there is no event {position}: {reason}")));
    }
    let second = match &broker.event {
        Some(event) => {
            let event = Some(event.traced.clone());
            let question = Question::Trace { position, at, event };
            ask(inquirer, question, Asked::Gateways).await?
        }
        // Nobody knows any more who it was for.
        None => Answered { broker: Answer::Nothing, answers: Vec::new(), silent: Vec::new() },
    };
    let about = if broker.event.is_some() { &second } else { &first };
    let found = connection(about);
    let mut trace = shown(wanted, &broker, found, &first, &second);
    if let Some(client) = found.and_then(|(_, found)| ended_client(wanted, found)) {
        let answered = ask(inquirer, Question::Continued(client), Asked::Gateways).await;
        add_answer(&mut trace["connection"], answered.ok().as_ref());
    }
    Ok(trace)
}

/// Why the log has never had an event with this sequence; `None` if it may have had one.
fn no_event(sequence: u64, head: Position, broker: &BrokerTrace) -> Option<String> {
    if sequence == 0 || sequence > head.sequence {
        return Some(format!("the log ends at {head}"));
    }
    // Not every number above the oldest event belongs to an event.
    let is_between = sequence > broker.tail && broker.event.is_none();
    is_between.then(|| "the log goes on, but has no event at this position".to_owned())
}

/// What a gateway has said of the connection that was asked for.
fn connection(answered: &Answered) -> Option<(&InstanceId, &ConnectionTrace)> {
    traced(answered).find_map(|(instance, traced)| match traced {
        Traced::Gateway(gateway) => gateway.connection.as_ref().map(|found| (instance, found)),
        _ => None,
    })
}

/// What was answered about the event.
fn traced(answered: &Answered) -> impl Iterator<Item = (&InstanceId, &Traced)> {
    answered.answers.iter().filter_map(|(instance, answer)| match answer {
        Answer::Trace(traced) => Some((instance, &**traced)),
        _ => None,
    })
}

fn shown(
    wanted: Traceable,
    broker: &BrokerTrace,
    found: Option<(&InstanceId, &ConnectionTrace)>,
    first: &Answered,
    second: &Answered,
) -> Value {
    let Traceable { position, at } = wanted;
    let address = |instance: &InstanceId| {
        broker.links.iter().find(|(linked, _)| linked == instance).map(|(_, address)| &**address)
    };
    let publisher = traced(first).find_map(|(instance, traced)| match traced {
        Traced::Publisher(publisher) => Some((instance, publisher)),
        _ => None,
    });
    let gateways = traced(second).filter_map(|(instance, traced)| match traced {
        Traced::Gateway(gateway) => Some(shown_gateway(instance, address(instance), gateway)),
        _ => None,
    });
    let gateways: Vec<_> = gateways.collect();
    let silent: Vec<_> = silent(broker, first, second)
        .iter()
        .map(|instance| shown_silent(instance, address(instance), broker))
        .collect();
    let mut trace = json!({
        "position": position.to_string(),
        "event": shown_event(position, broker, publisher.map(|(i, p)| (i, address(i), p))),
        "gateways": gateways,
        "silent": silent,
        "silent_left_out": broker.away_left_out,
    });
    if let Some(at) = at {
        trace["connection"] = match found {
            Some((gateway, found)) if broker.event.is_none() => {
                let found = without_event(not_kept(position, broker), found);
                shown_connection(at, Some(gateway), &found)
            }
            Some((gateway, found)) => shown_connection(at, Some(gateway), found),
            None => {
                let (reason, sentence) = why_nothing(at, broker, position, !silent.is_empty());
                let nothing =
                    ConnectionTrace { reason: reason.to_owned(), sentence, ..Default::default() };
                shown_connection(at, None, &nothing)
            }
        };
    }
    trace
}

/// What became of an event of which nobody knows any more who it was for, if that does not matter. Whether a
/// client has missed something depends on it.
fn without_event(not_kept: String, found: &ConnectionTrace) -> ConnectionTrace {
    let reason = match &*found.reason {
        "not_recovered" => "not_kept_any_more",
        reason => reason,
    };
    let sentence = format!("{not_kept}; whoever it was for: {}", found.sentence);
    ConnectionTrace { reason: reason.to_owned(), sentence, ..found.clone() }
}

/// Who has not answered, or has no link now on which to be asked. A process that is too busy to answer has not
/// answered either, nor has one of an earlier release, which is not asked or does not understand the question.
fn silent(broker: &BrokerTrace, first: &Answered, second: &Answered) -> Vec<InstanceId> {
    let has_said_nothing = |(_, answer): &&(InstanceId, Answer)| {
        matches!(answer, Answer::Busy | Answer::NotUnderstood)
    };
    let of = |answered: &Answered| {
        let answers = answered.answers.iter().filter(has_said_nothing);
        let said_nothing = answers.map(|(instance, _)| *instance);
        said_nothing.chain(answered.silent.iter().copied()).collect::<Vec<_>>()
    };
    // What the second question is answered with is all that is asked of a gateway.
    let has_answered_later = |instance: &InstanceId| {
        let mut answers = second.answers.iter().filter(|answer| !has_said_nothing(answer));
        answers.any(|(answered, _)| answered == instance)
    };
    let has_answered =
        |instance: &InstanceId| first.answers.iter().any(|(answered, _)| answered == instance);
    let linked = broker.links.iter().map(|(instance, _)| *instance);
    let unasked = linked.filter(|instance| !has_answered(instance));
    let away = broker.away.clone();
    let mut silent = [of(first), of(second), unasked.collect(), away].concat();
    silent.retain(|instance| !has_answered_later(instance));
    silent.sort_unstable();
    silent.dedup();
    silent
}

/// Why nobody has said anything of a connection.
fn why_nothing(
    at: Address,
    broker: &BrokerTrace,
    position: Position,
    is_anybody_silent: bool,
) -> (&'static str, String) {
    if broker.event.is_none() {
        return ("not_kept_any_more", not_kept(position, broker));
    }
    let worker = at.worker;
    if broker.is_gateway_away {
        let sentence =
            format!("the gateway of worker {worker} has no link to the broker now: try again");
        return ("gateway_away", sentence);
    }
    let sentence = match is_anybody_silent {
        false => format!("no gateway that has a link to the broker now has a worker {worker}"),
        true => format!(
            "no gateway that has answered has a worker {worker}, and at least one has not answered: try \
             again"
        ),
    };
    ("unknown_connection", sentence)
}

#[cfg(test)]
mod tests {
    use campanile_messages::{ConnectionId, WorkerId};

    use super::*;

    fn answered(answers: &[(u8, Answer)]) -> Answered {
        let instance = |number: u8| InstanceId(number.into());
        let answers = answers.iter().map(|(number, answer)| (instance(*number), answer.clone()));
        Answered {
            broker: Answer::Nothing,
            answers: answers.collect(),
            silent: vec![InstanceId(9)],
        }
    }

    #[test]
    fn who_was_not_asked_or_did_not_understand_has_not_answered() {
        let links = (1..5).map(|number| (InstanceId(number), "address".to_owned()));
        let broker = BrokerTrace { links: links.collect(), ..BrokerTrace::default() };
        let nothing = |number| (number, Answer::Nothing);
        let first = answered(&[nothing(1), (2, Answer::NotUnderstood), (3, Answer::Busy)]);
        let second = answered(&[nothing(1)]);
        let silent = |second| silent(&broker, &first, &second);
        assert_eq!(silent(second), [2, 3, 4, 9].map(InstanceId));
        // What was late with its first answer, or has come since, may have answered the second question.
        let mut later = answered(&[nothing(1), (3, Answer::Busy), nothing(4), nothing(9)]);
        later.silent = Vec::new();
        assert_eq!(silent(later), [2, 3].map(InstanceId));
    }

    #[test]
    fn no_event_is_beyond_the_end_or_between_two_others() {
        let head = Position { epoch: 1, sequence: 0x5ffff };
        let broker = BrokerTrace { tail: 0x20000, ..BrokerTrace::default() };
        let reason = |sequence| no_event(sequence, head, &broker);
        let end = Some(format!("the log ends at {head}"));
        assert_eq!([0, 0x60000].map(reason), [end.clone(), end]);
        // Older ones may have been events.
        assert_eq!([1, 0x20000].map(reason), [None, None]);
        let between = [0x20001, 0x5ffff].map(reason);
        assert!(
            between.iter().all(|it| it.as_ref().is_some_and(|it| it.contains("at this position")))
        );
    }

    fn read(query: &str) -> Result<Traceable, String> {
        let parameters = web::Query::<Parameters>::from_query(query).expect("a query");
        super::read(&parameters)
    }

    #[test]
    fn a_wrong_parameter_is_named_with_its_value() {
        let position = Position { epoch: 1, sequence: 2 };
        let at = Some(Address { worker: WorkerId(3), connection: ConnectionId(4) });
        assert_eq!(read("position=0000000000000001-2"), Ok(Traceable { position, at: None }));
        let full = "position=0000000000000001-2&worker=3&connection=4";
        assert_eq!(read(full), Ok(Traceable { position, at }));
        for (query, part) in [
            ("", "position is missing"),
            ("position=1", "position=1: accepted is"),
            ("position=0000000000000001-2&worker=x&connection=4", "worker=x: accepted is"),
            ("position=0000000000000001-2&worker=3&connection=-4", "connection=-4: accepted is"),
            ("position=0000000000000001-2&worker=3", "worker without connection"),
            ("position=0000000000000001-2&connection=3", "connection without worker"),
        ] {
            let error = read(query).expect_err(query);
            assert!(error.starts_with(part), "{query}: {error}");
        }
    }
}
