//! `campanile trace`: what became of one event, and why one client did or did not get it.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;

use crate::cli::TraceArgs;
use crate::remote::{
    AskError, ServerUrl, answer, first_answer, operators, print_answer, printable,
};

/// How long an answer may take: a publisher asks its cluster twice.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// What is said of another answer than a trace.
const STRANGE: &str = "is not a trace: is this the operators' listener of a publisher?";

/// Asks, and prints the answer. The exit code is 1 if there is none, and 2 if an argument is wrong.
pub fn run(args: &TraceArgs) -> ExitCode {
    print_answer(|runtime| {
        let key = args.caller.authorization()?;
        let urls = operators(args.url.as_ref());
        let first = urls.first().context("no URL")?;
        let client = args.caller.client(first, ANSWER_LIMIT)?;
        let ask = async |url| {
            let answer = trace(request(&client, url, key.as_ref(), args), url, args).await;
            answer.map_err(|error| (error.to_string(), error.is_elsewhere()))
        };
        let answer = runtime.block_on(first_answer(&urls, ask));
        Ok(answer.map(|(_, text)| text).map_err(|errors| errors.join("; ")))
    })
}

fn request(
    client: &Client,
    url: &ServerUrl,
    key: Option<&HeaderValue>,
    args: &TraceArgs,
) -> RequestBuilder {
    let at = args.connection.map(|at| (at.worker.to_string(), at.connection.to_string()));
    let mut query = vec![("position", &*args.position)];
    if let Some((worker, connection)) = &at {
        query.extend([("worker", &**worker), ("connection", connection)]);
    }
    let request = client.get(url.at("trace", query));
    match key {
        Some(key) => request.header(AUTHORIZATION, key),
        None => request,
    }
}

/// Asks. Returns what to print of the answer.
async fn trace(
    request: RequestBuilder,
    url: &ServerUrl,
    args: &TraceArgs,
) -> Result<String, AskError> {
    let body = answer(request, url).await?;
    let trace: Value = serde_json::from_slice(&body)
        .ok()
        .filter(|trace: &Value| trace["event"].is_object())
        .ok_or_else(|| AskError::Strange { url: url.to_string(), what: STRANGE })?;
    Ok(match args.json {
        true => trace.to_string(),
        false => printable(&said(&trace)),
    })
}

/// An answer as lines of text.
fn said(trace: &Value) -> String {
    let mut text = String::new();
    let event = &trace["event"];
    let _ = writeln!(text, "event {}", word(&trace["position"]));
    if event["known"] == true {
        let _ = writeln!(text, "  for {}, {} bytes", audience(&event["audience"]), event["bytes"]);
        for (name, value) in
            [("key", &event["key"]), ("id", &event["id"]), ("user", &event["user"])]
        {
            if let Some(value) = value.as_str() {
                let _ = writeln!(text, "  {name} {value:?}");
            }
        }
        let instance = event["publisher"]["instance"].as_str();
        if let Some(instance) = instance {
            let _ = writeln!(text, "  pushed by publisher {instance}");
        }
        for what in ["accepted", "stored", "released"] {
            if let Some(time) = event[what].as_f64() {
                let _ = writeln!(text, "  {what} {}", time_of(time));
            }
        }
    } else {
        let _ = writeln!(text, "  {}", word(&event["sentence"]));
    }
    for gateway in trace["gateways"].as_array().into_iter().flatten() {
        let address = gateway["address"].as_str().unwrap_or("without a known address");
        let _ = write!(text, "gateway {} {address}: ", word(&gateway["instance"]));
        let count = |name: &str| gateway[name].as_u64().unwrap_or(0);
        let _ = match (gateway["sent"].as_bool(), gateway["unknown"].as_str()) {
            (Some(true), _) => {
                if let Some(received) = gateway["received"].as_f64() {
                    let _ = write!(text, "received {}, ", time_of(received));
                }
                writeln!(
                    text,
                    "{} listened, written to {}, waits for {}, {} closed as too slow",
                    count("listeners"),
                    count("written"),
                    count("waiting"),
                    count("closed_too_slow")
                )
            }
            (Some(false), _) => writeln!(text, "was not sent it, because nobody listened there"),
            (None, unknown) => writeln!(text, "{}", unknown.unwrap_or("not known")),
        };
    }
    for silent in trace["silent"].as_array().into_iter().flatten() {
        let why = match silent["reason"].as_str() {
            Some("away") => "has no link to the broker now",
            _ => "did not answer",
        };
        let _ = writeln!(text, "{} {why}", word(&silent["instance"]));
    }
    if let Some(more @ 1..) = trace["silent_left_out"].as_u64() {
        let _ = writeln!(text, "{more} more gateways have no link to the broker now");
    }
    if let Some(connection) = trace.get("connection") {
        let _ = writeln!(
            text,
            "connection {}/{}: {}: {}",
            connection["worker"],
            connection["connection"],
            word(&connection["reason"]),
            word(&connection["sentence"])
        );
        if let Some(time) = connection["at"].as_f64() {
            let _ = writeln!(text, "  at {}", time_of(time));
        }
    }
    text
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn audience(audience: &Value) -> String {
    let named =
        ["group", "user"].into_iter().find_map(|kind| Some((kind, audience[kind].as_str()?)));
    named.map_or_else(|| "everyone".to_owned(), |(kind, name)| format!("the {kind} {name:?}"))
}

/// A time in UTC.
fn time_of(seconds: f64) -> String {
    let time = Duration::try_from_secs_f64(seconds).ok().and_then(|at| UNIX_EPOCH.checked_add(at));
    let time = time.unwrap_or(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_said_in_lines() {
        let trace = json!({
            "position": "a-1",
            "event": {
                "known": true, "accepted": 1_790_000_000.25, "stored": null,
                "released": 1_790_000_000.25, "audience": {"group": "news"}, "bytes": 5,
                "publisher": {"instance": "01"}, "key": "shop", "id": null, "user": null,
            },
            "gateways": [
                {"instance": "02", "address": "10.0.0.7:5", "sent": true, "received": 1_790_000_000.5,
                 "listeners": 3, "written": 2, "waiting": 1, "closed_too_slow": 0},
                {"instance": "03", "address": null, "sent": false},
                {"instance": "04", "address": "10.0.0.8:5", "sent": null, "unknown": "it is away"},
            ],
            "silent": [{"instance": "05", "address": null}],
            "connection": {"worker": 1, "connection": 7, "reason": "written", "sentence": "it has it",
                           "at": null},
        });
        let expected = "event a-1\n  for the group \"news\", 5 bytes\n  key \"shop\"\n  \
                        pushed by publisher 01\n  accepted 2026-09-21T14:13:20.250Z\n  \
                        released 2026-09-21T14:13:20.250Z\n\
                        gateway 02 10.0.0.7:5: received 2026-09-21T14:13:20.500Z, 3 listened, written to 2, \
                        waits for 1, 0 closed as too slow\n\
                        gateway 03 without a known address: was not sent it, because nobody listened there\n\
                        gateway 04 10.0.0.8:5: it is away\n05 did not answer\n\
                        connection 1/7: written: it has it\n";
        assert_eq!(said(&trace), expected);
    }
}
