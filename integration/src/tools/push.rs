//! `campanile push`: one push over HTTP, and its receipt.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::RequestBuilder;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;

use crate::cli::{PushArgs, Wait};
use crate::remote::{AskError, answer, print_answer, printable};

/// More than the most bytes of a content that any publisher accepts.
const MAX_CONTENT_BYTES: usize = 16 << 20;

/// How long an answer may take: longer than any `timeout` of a push.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);

/// What a publisher answers to an accepted push.
#[derive(Debug, Deserialize)]
struct Receipt {
    position: String,
    durability: String,
    /// `None` if the publisher does not know it, as `matched`.
    gateways: Option<u64>,
    matched: Option<u64>,
    written: Option<u64>,
    too_slow: Option<u64>,
    silent_gateways: Option<u64>,
}

/// What is said of an answer without a receipt.
const STRANGE: &str = "has no receipt: is this a publisher?";

/// What is said of a push whose answer did not come.
const UNKNOWN: &str = " (whether the push was accepted is unknown: repeat it with the same --id)";

/// Pushes, and prints the receipt. The exit code is 1 if the push was refused or has no answer, and 2 if an
/// argument is wrong.
pub fn run(args: &PushArgs) -> ExitCode {
    print_answer(|runtime| {
        let request = request(args)?;
        let pushed = runtime.block_on(push(request, args));
        Ok(pushed.map_err(|error| match error.may_have_arrived() {
            true => format!("{error}{UNKNOWN}"),
            false => error.to_string(),
        }))
    })
}

fn request(args: &PushArgs) -> anyhow::Result<RequestBuilder> {
    let is_key_from_input =
        args.caller.key_file.as_deref().is_some_and(|file| file.as_os_str() == "-");
    ensure!(
        args.content != "-" || !is_key_from_input,
        "the content and the key cannot both come from standard input"
    );
    let key = args.caller.authorization()?;
    let content = match &*args.content {
        "-" => read_content(io::stdin().lock()).context("cannot read the content")?,
        content => content.as_bytes().to_vec(),
    };
    ensure!(
        content.len() <= MAX_CONTENT_BYTES,
        "the content is too large; accepted are at most {MAX_CONTENT_BYTES} bytes"
    );
    let content_type = match std::str::from_utf8(&content) {
        Ok(_) => "text/plain; charset=utf-8",
        Err(_) => "application/octet-stream",
    };
    let wait = (args.wait == Wait::Delivered).then_some("delivered");
    let options = [
        ("to_group", args.to_group.as_deref()),
        ("to_user", args.to_user.as_deref()),
        ("id", args.id.as_deref()),
        ("wait", wait),
    ];
    let query = options.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let client = args.caller.client(&args.url, ANSWER_LIMIT)?;
    let request = client.post(args.url.at("", query)).body(content);
    let request = request.header(CONTENT_TYPE, content_type).header(ACCEPT, "application/json");
    Ok(match key {
        Some(key) => request.header(AUTHORIZATION, key),
        None => request,
    })
}

/// Reads all of `source`, but little more than a push may have.
fn read_content(source: impl io::Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    source.take(MAX_CONTENT_BYTES as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// Sends a push. Returns what to print of its receipt.
async fn push(request: RequestBuilder, args: &PushArgs) -> Result<String, AskError> {
    let body = answer(request, &args.url).await?;
    let receipt: Receipt = serde_json::from_slice(&body)
        .map_err(|_| AskError::Strange { url: args.url.to_string(), what: STRANGE })?;
    Ok(match args.json {
        true => String::from_utf8_lossy(&body).trim().to_owned(),
        false => printable(&said(&receipt)),
    })
}

/// A receipt as a sentence.
fn said(receipt: &Receipt) -> String {
    let Receipt { position, durability, gateways, matched, .. } = receipt;
    let kept = match &**durability {
        "disk" => "safe on disk",
        "written" => "written, but not yet safe on disk",
        _ => "kept in memory",
    };
    let listened = match (matched, gateways) {
        (Some(matched), Some(gateways)) => {
            let (matched, gateways) =
                (counted(*matched, "connection"), counted(*gateways, "gateway"));
            format!("{matched} at {gateways} listened")
        }
        _ => "it was accepted before, and how many listened is not known any more".to_owned(),
    };
    let mut text = format!("accepted at {position}, {kept}; {listened}");
    if let Some(written) = receipt.written {
        let _ = write!(text, "; written to {written}");
    }
    match receipt.too_slow.unwrap_or_default() {
        0 => {}
        slow => _ = write!(text, "; {} closed as too slow", counted(slow, "connection")),
    }
    match receipt.silent_gateways.unwrap_or_default() {
        0 => {}
        silent => _ = write!(text, "; no report in time from {}", counted(silent, "gateway")),
    }
    text
}

fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_said_in_a_sentence() {
        for (json, expected) in [
            (
                r#"{"position":"a-1","durability":"disk","gateways":1,"matched":2}"#,
                "accepted at a-1, safe on disk; 2 connections at 1 gateway listened",
            ),
            (
                r#"{"position":"a-1","durability":"disk"}"#,
                "accepted at a-1, safe on disk; it was accepted before, and how many listened is not \
                 known any more",
            ),
            (
                r#"{"position":"a-1","durability":"memory","gateways":0,"matched":0,"written":0,
                    "too_slow":0,"silent_gateways":0}"#,
                "accepted at a-1, kept in memory; 0 connections at 0 gateways listened; written to 0",
            ),
            (
                r#"{"position":"a-1","durability":"written","gateways":2,"matched":1,"written":1,
                    "too_slow":2,"silent_gateways":1}"#,
                "accepted at a-1, written, but not yet safe on disk; 1 connection at 2 gateways \
                 listened; written to 1; 2 connections closed as too slow; no report in \
                 time from 1 gateway",
            ),
        ] {
            let receipt = serde_json::from_str(json).expect("a receipt");
            assert_eq!(said(&receipt), expected);
        }
    }
}
