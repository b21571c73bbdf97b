//! Reads which connections are meant, and how they shall be closed. Pure.

use std::fmt;
use std::str::FromStr;

use campanile_edge::query::{decode, pairs};
use campanile_messages::{Address, UserName};

/// The longest reason, in bytes. A close frame carries the first 123 of them, the log all.
const MAX_REASON_BYTES: usize = 1_000;

/// How much of a value is shown in an error.
const SHOWN_CHARS: usize = 60;

/// How connections are closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnecting {
    /// What clients and the log are told.
    pub reason: String,
    /// Whether the clients may come back at once.
    pub may_return: bool,
}

/// Reads the address in `/connections/{worker}/{connection}`.
///
/// # Errors
/// A sentence that says what is wrong and what is accepted.
pub fn address(path: &str) -> Result<Address, String> {
    let (worker, connection) = path
        .strip_prefix("/connections/")
        .and_then(|rest| rest.split_once('/'))
        .ok_or("the path is /connections/WORKER/CONNECTION")?;
    Ok(Address { worker: number("worker", worker)?, connection: number("connection", connection)? })
}

fn number<T: FromStr<Err: fmt::Display>>(what: &str, raw: &str) -> Result<T, String> {
    let text = segment(raw).map_err(|error| format!("the {what} {} {error}", shown(raw)))?;
    text.parse().map_err(|error| {
        format!(
            "the {what} {} is {error}: accepted is the number of a {what}, as in the greeting of a client",
            shown(&text)
        )
    })
}

/// Reads the user in `/users/{user}`.
///
/// # Errors
/// A sentence that says what is wrong and what is accepted.
pub fn user(path: &str) -> Result<UserName, String> {
    let raw = path.strip_prefix("/users/").ok_or("the path is /users/USER")?;
    let name = segment(raw).map_err(|error| format!("the user {} {error}", shown(raw)))?;
    let sentence = |error| {
        format!(
            "the user {}: {error}; accepted are 1 to 255 bytes of UTF-8 without control characters",
            shown(&name)
        )
    };
    UserName::new(name.clone()).map_err(sentence)
}

/// Decodes a segment of a path, in which a plus stands for itself.
fn segment(raw: &str) -> Result<String, String> {
    let raw = raw.replace('+', "%2B");
    decode(raw.as_bytes()).map(|text| text.into_owned()).map_err(|error| error.to_string())
}

/// Reads how connections shall be closed: `reason=TEXT`, and `reconnect` if they may come back.
///
/// # Errors
/// A sentence that says what is wrong and what is accepted.
pub fn disconnecting(query: &str) -> Result<Disconnecting, String> {
    let (mut reason, mut may_return) = (None, None);
    for (name, value) in pairs(query.as_bytes()) {
        let decoded = |raw: &[u8]| {
            decode(raw).map(|text| text.into_owned()).map_err(|error| {
                format!("the query {} {error}", shown(&String::from_utf8_lossy(raw)))
            })
        };
        let (name, value) = (decoded(name)?, decoded(value)?);
        let repeated = match name.as_str() {
            "reason" => reason.replace(read_reason(value)?).is_some(),
            "reconnect" => may_return.replace(read_reconnect(&value)?).is_some(),
            _ => {
                return Err(format!(
                    "the parameter {} is not known: accepted are reason and reconnect",
                    shown(&name)
                ));
            }
        };
        if repeated {
            return Err(format!("the parameter {name} is there twice: it is accepted once"));
        }
    }
    let reason = reason.ok_or_else(|| {
        format!(
            "the parameter reason is missing: accepted are 1 to {MAX_REASON_BYTES} bytes of UTF-8 without \
             control characters, which the clients and the log get"
        )
    })?;
    Ok(Disconnecting { reason, may_return: may_return.unwrap_or(false) })
}

/// Reads the query of a request that has no parameters.
///
/// # Errors
/// A sentence that says so.
pub fn nothing(query: &str) -> Result<(), String> {
    match pairs(query.as_bytes()).next() {
        None => Ok(()),
        Some((name, _)) => Err(format!(
            "the parameter {} is not known: none is accepted",
            shown(&String::from_utf8_lossy(name))
        )),
    }
}

fn read_reason(value: String) -> Result<String, String> {
    let is_short = (1..=MAX_REASON_BYTES).contains(&value.len());
    if is_short && !value.chars().any(char::is_control) {
        return Ok(value);
    }
    Err(format!(
        "the reason {} has {} bytes: accepted are 1 to {MAX_REASON_BYTES} bytes of UTF-8 without control \
         characters",
        shown(&value),
        value.len()
    ))
}

fn read_reconnect(value: &str) -> Result<bool, String> {
    match value {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!(
            "reconnect={}: accepted are reconnect alone, reconnect=true and reconnect=false",
            shown(value)
        )),
    }
}

/// A value for a sentence: quoted, escaped, and cut.
fn shown(value: &str) -> String {
    let mut chars = value.chars();
    let cut: String = chars.by_ref().take(SHOWN_CHARS).collect();
    let rest = if chars.next().is_some() { ".." } else { "" };
    format!("{cut:?}{rest}")
}

#[cfg(test)]
mod tests {
    use campanile_messages::{ConnectionId, WorkerId};

    use super::*;

    #[test]
    fn an_address_is_two_numbers() {
        let at = Address { worker: WorkerId(0), connection: ConnectionId(7) };
        assert_eq!(address("/connections/0/7"), Ok(at));
        assert_eq!(address("/connections/%30/7"), Ok(at));
        for (path, part) in [
            ("/connections/x/7", "the worker \"x\" is not a decimal number: accepted is"),
            ("/connections/-1/7", "the worker \"-1\" is not a decimal number"),
            ("/connections/0/9007199254740992", "the connection \"9007199254740992\" is not below"),
            ("/connections/0/%zz", "the connection \"%zz\" has a malformed percent escape"),
            ("/connections//1", "the worker \"\" is not a decimal number"),
        ] {
            let error = address(path).expect_err(path);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_user_is_utf8_in_which_a_slash_is_escaped() {
        let named = |path: &str| user(path).map(|user| user.to_string());
        assert_eq!(named("/users/a%2Fb"), Ok("a/b".to_owned()));
        assert_eq!(named("/users/a+b%20%C3%A9"), Ok("a+b \u{e9}".to_owned()));
        for (path, part) in [
            ("/users/%ff", "the user \"%ff\" is not UTF-8"),
            ("/users/%0a", "the user \"\\n\": "),
            ("/users/%", "the user \"%\" has a malformed percent escape"),
        ] {
            let error = named(path).expect_err(path);
            assert!(error.contains(part), "{error}");
        }
        let long = named(&format!("/users/{}", "u".repeat(256))).expect_err("too long");
        assert!(long.contains("\"..: a user name has at most 255 bytes"), "{long}");
    }

    #[test]
    fn a_reason_is_needed_and_a_return_is_allowed_in_words() {
        let read = |query: &str| disconnecting(query).map(|how| (how.reason, how.may_return));
        assert_eq!(read("reason=a+b%21"), Ok(("a b!".to_owned(), false)));
        assert_eq!(read("reconnect&reason=a"), Ok(("a".to_owned(), true)));
        assert_eq!(read("reason=a&reconnect=false"), Ok(("a".to_owned(), false)));
        for (query, part) in [
            ("", "the parameter reason is missing: accepted are 1 to 1000 bytes"),
            ("reason=", "the reason \"\" has 0 bytes"),
            ("reason=%0a", "the reason \"\\n\" has 1 bytes: accepted are"),
            ("reason=a&reason=b", "reason is there twice"),
            ("reason=a&reconnect=maybe", "reconnect=\"maybe\": accepted are"),
            ("reason=a&colour=red", "the parameter \"colour\" is not known: accepted are"),
            ("reason=%ff", "the query \"%ff\" is not UTF-8"),
        ] {
            let error = read(query).expect_err(query);
            assert!(error.contains(part), "{error}");
        }
        let long = read(&format!("reason={}", "r".repeat(1_001))).expect_err("too long");
        assert!(long.contains("\"..") && long.len() < 300, "{long}");
        assert!(nothing("").is_ok() && nothing("a=b").is_err());
    }
}
