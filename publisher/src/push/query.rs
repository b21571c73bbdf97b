//! The parameters of a query or a form body. They are read strictly: nothing is repaired, skipped or
//! replaced.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytestring::ByteString;
use campanile_channel::publishing::Wait;
use campanile_edge::query::{self, InvalidEncoding};
use campanile_messages::name::InvalidName;
use campanile_messages::{GroupName, IdempotencyKey, UserName};

use super::target::{AddressPart, AudiencePart, GivenTarget, InvalidTarget};
use crate::push::BadRequest;
use crate::push::shown::Shown;

/// The range of `timeout`. (Timers are about as exact as the shortest.)
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(30);

/// The parameters that were given, each at most once.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    pub(crate) content: Option<ByteString>,
    pub(super) target: GivenTarget,
    pub(crate) id: Option<IdempotencyKey>,
    pub(crate) wait: Option<Wait>,
    pub(crate) timeout: Option<Duration>,
}

impl Parameters {
    /// Adds the parameters of a query or a form body. Ends at the first error; since every name may be
    /// given once, that is after a handful of parameters at most.
    pub(crate) fn read(&mut self, encoded: &[u8]) -> Result<(), BadRequest> {
        for (raw_name, raw_value) in query::pairs(encoded) {
            let target = &mut self.target;
            let name = text(raw_name, raw_name)?;
            match &*name {
                "content" => {
                    free("content", &self.content)?;
                    self.content = Some(text(raw_name, raw_value)?.into_owned().into());
                }
                "to_group" => {
                    free("to_group", &target.group)?;
                    target.group = Some(group("to_group", &text(raw_name, raw_value)?)?);
                }
                "to_user" => {
                    free("to_user", &target.user)?;
                    target.user = Some(user("to_user", &text(raw_name, raw_value)?)?);
                }
                "to_worker_id" => {
                    free("to_worker_id", &target.to.worker)?;
                    target.to.worker = Some(id("to_worker_id", &text(raw_name, raw_value)?)?);
                }
                "to_connection_id" => {
                    free("to_connection_id", &target.to.connection)?;
                    let value = text(raw_name, raw_value)?;
                    target.to.connection = Some(id("to_connection_id", &value)?);
                }
                "except_worker_id" => {
                    free("except_worker_id", &target.except.worker)?;
                    let value = text(raw_name, raw_value)?;
                    target.except.worker = Some(id("except_worker_id", &value)?);
                }
                "except_connection_id" => {
                    free("except_connection_id", &target.except.connection)?;
                    let value = text(raw_name, raw_value)?;
                    target.except.connection = Some(id("except_connection_id", &value)?);
                }
                "id" => {
                    free("id", &self.id)?;
                    self.id = Some(key("id", &text(raw_name, raw_value)?)?);
                }
                "wait" => {
                    free("wait", &self.wait)?;
                    self.wait = Some(wait(&text(raw_name, raw_value)?)?);
                }
                "timeout" => {
                    free("timeout", &self.timeout)?;
                    self.timeout = Some(timeout(&text(raw_name, raw_value)?)?);
                }
                unknown => {
                    return Err(BadRequest::UnknownParameter { name: Shown::from(unknown) });
                }
            }
        }
        Ok(())
    }
}

/// Returns the error for a wrong target, with the names of parameters.
pub(super) fn invalid(error: InvalidTarget) -> BadRequest {
    let name = |part| match part {
        AddressPart::ToWorker => "to_worker_id",
        AddressPart::ToConnection => "to_connection_id",
        AddressPart::ExceptWorker => "except_worker_id",
        AddressPart::ExceptConnection => "except_connection_id",
    };
    let audience = |part| match part {
        AudiencePart::Group => "to_group",
        AudiencePart::User => "to_user",
        AudiencePart::Connection(part) => name(part),
    };
    match error {
        InvalidTarget::TwoAudiences(one, other) => {
            BadRequest::TwoAudiences { one: audience(one), other: audience(other) }
        }
        InvalidTarget::HalfAddress(part) => {
            BadRequest::HalfAddress { given: name(part), missing: name(part.other()) }
        }
        InvalidTarget::ExceptForConnection => BadRequest::ExceptForConnection,
    }
}

/// Whether a form body has a parameter `content`, whatever else it has.
pub(crate) fn names_content(encoded: &[u8]) -> bool {
    query::pairs(encoded).any(|(name, _)| query::decode(name).is_ok_and(|name| name == "content"))
}

fn free<T>(parameter: &'static str, slot: &Option<T>) -> Result<(), BadRequest> {
    match slot {
        None => Ok(()),
        Some(_) => Err(BadRequest::Repeated { parameter }),
    }
}

fn id<T>(parameter: &'static str, value: &str) -> Result<T, BadRequest>
where
    T: std::str::FromStr<Err = campanile_messages::ids::InvalidId>,
{
    value.parse().map_err(|reason| BadRequest::NoId {
        parameter,
        value: Shown::from(value),
        reason,
    })
}

/// Reads the id of a push. `given` is the name of its parameter, field or header.
pub(crate) fn key(given: &'static str, value: &str) -> Result<IdempotencyKey, BadRequest> {
    IdempotencyKey::new(value).map_err(|reason| no_name(given, value, reason))
}

/// Reads the name of a group. `given` is the name of its parameter or field.
pub(super) fn group(given: &'static str, value: &str) -> Result<GroupName, BadRequest> {
    GroupName::new(value).map_err(|reason| no_name(given, value, reason))
}

/// Reads the name of a user. `given` is the name of its parameter or field.
pub(super) fn user(given: &'static str, value: &str) -> Result<UserName, BadRequest> {
    UserName::new(value).map_err(|reason| no_name(given, value, reason))
}

fn no_name(given: &'static str, value: &str, reason: InvalidName) -> BadRequest {
    BadRequest::NoName { given, value: Shown::from(value), reason }
}

pub(crate) fn wait(value: &str) -> Result<Wait, BadRequest> {
    match value {
        "accepted" => Ok(Wait::Accepted),
        "delivered" => Ok(Wait::Delivered),
        _ => Err(BadRequest::NoWait { value: Shown::from(value) }),
    }
}

pub(crate) fn timeout(value: &str) -> Result<Duration, BadRequest> {
    let timeout = humantime::parse_duration(value).ok();
    timeout
        .filter(|timeout| TIMEOUTS.contains(timeout))
        .ok_or_else(|| BadRequest::NoTimeout { value: Shown::from(value) })
}

fn text<'a>(raw_name: &[u8], raw: &'a [u8]) -> Result<Cow<'a, str>, BadRequest> {
    let name = || Shown::from(raw_name);
    query::decode(raw).map_err(|error| match error {
        InvalidEncoding::MalformedEscape { at } => {
            BadRequest::MalformedEscape { name: name(), value: Shown::from(&raw[at..]) }
        }
        InvalidEncoding::NotUtf8 { bytes } => {
            BadRequest::ParameterNotUtf8 { name: name(), value: Shown::from(&*bytes) }
        }
    })
}

#[cfg(test)]
mod tests {
    use campanile_messages::{ConnectionId, WorkerId};
    use proptest::prelude::*;

    use super::*;

    fn content(encoded: &str) -> Result<String, BadRequest> {
        let mut parameters = Parameters::default();
        parameters.read(encoded.as_bytes())?;
        Ok(parameters.content.expect("content").to_string())
    }

    fn sentence(encoded: &[u8]) -> String {
        let error = Parameters::default().read(encoded);
        error.expect_err("refused").to_string()
    }

    #[test]
    fn plus_is_a_space_and_escapes_are_bytes_of_utf8() {
        assert_eq!(content("content=a+b%2Bc"), Ok("a b+c".to_owned()));
        assert_eq!(content("content=%EC%95%88%eb%85%95"), Ok("안녕".to_owned()));
        assert_eq!(content("content=안녕"), Ok("안녕".to_owned()));
        assert_eq!(content("%63ontent=a=b"), Ok("a=b".to_owned()));
        assert_eq!(content("&&content=0&"), Ok("0".to_owned()));
        assert_eq!(content("content=%20"), Ok(" ".to_owned()));
    }

    #[test]
    fn a_malformed_escape_is_shown_from_its_beginning() {
        for tail in ["%", "%2", "%zz", "%+1", "%2g", "%%20"] {
            let said = sentence(format!("content=ab{tail}").as_bytes());
            let named =
                format!("the parameter \"content\" has a malformed percent escape in \"{tail}\"");
            assert!(said.starts_with(&named), "{said}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        assert_eq!(
            sentence(b"content=%ff%fe"),
            "the parameter \"content\" is \"\\xff\\xfe\", which is not UTF-8: send UTF-8, \
             percent-encoded"
        );
        assert!(sentence(b"content=\xff").contains("not UTF-8"));
        assert!(sentence(b"%ff=1").contains("not UTF-8"));
        // A surrogate, an overlong form and a code point past the last.
        for bytes in ["%ed%a0%80", "%c0%80", "%f4%90%80%80"] {
            assert!(sentence(format!("to_group={bytes}").as_bytes()).contains("not UTF-8"));
        }
    }

    #[test]
    fn repeated_and_unknown_parameters_are_refused_by_name() {
        assert!(sentence(b"content=a&content=a").starts_with("content is given more than once"));
        assert!(sentence(b"content[]=a").starts_with("\"content[]\" is not a parameter"));
        assert!(sentence(b"to_users=1").starts_with("\"to_users\" is not a parameter"));
        assert!(sentence(b"=").starts_with("\"\" is not a parameter"));
        assert!(sentence(b"Content=a").starts_with("\"Content\" is not a parameter"));
    }

    #[test]
    fn ids_and_group_names_say_what_is_accepted() {
        assert!(sentence(b"to_worker_id=-1").contains("\"-1\", which is not a decimal number"));
        assert!(sentence(b"to_connection_id=9007199254740992").contains("not below 2^53"));
        assert!(sentence(b"to_group=").contains("must not be empty"));
        assert!(sentence(b"to_user=").contains("to_user is \"\": a user name must not be empty"));
        assert!(sentence(b"to_user=1&to_user=1").starts_with("to_user is given more than once"));
        assert!(sentence(b"to_group=a%0ab").contains("\"a\\nb\": a group name must not contain"));
        assert!(sentence(format!("to_group={}", "g".repeat(256)).as_bytes()).contains("255 bytes"));
    }

    #[test]
    fn ids_waits_and_timeouts_say_what_is_accepted() {
        assert!(
            sentence(b"id=").starts_with("id is \"\": a push's id must not be empty; 1 to 255")
        );
        assert!(sentence(b"id=a%0a").starts_with("id is \"a\\n\": a push's id must not contain"));
        assert!(
            sentence(format!("id={}", "i".repeat(256)).as_bytes()).contains("this one has 256")
        );
        for wrong in ["", "Delivered", "written", "1"] {
            assert_eq!(
                sentence(format!("wait={wrong}").as_bytes()),
                format!("wait is \"{wrong}\": it must be \"accepted\" or \"delivered\"")
            );
        }
        for wrong in ["", "5", "0s", "999us", "31s", "30s1ns", "-1s", "1 parsec", "1e3s", "99y99y"]
        {
            let said = sentence(format!("timeout={wrong}").as_bytes());
            assert_eq!(
                said,
                format!(
                    "timeout is \"{wrong}\": a duration from 1ms to 30s with its unit is accepted, \
                     such as 500ms or 5s"
                )
            );
        }
        for (right, millis) in [("1ms", 1), ("1000us", 1), ("30s", 30_000), ("1s+5ms", 1_005)] {
            let mut read = Parameters::default();
            assert_eq!(read.read(format!("timeout={right}").as_bytes()), Ok(()));
            assert_eq!(read.timeout, Some(Duration::from_millis(millis)));
        }
        assert!(sentence(b"id=1&id=1").starts_with("id is given more than once"));
        assert!(sentence(b"wait=accepted&wait=delivered").starts_with("wait is given more than"));
        assert!(sentence(b"timeout=1s&timeout=1s").starts_with("timeout is given more than"));
    }

    proptest! {
        #[test]
        fn no_input_panics(encoded: Vec<u8>) {
            let _ = Parameters::default().read(&encoded);
            let _ = names_content(&encoded);
        }

        #[test]
        fn no_form_like_input_panics(encoded in "((content|to_group|to_user|to_worker_id|timeout|x)?[=&%+0-9a-f\\PC]{0,4}){0,6}") {
            let _ = Parameters::default().read(encoded.as_bytes());
            let _ = names_content(encoded.as_bytes());
        }

        #[test]
        fn what_is_encoded_is_read_back(
            content: String,
            group in "[^\\p{Cc}]{1,60}",
            worker in 0u64..1 << 53,
            connection in 0u64..1 << 53,
        ) {
            let encoded = form_urlencoded::Serializer::new(String::new())
                .append_pair("content", &content)
                .append_pair("to_group", &group)
                .append_pair("to_worker_id", &worker.to_string())
                .append_pair("to_connection_id", &connection.to_string())
                .finish();
            let mut read = Parameters::default();
            prop_assert_eq!(read.read(encoded.as_bytes()), Ok(()));
            prop_assert_eq!(&*read.content.expect("content"), &content);
            prop_assert_eq!(&*read.target.group.expect("group"), &group);
            prop_assert_eq!(read.target.to.worker, Some(WorkerId(worker)));
            prop_assert_eq!(read.target.to.connection, Some(ConnectionId(connection)));
        }

        #[test]
        fn any_utf8_survives_with_every_byte_escaped(content: String) {
            let escaped: String = content.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let mut read = Parameters::default();
            prop_assert_eq!(read.read(format!("content={escaped}").as_bytes()), Ok(()));
            prop_assert_eq!(&*read.content.expect("content"), &content);
        }
    }
}
