//! An item of a batch or of a publish stream in both formats, and a batch in both forms.

#![no_main]

use campanile_channel::publishing::Push;
use campanile_publisher::ApiError;
use campanile_publisher::http::wording;
use campanile_publisher::push::batch::{self, BatchFormat, BatchLimits};
use campanile_publisher::push::item::{json, msgpack};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const MAX_CONTENT_BYTES: usize = 64;
const LIMITS: BatchLimits = BatchLimits { max_items: 8, max_content_bytes: MAX_CONTENT_BYTES };

fuzz_target!(|data: &[u8]| {
    check(msgpack::read(data, MAX_CONTENT_BYTES));
    if let Ok(text) = str::from_utf8(data) {
        let item = json::read(text, MAX_CONTENT_BYTES);
        // An array with one item has the same item.
        let array = batch::read(BatchFormat::Array, format!("[{text}]").as_bytes(), LIMITS);
        if let (Ok(item), Ok(items)) = (&item, &array) {
            assert_eq!(items[..], [Ok(item.clone())]);
        }
        check(item);
    }
    for format in [BatchFormat::Array, BatchFormat::Lines] {
        match batch::read(format, data, LIMITS) {
            Ok(items) => {
                assert!(items.len() <= LIMITS.max_items);
                items.into_iter().for_each(check);
            }
            Err(error) => assert!(error.to_string().len() < 1_000, "{error}"),
        }
    }
});

fn check(item: Result<Push, impl Into<ApiError>>) {
    match item {
        Ok(push) => assert!((1..=MAX_CONTENT_BYTES).contains(&push.content.as_bytes().len())),
        Err(error) => {
            let mut answer = Vec::new();
            wording::json(&Err(error.into()), &mut answer);
            assert!(answer.len() < 1_000);
            let answer: Value = serde_json::from_slice(&answer).expect("JSON");
            assert!(answer["error"].is_string());
        }
    }
}
