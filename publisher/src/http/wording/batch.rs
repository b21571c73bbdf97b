//! The answer to a batch as bytes, and the room that it needs. Pure.

use campanile_channel::publishing::Push;

use super::{error_json, json};
use crate::error::Answered;
use crate::push::batch::BatchFormat;
use crate::push::{BadRequest, cost_bytes};

/// How many bytes a batch counts from the moment when its items are known until its answer was taken. Each
/// push counts like any push, which is enough for its answer; each refused item counts its answer and what
/// is kept of it in the meantime.
pub fn room_bytes(items: &[Result<Push, BadRequest>]) -> usize {
    let mut answer = Vec::new();
    let of_item = |item: &Result<Push, BadRequest>| match item {
        Ok(push) => cost_bytes(push),
        Err(error) => {
            answer.clear();
            error_json(&error.clone().into(), &mut answer);
            size_of::<Answered>() + answer.len() + 1
        }
    };
    // For the brackets.
    2 + items.iter().map(of_item).sum::<usize>()
}

/// Returns the body of the answer to a batch.
pub fn body(format: BatchFormat, answers: &[Answered]) -> Vec<u8> {
    // About the size of a receipt.
    let mut body = Vec::with_capacity(128 * answers.len() + 2);
    let separator = match format {
        BatchFormat::Array => {
            body.push(b'[');
            b','
        }
        BatchFormat::Lines => b'\n',
    };
    for (place, answered) in answers.iter().enumerate() {
        if place > 0 {
            body.push(separator);
        }
        json(answered, &mut body);
    }
    match format {
        BatchFormat::Array => body.push(b']'),
        BatchFormat::Lines if answers.is_empty() => {}
        BatchFormat::Lines => body.push(b'\n'),
    }
    body
}

#[cfg(test)]
mod tests {
    use campanile_channel::publishing::Receipt;

    use super::*;
    use crate::courier::Unavailable;
    use crate::push::batch::{BatchLimits, read};

    #[test]
    fn answers_have_the_format_of_the_batch() {
        let answers = [Ok(Receipt::Written), Ok(Receipt::Written)];
        let one = r#"{"status":200,"receipt":{"written":1}}"#;
        let written = |format, answers: &[Answered]| {
            String::from_utf8(body(format, answers)).expect("a text")
        };
        assert_eq!(written(BatchFormat::Array, &answers), format!("[{one},{one}]"));
        assert_eq!(written(BatchFormat::Lines, &answers), format!("{one}\n{one}\n"));
        assert_eq!(written(BatchFormat::Array, &[]), "[]");
        assert_eq!(written(BatchFormat::Lines, &[]), "");
    }

    #[test]
    fn the_room_of_a_batch_is_enough_for_its_answer() {
        let limits = BatchLimits { max_items: 2_000, max_content_bytes: 10 };
        let bodies = [
            "[]".to_owned(),
            "[1]".to_owned(),
            format!("[{}1]", "1,".repeat(1_999)),
            format!("[{}{{\"content\":\"a\"}}]", "{\"\u{1f514}\":1},".repeat(500)),
        ];
        for request in bodies {
            let items = read(BatchFormat::Array, request.as_bytes(), limits).expect("a batch");
            let room_bytes = super::room_bytes(&items);
            let answer = |item: Result<Push, BadRequest>| -> Answered {
                item?;
                Err(Unavailable::LinkLost.into())
            };
            let answers: Vec<Answered> = items.into_iter().map(answer).collect();
            let answer_bytes = body(BatchFormat::Array, &answers).len();
            assert!(answer_bytes <= room_bytes, "{answer_bytes} in {room_bytes}: {request:.40}");
            assert!(room_bytes < 3 * answer_bytes + 512, "{room_bytes} for {answer_bytes}");
        }
    }
}
