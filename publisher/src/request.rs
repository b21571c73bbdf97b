//! From what a caller sent to what is pushed. Pure.

use bytes::Bytes;
use bytestring::ByteString;
use campanile_messages::link::Number;
use campanile_messages::{Address, Audience, Content, ToBroker};

use crate::ApiError;
use crate::media::BodyKind;
use crate::parameters::{Parameters, names_content};

/// Whom a push is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Everyone, or a group.
    Audience(Audience),
    /// One connection.
    Connection(Address),
}

/// One push, as it is handed to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Whom it is for.
    pub target: Target,
    /// What it says.
    pub content: Content,
}

impl Push {
    /// What the broker is told, under the publisher's number. The content is shared, not copied.
    pub fn to_broker(&self, number: Number) -> ToBroker {
        let content = self.content.clone();
        match &self.target {
            Target::Audience(audience) => {
                ToBroker::Publish { number, audience: audience.clone(), content }
            }
            Target::Connection(to) => ToBroker::Push { number, to: *to, content },
        }
    }
}

/// The push of a GET.
///
/// # Errors
/// What is wrong with the query, or [`ApiError::TooLarge`].
pub fn from_query(query: &[u8], max_content_bytes: usize) -> Result<Push, ApiError> {
    let mut parameters = Parameters::default();
    parameters.read(query)?;
    assemble(parameters, max_content_bytes)
}

/// The push of a POST.
///
/// # Errors
/// What is wrong with the query or the body, or [`ApiError::TooLarge`].
pub fn from_body(
    query: &[u8],
    kind: BodyKind,
    body: Bytes,
    max_content_bytes: usize,
) -> Result<Push, ApiError> {
    let mut parameters = Parameters::default();
    parameters.read(query)?;
    if kind == BodyKind::Form {
        read_form(&mut parameters, &body)?;
        return assemble(parameters, max_content_bytes);
    }
    if parameters.content.is_some() {
        return Err(ApiError::TwoContents);
    }
    let target = target(&parameters)?;
    let content = match kind {
        BodyKind::Binary => Content::Binary(body),
        BodyKind::Text | BodyKind::Form => Content::Text(text(body)?),
    };
    finish(target, content, max_content_bytes)
}

fn read_form(parameters: &mut Parameters, body: &[u8]) -> Result<(), ApiError> {
    let read = parameters.read(body);
    if (read.is_err() || parameters.content.is_none()) && !names_content(body) {
        // Most likely a body that was never meant to be a form: `curl -d` says that it is one.
        return Err(ApiError::FormWithoutContent);
    }
    read
}

fn text(body: Bytes) -> Result<ByteString, ApiError> {
    ByteString::try_from(body).map_err(|error| ApiError::BodyNotUtf8 { at: error.valid_up_to() })
}

fn assemble(mut parameters: Parameters, max_content_bytes: usize) -> Result<Push, ApiError> {
    let target = target(&parameters)?;
    let content = parameters.content.take().ok_or(ApiError::NoContent)?;
    finish(target, Content::Text(content), max_content_bytes)
}

fn target(parameters: &Parameters) -> Result<Target, ApiError> {
    let half = |given, missing| Err(ApiError::HalfAddress { given, missing });
    match (parameters.worker, parameters.connection, parameters.group.as_ref()) {
        (None, None, None) => Ok(Target::Audience(Audience::Everyone)),
        (None, None, Some(group)) => Ok(Target::Audience(Audience::Group(group.clone()))),
        (Some(worker), Some(connection), None) => {
            Ok(Target::Connection(Address { worker, connection }))
        }
        (Some(_), None, None) => half("to_worker_id", "to_connection_id"),
        (None, Some(_), None) => half("to_connection_id", "to_worker_id"),
        (_, _, Some(_)) => Err(ApiError::TwoAudiences),
    }
}

fn finish(target: Target, content: Content, max_bytes: usize) -> Result<Push, ApiError> {
    match content.as_bytes().len() {
        0 => Err(ApiError::EmptyContent),
        len if len > max_bytes => Err(ApiError::TooLarge { max_bytes }),
        _ => Ok(Push { target, content }),
    }
}

#[cfg(test)]
mod tests {
    use campanile_messages::{ConnectionId, GroupName, WorkerId};
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 100;

    fn get(query: &str) -> Result<Push, ApiError> {
        from_query(query.as_bytes(), MAX)
    }

    fn post(query: &str, kind: BodyKind, body: &'static [u8]) -> Result<Push, ApiError> {
        from_body(query.as_bytes(), kind, Bytes::from_static(body), MAX)
    }

    fn to_everyone(content: &'static str) -> Push {
        Push { target: Target::Audience(Audience::Everyone), content: content.into() }
    }

    #[test]
    fn a_query_names_everyone_a_group_or_a_connection() {
        assert_eq!(get("content=hi"), Ok(to_everyone("hi")));
        let news = GroupName::new("news").expect("a name");
        assert_eq!(
            get("to_group=news&content=hi").map(|push| push.target),
            Ok(Target::Audience(Audience::Group(news)))
        );
        let address = Address { worker: WorkerId(3), connection: ConnectionId(0) };
        assert_eq!(
            get("to_worker_id=3&content=hi&to_connection_id=0").map(|push| push.target),
            Ok(Target::Connection(address))
        );
    }

    #[test]
    fn half_an_address_and_two_audiences_never_become_a_broadcast() {
        let half = |given, missing| Err(ApiError::HalfAddress { given, missing });
        assert_eq!(get("content=x&to_worker_id=1"), half("to_worker_id", "to_connection_id"));
        assert_eq!(get("content=x&to_connection_id=1"), half("to_connection_id", "to_worker_id"));
        for query in [
            "content=x&to_group=g&to_worker_id=1",
            "content=x&to_group=g&to_connection_id=1",
            "content=x&to_group=g&to_worker_id=1&to_connection_id=1",
        ] {
            assert_eq!(get(query), Err(ApiError::TwoAudiences), "{query}");
        }
    }

    #[test]
    fn missing_empty_and_too_large_content_are_told_apart() {
        assert_eq!(get(""), Err(ApiError::NoContent));
        assert_eq!(get("to_group=g"), Err(ApiError::NoContent));
        assert_eq!(get("content"), Err(ApiError::EmptyContent));
        assert_eq!(get("content="), Err(ApiError::EmptyContent));
        assert_eq!(get("content=0"), Ok(to_everyone("0")));
        assert_eq!(get("content=%20"), Ok(to_everyone(" ")));
        assert!(get(&format!("content={}", "a".repeat(MAX))).is_ok());
        let larger = get(&format!("content={}", "a".repeat(MAX + 1)));
        assert_eq!(larger, Err(ApiError::TooLarge { max_bytes: MAX }));
    }

    #[test]
    fn a_body_is_the_content_as_its_type_says() {
        assert_eq!(post("", BodyKind::Text, b"a+b%20"), Ok(to_everyone("a+b%20")));
        let binary = post("", BodyKind::Binary, b"\xff").map(|push| push.content);
        assert_eq!(binary, Ok(Content::Binary(Bytes::from_static(b"\xff"))));
        assert_eq!(post("", BodyKind::Text, b"ab\xff"), Err(ApiError::BodyNotUtf8 { at: 2 }));
        assert_eq!(post("", BodyKind::Text, b""), Err(ApiError::EmptyContent));
        assert_eq!(post("content=a", BodyKind::Text, b"b"), Err(ApiError::TwoContents));
        assert_eq!(post("content=a", BodyKind::Binary, b""), Err(ApiError::TwoContents));
    }

    #[test]
    fn the_parameters_of_a_form_and_of_the_query_are_joined() {
        assert_eq!(post("", BodyKind::Form, b"content=a+b"), Ok(to_everyone("a b")));
        let news = Target::Audience(Audience::Group(GroupName::new("news").expect("a name")));
        for joined in [
            post("to_group=news", BodyKind::Form, b"content=a"),
            post("content=a", BodyKind::Form, b"to_group=news"),
            post("", BodyKind::Form, b"content=a&to_group=news"),
        ] {
            assert_eq!(joined.map(|push| push.target), Ok(news.clone()));
        }
        let parameter = "content";
        assert_eq!(
            post("content=a", BodyKind::Form, b"content=a"),
            Err(ApiError::Repeated { parameter })
        );
    }

    #[test]
    fn a_form_that_never_meant_to_be_one_is_told_how_to_push() {
        for body in [&b"hello"[..], b"{\"a\":1}", b"100%", b"a=b&c", b"", b"to_group=g", b"\xff"] {
            let answer = post("", BodyKind::Form, body);
            assert_eq!(answer, Err(ApiError::FormWithoutContent), "{body:?}");
        }
        let name = "x".into();
        assert_eq!(
            post("", BodyKind::Form, b"content=a&x=1"),
            Err(ApiError::UnknownParameter { name })
        );
    }

    proptest! {
        #[test]
        fn no_input_panics_and_what_is_pushed_is_within_the_limit(
            query: Vec<u8>,
            body: Vec<u8>,
            kind in prop_oneof![Just(BodyKind::Text), Just(BodyKind::Binary), Just(BodyKind::Form)],
        ) {
            let _ = from_query(&query, MAX);
            if let Ok(push) = from_body(b"", kind, body.into(), MAX) {
                prop_assert!((1..=MAX).contains(&push.content.as_bytes().len()));
            }
        }
    }
}
