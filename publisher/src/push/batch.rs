//! Many pushes in one body: a JSON array of items, or one item per line. Pure.

use campanile_channel::publishing::Push;

use super::BadRequest;
use super::item::error::ItemError;
use super::item::json;

/// How a batch lists its items, and its answer lists theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchFormat {
    /// One JSON array.
    Array,
    /// One JSON object per line (<https://github.com/ndjson/ndjson-spec>).
    Lines,
}

impl BatchFormat {
    /// Returns the media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Array => "application/json",
            Self::Lines => "application/x-ndjson",
        }
    }
}

/// The limits of a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// The most items.
    pub max_items: usize,
    /// The most bytes of each content.
    pub max_content_bytes: usize,
}

/// U+FEFF in UTF-8, which some programs write at the beginning of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the items of a body. A wrong item has its error in its place. A byte order mark at the beginning
/// is skipped.
///
/// # Errors
/// What is wrong with the batch as a whole.
pub fn read(
    format: BatchFormat,
    body: &[u8],
    limits: BatchLimits,
) -> Result<Vec<Result<Push, BadRequest>>, BadRequest> {
    let BatchLimits { max_items, max_content_bytes } = limits;
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    match format {
        BatchFormat::Array => {
            let text = str::from_utf8(body)
                .map_err(|error| BadRequest::BatchNotUtf8 { at: error.valid_up_to() })?;
            json::read_array(text, max_items, max_content_bytes)
        }
        BatchFormat::Lines => {
            let lines = body.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
            let mut items = Vec::new();
            for line in lines.filter(|line| !line.is_empty()) {
                if items.len() == max_items {
                    return Err(BadRequest::TooManyItems { max_items });
                }
                items.push(read_line(line, max_content_bytes));
            }
            Ok(items)
        }
    }
}

fn read_line(line: &[u8], max_content_bytes: usize) -> Result<Push, BadRequest> {
    let text = str::from_utf8(line).map_err(|error| {
        let reason = format!("it is not UTF-8 from byte {} on", error.valid_up_to());
        ItemError::Malformed { format: "JSON", reason }
    })?;
    json::read(text, max_content_bytes)
}

#[cfg(test)]
mod tests {
    use campanile_messages::Audience;

    use super::*;
    use crate::http::status;
    use campanile_channel::publishing::Target;

    const LIMITS: BatchLimits = BatchLimits { max_items: 3, max_content_bytes: 10 };

    fn text(content: &'static str) -> Result<Push, BadRequest> {
        Ok(Push::new(Target::Audience(Audience::Everyone), content.into()))
    }

    fn sentence(format: BatchFormat, body: &[u8]) -> String {
        read(format, body, LIMITS).expect_err("refused").to_string()
    }

    #[test]
    fn an_array_keeps_its_order_and_errors_are_in_their_place() {
        let body = br#" [ {"content":"a"}, {"content":""}, {"content":"c"} ] "#;
        assert_eq!(
            read(BatchFormat::Array, body, LIMITS),
            Ok(vec![text("a"), Err(BadRequest::EmptyContent), text("c")])
        );
        assert_eq!(read(BatchFormat::Array, b"[]", LIMITS), Ok(vec![]));
        let read = read(BatchFormat::Array, b"[1,null,[[]]]", LIMITS).expect("an array");
        for (item, shown) in read.into_iter().zip(["1", "null", "[..]"]) {
            let said = item.expect_err("refused").to_string();
            assert!(said.starts_with(&format!("the item is {shown}: an object with")), "{said}");
        }
    }

    /// What is JSON by its grammar (RFC 8259) and still not an item, and the beginning of its error.
    fn wrong_items() -> Vec<(String, &'static str)> {
        let deep = |open: &str, close: &str| {
            format!("{{\"content\":{}1{}}}", open.repeat(100_000), close.repeat(100_000))
        };
        vec![
            (r#"{"content":"\ud83d"}"#.into(), "the item has \"\\\\ud83d\", half of a"),
            (r#"{"content":"a","to":"\udc00"}"#.into(), "the item has \"\\\\udc00\", half of a"),
            (r#"{"\ud83d":"a"}"#.into(), "the item has \"\\\\ud83d\", half of a surrogate pair"),
            (r#"{"content":1e999}"#.into(), "the item cannot be read as JSON: number out of range"),
            (
                format!("{{\"content\":{}}}", "9".repeat(400)),
                "the item cannot be read as JSON: num",
            ),
            (format!("{{\"to\":{{\"worker\":-{}}}}}", "9".repeat(400)), "the item cannot be read"),
            (r#"{"content":"a","content":"a"}"#.into(), "content is given more than once"),
            (r#"{"content":"a","to":{"group":"a","group":"a"}}"#.into(), "to.group is given more"),
            (r#"{"content_base64":"YQ"}"#.into(), "content_base64 is \"YQ\": "),
            (deep("[", "]"), "content is [..]: a string is accepted"),
            (deep("{\"a\":", "}"), "content is {..}: a string is accepted"),
            (format!("{}{}", "[".repeat(1_000), "]".repeat(1_000)), "the item is [..]: an"),
            ("1e999".into(), "the item cannot be read as JSON: number out of range"),
            (r#""\ud83d""#.into(), "the item has \"\\\\ud83d\", half of a surrogate pair: whole"),
        ]
    }

    #[test]
    fn a_wrong_item_does_not_affect_the_others() {
        for (wrong, said) in wrong_items() {
            let good = |content| format!("{{\"content\":\"{content}\"}}");
            let array = format!("[{},{wrong},{}]", good("a"), good("c"));
            let lines = format!("{}\n{wrong}\n{}", good("a"), good("c"));
            for (format, body) in [(BatchFormat::Array, array), (BatchFormat::Lines, lines)] {
                let read = read(format, body.as_bytes(), LIMITS).expect("a batch");
                assert_eq!((&read[0], &read[2]), (&text("a"), &text("c")), "{said}");
                let error = read[1].as_ref().expect_err("refused");
                assert!(error.to_string().starts_with(said), "{error}");
                assert_eq!((status(&error.clone().into()).as_u16(), read.len()), (400, 3));
            }
        }
    }

    #[test]
    fn a_byte_order_mark_before_a_batch_is_skipped() {
        let array = "\u{feff}[{\"content\":\"a\"}]";
        assert_eq!(read(BatchFormat::Array, array.as_bytes(), LIMITS), Ok(vec![text("a")]));
        for lines in [
            "\u{feff}{\"content\":\"a\"}\n{\"content\":\"c\"}",
            "\u{feff}\n{\"content\":\"a\"}\n\u{feff}{\"content\":\"c\"}\n",
        ] {
            let read = read(BatchFormat::Lines, lines.as_bytes(), LIMITS);
            assert_eq!(read, Ok(vec![text("a"), text("c")]));
        }
        assert_eq!(read(BatchFormat::Lines, BYTE_ORDER_MARK, LIMITS), Ok(vec![]));
    }

    #[test]
    fn eight_mebibytes_of_brackets_do_not_use_up_the_stack() {
        for open in ["[", "{\"a\":"] {
            let deep = open.repeat((8 << 20) / open.len());
            for body in [deep.clone(), format!("[{{\"content\":{deep}")] {
                let said = sentence(BatchFormat::Array, body.as_bytes());
                assert!(said.contains("EOF while parsing") || said.contains("is {..}"), "{said}");
            }
            let read = read(BatchFormat::Lines, deep.as_bytes(), LIMITS).expect("a line");
            let error = read[0].as_ref().expect_err("refused");
            assert_eq!(status(&error.clone().into()), 400);
        }
    }

    #[test]
    fn each_line_is_an_item_and_blank_ones_are_skipped() {
        let body = b"\n{\"content\":\"a\"}\r\n \n{\"content\":\n{\"content\":\"\xff\"}";
        let read = read(BatchFormat::Lines, body, LIMITS).expect("lines");
        assert_eq!(read.len(), 3);
        assert_eq!(read[0], text("a"));
        let said = |at: usize| read[at].as_ref().expect_err("refused").to_string();
        assert!(said(1).starts_with("the item cannot be read as JSON: EOF while"), "{}", said(1));
        assert_eq!(said(2), "the item cannot be read as JSON: it is not UTF-8 from byte 12 on");
        assert_eq!(super::read(BatchFormat::Lines, b" \n\n", LIMITS), Ok(vec![]));
    }

    #[test]
    fn what_is_not_an_array_is_refused_as_a_whole() {
        for body in ["", "[", "[{\"content\":\"a\"},]", "[{\"content\":\"a\"}] 1", "[\u{feff}]"] {
            let said = sentence(BatchFormat::Array, body.as_bytes());
            assert!(
                said.starts_with("the batch is not JSON, and nothing of it was pushed: "),
                "{said}"
            );
        }
        for deep in ["[".repeat(100_000), format!("[{{\"to\":{}", "{\"a\":".repeat(100_000))] {
            assert!(sentence(BatchFormat::Array, deep.as_bytes()).contains("EOF while parsing"));
        }
        let said = sentence(BatchFormat::Array, br#"{"content":"a"}"#);
        assert!(said.starts_with("the batch is {..}, and nothing of it was pushed: a JSON array"));
        assert!(sentence(BatchFormat::Array, b"[\"\xff\"]").contains("not UTF-8 from byte 2 on"));
    }

    #[test]
    fn more_items_than_the_limit_are_refused_as_a_whole() {
        let expected = Err(BadRequest::TooManyItems { max_items: 3 });
        assert_eq!(read(BatchFormat::Array, b"[1,1,1,1]", LIMITS), expected);
        assert_eq!(read(BatchFormat::Array, b"[1,1,1,1,", LIMITS), expected);
        assert_eq!(read(BatchFormat::Lines, b"1\n1\n1\n\n1", LIMITS), expected);
        assert!(read(BatchFormat::Array, b"[1,1,1]", LIMITS).is_ok());
        assert!(read(BatchFormat::Lines, b"1\n1\n1\n\n", LIMITS).is_ok());
    }
}
