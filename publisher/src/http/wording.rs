//! Receipts and the answers to items as bytes: the same objects in JSON and in MessagePack. Pure.
//!
//! ```text
//! {"status":200,"receipt":{"position":"P","durability":"disk","gateways":2,"matched":120}}
//! {"status":400,"error":"content is empty: send at least one byte"}
//! ```

pub mod batch;

use std::borrow::Cow;
use std::io::Write;

use campanile_channel::publishing::{Accepted, Delivery, Receipt};
use campanile_messages::link::Matched;

use super::status;
use crate::courier::Unavailable;
use crate::error::{Answered, ApiError};
use crate::push::{BadRequest, MIN_COST_BYTES};

/// How many bytes the answer to an item has at most, in either format. What a sentence repeats of the
/// caller's values is short (`Shown`).
pub const MAX_ANSWER_BYTES: usize = 500;

// Together with a separator, it fits into the room of a push.
const _: () = assert!(MAX_ANSWER_BYTES < MIN_COST_BYTES);

const MEMORY: &str = "writing to memory does not fail";

/// Appends the answer to an item in JSON.
pub fn json(answered: &Answered, out: &mut Vec<u8>) {
    match answered {
        Ok(receipt) => {
            out.extend_from_slice(b"{\"status\":200,\"receipt\":");
            receipt_json(receipt, out);
        }
        Err(error) => return error_json(error, out),
    }
    out.push(b'}');
}

/// Appends the answer to a refused item in JSON.
pub fn error_json(error: &ApiError, out: &mut Vec<u8>) {
    write!(out, "{{\"status\":{},\"error\":", status(error).as_u16()).expect(MEMORY);
    serde_json::to_writer(&mut *out, &*sentence(error)).expect(MEMORY);
    out.push(b'}');
}

/// The answer to a valid key in JSON.
pub(crate) const AUTHENTICATED_JSON: &str = "{\"status\":200}";

/// Appends the answer to a valid key in MessagePack.
pub(crate) fn authenticated_msgpack(out: &mut Vec<u8>) {
    Map::begin(out, 1).number("status", 200);
}

/// Appends a receipt in JSON.
pub fn receipt_json(receipt: &Receipt, out: &mut Vec<u8>) {
    let Receipt::Accepted(accepted) = receipt else {
        out.extend_from_slice(b"{\"written\":1}");
        return;
    };
    let Accepted { position, durability, matched, delivery } = accepted;
    let mut number = itoa::Buffer::new();
    let mut add = |name: &str, value: u64, out: &mut Vec<u8>| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(number.format(value).as_bytes());
    };
    write!(out, "{{\"position\":\"{position}\",\"durability\":\"").expect(MEMORY);
    out.extend_from_slice(durability.word().as_bytes());
    out.push(b'"');
    if let Some(Matched { gateways, connections }) = *matched {
        add(",\"gateways\":", gateways.into(), out);
        add(",\"matched\":", connections, out);
    }
    if let Some(Delivery { written, too_slow, silent_gateways }) = delivery {
        add(",\"written\":", *written, out);
        add(",\"too_slow\":", *too_slow, out);
        add(",\"silent_gateways\":", *silent_gateways, out);
    }
    out.push(b'}');
}

/// Appends the answer to an item in MessagePack.
pub fn msgpack(answered: &Answered, out: &mut Vec<u8>) {
    let mut map = Map::begin(out, 2);
    match answered {
        Ok(receipt) => {
            map.number("status", 200);
            map.key("receipt");
            receipt_msgpack(receipt, out);
        }
        Err(error) => {
            map.number("status", status(error).as_u16().into());
            map.text("error", &sentence(error));
        }
    }
}

fn receipt_msgpack(receipt: &Receipt, out: &mut Vec<u8>) {
    let Receipt::Accepted(accepted) = receipt else {
        return Map::begin(out, 1).number("written", 1);
    };
    let Accepted { position, durability, matched, delivery } = accepted;
    let counts = if matched.is_some() { 2 } else { 0 };
    let mut map = Map::begin(out, 2 + counts + if delivery.is_some() { 3 } else { 0 });
    map.text("position", &position.to_string());
    map.text("durability", durability.word());
    if let Some(Matched { gateways, connections }) = *matched {
        map.number("gateways", gateways.into());
        map.number("matched", connections);
    }
    if let Some(Delivery { written, too_slow, silent_gateways }) = delivery {
        map.number("written", *written);
        map.number("too_slow", *too_slow);
        map.number("silent_gateways", *silent_gateways);
    }
}

struct Map<'a>(&'a mut Vec<u8>);

impl<'a> Map<'a> {
    fn begin(out: &'a mut Vec<u8>, len: u32) -> Self {
        rmp::encode::write_map_len(out, len).expect(MEMORY);
        Self(out)
    }

    fn key(&mut self, name: &str) {
        rmp::encode::write_str(self.0, name).expect(MEMORY);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.key(name);
        rmp::encode::write_uint(self.0, value).expect(MEMORY);
    }

    fn text(&mut self, name: &str, value: &str) {
        self.key(name);
        rmp::encode::write_str(self.0, value).expect(MEMORY);
    }
}

/// Returns the sentence of an error, with the names of an item's fields.
fn sentence(error: &ApiError) -> Cow<'static, str> {
    let said = error.to_string();
    match error {
        // These sentences repeat nothing of the caller, so only the names can match.
        ApiError::BadRequest(
            BadRequest::UnknownWorker(_)
            | BadRequest::UnknownConnection(_)
            | BadRequest::NotWritten(_),
        )
        | ApiError::Unavailable(Unavailable::GatewayAway(_) | Unavailable::Unconfirmed { .. }) => {
            said.replace("to_worker_id", "to.worker")
                .replace("to_connection_id", "to.connection")
                .into()
        }
        _ => said.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use campanile_edge::Action;
    use campanile_messages::ids::InvalidId;
    use campanile_messages::{ConnectionId, Durability, IdempotencyKey, Position, WorkerId};
    use serde_json::{Value, json};

    use super::*;
    use crate::budget::UsedUp;
    use crate::push::item;
    use crate::push::shown::Shown;

    fn accepted(delivery: Option<Delivery>) -> Receipt {
        let position = Position { epoch: 0xe0c4, sequence: 42 };
        let durability = Durability::Disk;
        let matched = Some(Matched { gateways: 2, connections: 120 });
        Receipt::Accepted(Accepted { position, durability, matched, delivery })
    }

    fn both(answered: &Answered) -> Value {
        let (mut text, mut packed) = (Vec::new(), Vec::new());
        json(answered, &mut text);
        msgpack(answered, &mut packed);
        let text: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(rmp_serde::from_slice::<Value>(&packed).expect("MessagePack"), text);
        text
    }

    #[test]
    fn an_accepted_item_has_its_receipt() {
        let mut text = Vec::new();
        json(&Ok(accepted(None)), &mut text);
        assert_eq!(
            str::from_utf8(&text),
            Ok("{\"status\":200,\"receipt\":{\"position\":\"000000000000e0c4-42\",\
                \"durability\":\"disk\",\"gateways\":2,\"matched\":120}}")
        );
        let delivery = Delivery { written: 118, too_slow: 2, silent_gateways: u64::MAX };
        let receipt = json!({
            "position": "000000000000e0c4-42", "durability": "disk", "gateways": 2, "matched": 120,
            "written": 118, "too_slow": 2, "silent_gateways": u64::MAX,
        });
        assert_eq!(
            both(&Ok(accepted(Some(delivery)))),
            json!({ "status": 200, "receipt": receipt })
        );
        assert_eq!(
            both(&Ok(Receipt::Written)),
            json!({ "status": 200, "receipt": { "written": 1 } })
        );
        both(&Ok(accepted(None)));
    }

    #[test]
    fn a_receipt_without_counts_is_shorter() {
        let Receipt::Accepted(accepted) = accepted(None) else { unreachable!() };
        let repeat = Receipt::Accepted(Accepted { matched: None, ..accepted });
        let receipt = json!({ "position": "000000000000e0c4-42", "durability": "disk" });
        assert_eq!(both(&Ok(repeat)), json!({ "status": 200, "receipt": receipt }));
    }

    #[test]
    fn a_refused_item_has_a_status_and_a_sentence() {
        let error = "content is empty: send at least one byte";
        assert_eq!(
            both(&Err(BadRequest::EmptyContent.into())),
            json!({ "status": 400, "error": error })
        );
        let hostile: ApiError = BadRequest::IdTaken { id: "\"\n\\".into() }.into();
        assert_eq!(both(&Err(hostile.clone()))["error"], hostile.to_string());
    }

    fn longest_receipts() -> Vec<Answered> {
        let most = u64::MAX;
        let delivery = Delivery { written: most, too_slow: most, silent_gateways: most };
        let longest = |durability| Accepted {
            position: Position { epoch: most, sequence: most },
            durability,
            matched: Some(Matched { gateways: u32::MAX, connections: most }),
            delivery: Some(delivery),
        };
        let all = [Durability::Memory, Durability::Written, Durability::Disk];
        all.map(|durability| Ok(Receipt::Accepted(longest(durability)))).into()
    }

    /// The longest answers to a push and to a wrong item.
    fn longest_errors() -> Vec<ApiError> {
        // 60 characters of four bytes are shown.
        let shown = || Shown::from("\u{1f514}".repeat(100).as_str());
        let waited = Duration::from_nanos(29_999_999_999);
        let (worker, connection) = (WorkerId(u64::MAX), ConnectionId(u64::MAX));
        let given = "except.connection";
        let mut all = vec![
            Unavailable::NoBroker { waited }.into(),
            Unavailable::BrokerBusy { waited }.into(),
            Unavailable::BrokerTooOld.into(),
            Unavailable::IdsFull.into(),
            Unavailable::TooManyUnanswered.into(),
            BadRequest::IdTaken { id: shown() }.into(),
            Unavailable::BrokerShuttingDown.into(),
            BadRequest::UnknownWorker(worker).into(),
            BadRequest::UnknownConnection(connection).into(),
            BadRequest::NotWritten(connection).into(),
            Unavailable::GatewayAway(worker).into(),
            Unavailable::TooMuchPending(UsedUp::UnfinishedOfPeer { max_bytes: usize::MAX }).into(),
            Unavailable::CallerGone.into(),
            Unavailable::TooOften { per_second: u32::MAX, wait: Duration::MAX }.into(),
            Unavailable::ShuttingDown.into(),
            Unavailable::Unanswered { waited }.into(),
            Unavailable::MemoryLost.into(),
            Unavailable::Unconfirmed { worker, waited }.into(),
            Unavailable::LinkLost.into(),
            Unavailable::PublisherEnded.into(),
            BadRequest::EmptyContent.into(),
            BadRequest::TooLarge { max_bytes: usize::MAX }.into(),
            BadRequest::IdForConnection.into(),
            BadRequest::ExceptForConnection.into(),
            BadRequest::Repeated { parameter: given }.into(),
            BadRequest::NoWait { value: shown() }.into(),
            BadRequest::NoTimeout { value: shown() }.into(),
        ];
        let reasons = [InvalidId::TooLarge, InvalidId::NotDecimal];
        let no_id = |reason| {
            ApiError::BadRequest(BadRequest::NoId { parameter: given, value: shown(), reason })
        };
        all.extend(reasons.map(no_id));
        let long = "a".repeat(256);
        for name in ["", "\u{1}", &long] {
            let reason = IdempotencyKey::new(name).expect_err("no name");
            all.push(BadRequest::NoName { given: "to.group", value: shown(), reason }.into());
        }
        // 255 bytes, which take more when they are escaped.
        for name in ["\u{1f514}".repeat(63), "\"".repeat(255), "\u{202e}".repeat(85)] {
            let name = &*name;
            for action in
                [Action::PublishToGroup { group: name }, Action::PublishToUser { user: name }]
            {
                let scope = action.scope().expect("a key can have it");
                all.push(BadRequest::NotAllowed { scope }.into());
            }
        }
        all
    }

    #[test]
    fn no_answer_to_an_item_is_longer_than_its_bound() {
        let mut answers = longest_receipts();
        answers.extend(longest_errors().into_iter().map(Err));
        let bell = "\u{1f514}".repeat(100);
        for item in [
            format!("{{\"{bell}\":1}}"),
            format!("\"{bell}\""),
            format!("{{\"content\":\"a\",\"to\":{{\"{bell}\":1}}}}"),
            format!("{{\"content\":\"a\",\"except\":{{\"{bell}\":1}}}}"),
            format!("{{\"content\":\"a\",\"to\":\"{bell}\"}}"),
            format!("{{\"content\":\"a\",\"except\":\"{bell}\"}}"),
            format!("{{\"content\":\"a\",\"except\":{{\"connection\":\"{bell}\"}}}}"),
            format!("{{\"content_base64\":\"{bell}\"}}"),
            format!("{{\"content\":\"a\",\"id\":\"{bell}\"}}"),
            format!("{{\"content\":\"a\",\"wait\":\"{bell}\"}}"),
            format!("{{\"content\":\"a\",\"timeout\":\"{bell}\"}}"),
            "{\"content\":\"a\",\"content_base64\":\"YQ==\"}".into(),
            "{\"content\":\"a\",\"to\":{\"group\":\"a\",\"worker\":1}}".into(),
            "{\"content\":\"a\",\"to\":{\"worker\":1}}".into(),
            "{\"content\":\"a\",\"to\":{}}".into(),
            "{\"content\":\"a\",\"except\":{\"worker\":1}}".into(),
            "{\"content\":\"\\ud83d\"}".into(),
            "{\"content\":1e999}".into(),
            "[".repeat(1_000),
            "{}".into(),
        ] {
            answers.push(Err(item::json::read(&item, 1).expect_err("no item").into()));
        }
        for answered in &answers {
            let (mut text, mut packed) = (Vec::new(), Vec::new());
            json(answered, &mut text);
            msgpack(answered, &mut packed);
            let longest = text.len().max(packed.len());
            assert!(longest <= MAX_ANSWER_BYTES, "{longest}: {}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn an_address_has_the_names_of_an_items_fields() {
        let said = both(&Err(BadRequest::UnknownWorker(WorkerId(3)).into()));
        assert_eq!(said["status"], 404);
        let error = said["error"].as_str().expect("a text");
        assert!(error.starts_with("to.worker is 3: no worker"), "{error}");
        let kept = both(&Err(BadRequest::IdTaken { id: "to_worker_id".into() }.into()));
        assert!(kept["error"].as_str().expect("a text").contains("to_worker_id"));
    }
}
