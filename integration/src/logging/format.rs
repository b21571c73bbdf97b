//! How a line of the log looks: text for people, JSON for programs.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde_json::{Map, Value};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use super::queue::MAX_LINE_BYTES;

/// What `--log-format` accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text if standard error is a terminal, otherwise JSON
    #[default]
    Auto,
    /// One line of text for each event
    Text,
    /// One JSON object per line
    Json,
}

impl LogFormat {
    /// The format for a standard error that is a terminal or not.
    pub fn on(self, is_terminal: bool) -> Form {
        match (self, is_terminal) {
            (Self::Text, _) | (Self::Auto, true) => Form::Text,
            (Self::Json, _) | (Self::Auto, false) => Form::Json,
        }
    }
}

/// What the lines of this process are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    Json,
}

impl Form {
    /// A line as `tracing` writes those of an error, with its line feed. In JSON it is one line, whatever
    /// `message` is; as text, it has the line feeds of `message`.
    pub fn error_line(self, message: &str) -> String {
        let message = message.trim_end();
        let mut time = String::new();
        // A clock before 1970 leaves the time out.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        match self {
            Self::Text => format!("{time} ERROR campanile: {message}\n"),
            Self::Json => {
                let mut line = String::new();
                let string = |string: &str| Value::from(string);
                let _ = writeln!(
                    line,
                    r#"{{"timestamp":{},"level":"ERROR","message":{},"target":"campanile"}}"#,
                    string(&time),
                    string(message)
                );
                shortened(line.as_bytes()).unwrap_or(line)
            }
        }
    }
}

/// A JSON object that is longer than a line may be, with shorter strings, so that it stays valid. `None` if
/// `line` is short enough, or no object.
pub fn shortened(line: &[u8]) -> Option<String> {
    if line.len() <= MAX_LINE_BYTES {
        return None;
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice(line) else { return None };
    // A character has 6 bytes at most when it is escaped, such as \u0000.
    let cut = |(name, value): (String, Value)| match value {
        Value::String(string) => {
            let escaped_bytes = |c: char| if c < ' ' { 6 } else { c.len_utf8() + 1 };
            let mut left_bytes = MAX_LINE_BYTES / 4;
            let kept = string.chars().take_while(|c| {
                let bytes = escaped_bytes(*c);
                let fits = bytes <= left_bytes;
                left_bytes = left_bytes.saturating_sub(bytes);
                fits
            });
            let mut kept: String = kept.collect();
            if kept.len() < string.len() {
                kept.push_str("...");
            }
            (name, Value::String(kept))
        }
        value => (name, value),
    };
    let fields: Map<_, _> = fields.into_iter().map(cut).collect();
    let line = format!("{}\n", Value::Object(fields.clone()));
    if line.len() <= MAX_LINE_BYTES {
        return Some(line);
    }
    // There are too many of them: the ones that every line has.
    let known = |(name, _): &(String, Value)| {
        ["timestamp", "level", "target", "message"].contains(&&**name)
    };
    let fields: Map<_, _> = fields.into_iter().filter(known).collect();
    Some(format!("{}\n", Value::Object(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_text_on_a_terminal_and_json_otherwise() {
        assert_eq!(LogFormat::Auto.on(true), Form::Text);
        assert_eq!(LogFormat::Auto.on(false), Form::Json);
        assert_eq!(LogFormat::Text.on(false), Form::Text);
        assert_eq!(LogFormat::Json.on(true), Form::Json);
    }

    #[test]
    fn an_error_in_json_is_one_line_whatever_it_says() {
        let hostile = "a\n\"b\", \u{1b}[31m\u{0}\u{2028}\\";
        let line = Form::Json.error_line(hostile);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["message"], hostile);
        assert_eq!(read["level"], "ERROR");
        assert!(Form::Text.error_line("sorry\n").ends_with(" ERROR campanile: sorry\n"));
    }

    #[test]
    fn a_json_line_that_is_too_long_is_still_valid_when_it_is_cut() {
        for long in ["x", "\u{0}", "\"", "\u{1f514}"] {
            let line = Form::Json.error_line(&long.repeat(MAX_LINE_BYTES));
            assert!(line.len() <= MAX_LINE_BYTES, "{}", line.len());
            let read: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(read["level"], "ERROR");
            let message = read["message"].as_str().unwrap();
            assert!(message.starts_with(long) && message.ends_with("..."));
        }
        let many: Map<_, _> = (0..4_000).map(|n| (format!("field{n}"), Value::from(n))).collect();
        let mut many = Value::Object(many);
        many["message"] = "kept".into();
        let cut = shortened(many.to_string().as_bytes()).unwrap();
        assert_eq!(cut, "{\"message\":\"kept\"}\n");
    }
}
