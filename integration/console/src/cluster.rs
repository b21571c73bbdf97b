//! `GET /cluster`: how every process of the cluster fares.

use actix_web::{HttpRequest, HttpResponse, web};
use campanile_admin::{Guard, Wanted};
use campanile_channel::courier::Inquirer;
use campanile_channel::inquiries::Answered;
use campanile_messages::inquiry::{Answer, Question, Summary};
use campanile_messages::link::Asked;
use serde_json::{Value, json};

pub async fn answer(
    request: HttpRequest,
    guard: web::Data<Guard>,
    inquirer: web::Data<Inquirer>,
) -> HttpResponse {
    if let Err(refused) = crate::check(&guard, Wanted::Look, &request) {
        return refused;
    }
    match inquirer.ask(Question::Summary, Asked::Everybody).await {
        Ok(answered) => crate::json(&cluster(&answered)),
        Err(reason) => crate::unanswered(reason),
    }
}

/// What `/cluster` and the operator's page show.
pub fn cluster(answered: &Answered) -> Value {
    let Answered { broker, answers, silent } = answered;
    let (mut gateways, mut publishers) = (Vec::new(), Vec::new());
    for (instance, answer) in answers {
        match answer {
            Answer::Summary(Summary::Gateway(gateway)) => {
                let workers = gateway
                    .workers
                    .iter()
                    .map(|worker| json!({"id": worker.id, "connections": worker.connections}));
                gateways.push(json!({
                    "instance": instance.to_string(),
                    "version": gateway.version,
                    "workers": workers.collect::<Vec<_>>(),
                }));
            }
            Answer::Summary(Summary::Publisher(publisher)) => {
                publishers
                    .push(json!({"instance": instance.to_string(), "version": publisher.version}));
            }
            _ => {}
        }
    }
    let broker = match broker {
        Answer::Summary(Summary::Broker(broker)) => json!({
            "version": broker.version,
            "position": broker.head.map(|head| head.to_string()),
        }),
        _ => Value::Null,
    };
    json!({
        "broker": broker,
        "gateways": gateways,
        "publishers": publishers,
        "silent": silent.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
