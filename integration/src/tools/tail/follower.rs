//! Decides what is printed of an event stream, and where and when it continues. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stream::Block;
use crate::remote::printable;

/// How long to wait before coming back, until the gateway says how long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A line of JSON for each.
    Json,
    /// The content as it is.
    Plain,
    /// The content without what would control the terminal.
    Terminal,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Print a line to standard output. It ends without a line feed.
    Print(String),
    /// Write a sentence to standard error.
    Say(String),
    /// End, because the token has expired or was revoked; the sentence says which.
    End(String),
}

/// Follows one listener across its connections.
#[derive(Debug)]
pub struct Follower {
    style: Style,
    last_id: Option<String>,
    /// How long the gateway asks to wait before coming back.
    pause: Duration,
    /// Attempts since the last greeting.
    failures: u32,
}

/// The data of a `sync` block.
#[derive(Debug, Deserialize)]
struct Greeting {
    recovered: Option<bool>,
    reason: Option<String>,
    history: Option<History>,
}

#[derive(Debug, Deserialize)]
struct History {
    events: u64,
    complete: bool,
}

/// The data of a `gap` or an `expired` block.
#[derive(Debug, Default, Deserialize)]
struct Because {
    reason: String,
}

/// A line of JSON.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_base64: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<&'a str>,
}

impl Follower {
    pub fn new(style: Style) -> Self {
        Self { style, last_id: None, pause: FIRST_PAUSE, failures: 0 }
    }

    /// Where the stream continues: the id of the last block that was complete.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Takes the next block of the stream.
    pub fn take(&mut self, block: Block) -> Vec<Effect> {
        self.pause = block.retry.unwrap_or(self.pause);
        let is_back = self.last_id.is_some();
        let position = block.id.as_deref();
        let data = block.data.as_deref();
        let effects = match (&*block.name, data) {
            ("", Some(content)) => vec![self.event(position, content, false)],
            ("binary", Some(content)) => vec![self.event(position, content, true)],
            ("sync", Some(greeting)) => self.greeted(position, greeting, is_back),
            ("gap", Some(gap)) => {
                let Because { reason } = serde_json::from_str(gap).unwrap_or_default();
                self.lost(position, &reason)
            }
            ("expired", data) => {
                let because = data.and_then(|data| serde_json::from_str(data).ok());
                let Because { reason } = because.unwrap_or_default();
                vec![Effect::End(match &*reason {
                    "invalid_token" => "the token is not valid any more".to_owned(),
                    _ => "the token has expired".to_owned(),
                })]
            }
            _ => vec![],
        };
        self.last_id = block.id.or(self.last_id.take());
        effects
    }

    fn greeted(&mut self, position: Option<&str>, greeting: &str, is_back: bool) -> Vec<Effect> {
        self.failures = 0;
        let Ok(greeting) = serde_json::from_str::<Greeting>(greeting) else { return vec![] };
        let mut effects = match greeting.recovered {
            Some(false) => self.lost(position, greeting.reason.as_deref().unwrap_or_default()),
            _ if is_back => vec![Effect::Say("connected again, nothing is missing".to_owned())],
            _ => vec![],
        };
        if let Some(History { events, complete: false }) = greeting.history {
            let said = format!("{events} earlier events follow; there were more before them");
            effects.push(Effect::Say(said));
        }
        effects
    }

    /// What is printed and said where events may be missing.
    fn lost(&self, position: Option<&str>, reason: &str) -> Vec<Effect> {
        let why = match reason {
            "epoch_changed" => "the broker has started a new log",
            "expired" => "the broker does not keep them any more",
            "too_far" => "they are more than the gateway replays",
            "malformed" => "the position is malformed",
            other => other,
        };
        let said = Effect::Say(printable(&format!("events may be missing here: {why}")));
        match self.style {
            Style::Json => {
                vec![json(&Line { position, gap: Some(reason), ..Line::default() }), said]
            }
            _ => vec![said],
        }
    }

    fn event(&self, position: Option<&str>, content: &str, is_binary: bool) -> Effect {
        match self.style {
            Style::Json => json(&Line {
                position,
                // Only pushes to one connection have no position.
                to: position.is_none().then_some("connection"),
                content: (!is_binary).then_some(content),
                content_base64: is_binary.then_some(content),
                gap: None,
            }),
            Style::Plain => Effect::Print(content.to_owned()),
            Style::Terminal => Effect::Print(printable(content)),
        }
    }

    /// Notes that the stream or an attempt has ended. Returns how long to wait before the next one: as long
    /// as the gateway asks, and longer each time that it failed. `random` is from 0 to 1.
    pub fn ended(&mut self, random: f64) -> Duration {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        if failures == 0 {
            return self.pause.min(MAX_PAUSE);
        }
        let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(5)).min(MAX_PAUSE);
        longest.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }
}

fn json(line: &Line<'_>) -> Effect {
    Effect::Print(serde_json::to_string(line).expect("strings are JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(name: &str, id: &str, data: &str) -> Block {
        let id = (!id.is_empty()).then(|| id.to_owned());
        let (name, data) = (name.to_owned(), (!data.is_empty()).then(|| data.to_owned()));
        Block { name, id, data, retry: None }
    }

    fn print(line: &str) -> Effect {
        Effect::Print(line.to_owned())
    }

    fn say(sentence: &str) -> Effect {
        Effect::Say(sentence.to_owned())
    }

    #[test]
    fn each_event_is_a_line_of_json() {
        let mut follower = Follower::new(Style::Json);
        for (block, expected) in [
            (block("sync", "a-1", r#"{"position":"a-1"}"#), vec![]),
            (block("", "a-2", "\"hi\""), vec![print(r#"{"position":"a-2","content":"\"hi\""}"#)]),
            (
                block("binary", "a-3", "/w=="),
                vec![print(r#"{"position":"a-3","content_base64":"/w=="}"#)],
            ),
            (block("", "", "you"), vec![print(r#"{"to":"connection","content":"you"}"#)]),
            (
                block("gap", "b-9", r#"{"reason":"epoch_changed","position":"b-9"}"#),
                vec![
                    print(r#"{"position":"b-9","gap":"epoch_changed"}"#),
                    say("events may be missing here: the broker has started a new log"),
                ],
            ),
        ] {
            assert_eq!(follower.take(block), expected);
        }
        assert_eq!(follower.last_id(), Some("b-9"));
        assert_eq!(follower.take(block("", "b-12", "")), []);
        assert_eq!(follower.last_id(), Some("b-12"), "the position of a quiet stream moves");
    }

    #[test]
    fn contents_do_not_control_a_terminal() {
        let content = "a\u{1b}[2Jb\nc";
        for (style, expected) in [(Style::Plain, content), (Style::Terminal, "a\\u{1b}[2Jb\nc")] {
            assert_eq!(Follower::new(style).take(block("", "a-1", content)), [print(expected)]);
        }
    }

    #[test]
    fn a_return_says_whether_something_is_missing() {
        let greeted = |data: &str, is_back: bool| {
            let mut follower = Follower::new(Style::Plain);
            if is_back {
                follower.take(block("", "a-1", "x"));
            }
            follower.take(block("sync", "a-2", data))
        };
        let again = [say("connected again, nothing is missing")];
        assert_eq!(greeted(r#"{"recovered":true}"#, true), again);
        assert_eq!(greeted(r#"{"recovered":true}"#, false), []);
        let lost = [say("events may be missing here: the broker does not keep them any more")];
        for is_back in [true, false] {
            assert_eq!(greeted(r#"{"recovered":false,"reason":"expired"}"#, is_back), lost);
        }
        let earlier = [say("20 earlier events follow; there were more before them")];
        assert_eq!(greeted(r#"{"history":{"events":20,"complete":false}}"#, false), earlier);
        assert_eq!(greeted(r#"{"history":{"events":20,"complete":true}}"#, false), []);
    }

    #[test]
    fn a_stream_ends_when_its_token_does() {
        for (reason, sentence) in [
            ("expired", "the token has expired"),
            ("invalid_token", "the token is not valid any more"),
        ] {
            let data = format!("{{\"reason\":\"{reason}\"}}");
            let effects = Follower::new(Style::Plain).take(block("expired", "", &data));
            assert_eq!(effects, [Effect::End(sentence.to_owned())]);
        }
    }

    #[test]
    fn pauses_grow_until_the_gateway_greets() {
        let mut follower = Follower::new(Style::Plain);
        let retry = Some(Duration::from_millis(700));
        follower.take(Block { retry, ..Block::default() });
        let pauses: Vec<_> = (0..8).map(|_| follower.ended(1.0).as_millis()).collect();
        assert_eq!(pauses, [700, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(follower.ended(0.0).as_secs(), 15);
        follower.take(block("sync", "a-1", "{}"));
        assert_eq!(follower.ended(0.0).as_millis(), 700);
    }
}
