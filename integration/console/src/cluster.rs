//! `GET /cluster`: how every process of the cluster fares. `docs/operators.md` describes each field.

mod latest;
mod processes;

use std::collections::HashMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use actix_web::http::header::{self, CacheDirective};
use actix_web::{HttpRequest, HttpResponse, web};
use campanile_admin::{Guard, Wanted};
use campanile_channel::courier::Inquirer;
use campanile_channel::inquiries::Answered;
use campanile_messages::InstanceId;
use campanile_messages::inquiry::{Answer, BrokerSummary, LinkSummary, Question, Summary};
use campanile_messages::link::Asked;
use serde_json::{Value, json};

use crate::object;
pub use latest::LatestAnswer;
use processes::{broker, gateway, publisher};

pub async fn answer(
    request: HttpRequest,
    guard: web::Data<Guard>,
    inquirer: web::Data<Inquirer>,
    latest: web::Data<LatestAnswer>,
) -> HttpResponse {
    if let Err(refused) = crate::check(&guard, Wanted::Look, &request) {
        return refused;
    }
    let ask = async {
        let answered = inquirer.ask(Question::Summary, Asked::Everybody).await?;
        Ok(cluster(answered, SystemTime::now()).to_string().into())
    };
    match latest.get(Instant::now(), ask).await {
        Ok(answer) => {
            let mut response = HttpResponse::Ok();
            let response = response.content_type(header::ContentType::json());
            response.insert_header(header::CacheControl(vec![CacheDirective::NoStore])).body(answer)
        }
        Err(reason) => crate::unanswered(reason),
    }
}

/// The links of the broker, by the process at their other end.
type Links = HashMap<InstanceId, LinkSummary>;

/// What `/cluster` answers at this time, and the operator's page shows.
pub fn cluster(answered: Answered, now: SystemTime) -> Value {
    let Answered { broker: answer, answers, silent } = answered;
    let known = match answer {
        Answer::Summary(Summary::Broker(broker)) => Some(*broker),
        _ => None,
    };
    let links = known.as_ref().map_or(&[][..], |broker| &broker.links);
    let links: Links = links.iter().map(|link| (link.instance, link.clone())).collect();
    let mut gateways = Vec::new();
    let mut publishers = Vec::new();
    let mut without_answer: Vec<_> = silent.into_iter().map(|who| (who, "silent")).collect();
    for (instance, answer) in answers {
        match answer {
            Answer::Summary(Summary::Gateway(summary)) => {
                let first = summary.workers.first().map(|worker| worker.id);
                gateways.push(((first, instance), gateway(&summary)));
            }
            Answer::Summary(Summary::Publisher(summary)) => {
                publishers.push((instance, publisher(&summary)));
            }
            Answer::Busy => without_answer.push((instance, "busy")),
            // The second link of a gateway, on which it publishes for its clients.
            Answer::Nothing => {}
            _ => without_answer.push((instance, "not_understood")),
        }
    }
    // In the order in which their workers got their ids.
    gateways.sort_unstable_by_key(|(place, _)| *place);
    publishers.sort_unstable_by_key(|(instance, _)| *instance);
    let gateways = gateways.into_iter().map(|((_, instance), it)| (instance, it));
    let (mut gateways, mut publishers): (Vec<_>, Vec<_>) = (
        gateways.map(|(instance, it)| placed(instance, it, &links)).collect(),
        publishers.into_iter().map(|(instance, it)| placed(instance, it, &links)).collect(),
    );
    for link in unasked(known.as_ref()) {
        let others = if link.role == "gateway" { &mut gateways } else { &mut publishers };
        let earlier = json!({ "asked": false, "version": null });
        others.push(placed(link.instance, object(earlier), &links));
    }
    let away = known.iter().flat_map(|broker| &broker.away);
    without_answer.extend(away.map(|who| (*who, AWAY)));
    without_answer.sort_unstable();
    let silent = without_answer.into_iter().map(|(who, reason)| silent_one(who, reason, &links));
    json!({
        "time": now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1e3,
        "broker": known.as_ref().map(broker),
        "gateways": gateways,
        "publishers": publishers,
        "silent": silent.collect::<Vec<_>>(),
        "silent_left_out": known.as_ref().map_or(0, |broker| broker.away_left_out),
    })
}

/// The processes that were not asked, because they are of an earlier release.
fn unasked(broker: Option<&BrokerSummary>) -> Vec<LinkSummary> {
    let links = broker.map_or(&[][..], |broker| &broker.links).iter();
    let mut unasked: Vec<_> = links.filter(|link| !link.is_askable).cloned().collect();
    unasked.sort_unstable_by_key(|link| link.instance);
    unasked
}

/// Adds what the broker knows of a process.
fn placed(instance: InstanceId, mut it: serde_json::Map<String, Value>, links: &Links) -> Value {
    it.insert("instance".to_owned(), instance.to_string().into());
    if let Some(link) = links.get(&instance) {
        it.insert("address".to_owned(), link.address.as_str().into());
        let lag = json!({ "events": link.lag_events, "bytes": link.lag_bytes });
        it.insert("lag".to_owned(), lag);
    }
    it.into()
}

/// Why a gateway has not answered that could not be asked: it has lost its link a short while ago.
pub const AWAY: &str = "away";

/// A process that has not answered, with the word for why.
pub fn silent_one(instance: InstanceId, reason: &str, links: &Links) -> Value {
    let link = links.get(&instance);
    json!({
        "instance": instance.to_string(),
        "role": if reason == AWAY { Some("gateway") } else { link.map(|link| &*link.role) },
        "address": link.map(|link| &link.address),
        "reason": reason,
    })
}

#[cfg(test)]
mod tests;
