use std::time::Duration;

use bytes::Bytes;
use campanile_channel::publishing::Wait;
use campanile_messages::{
    Address, Audience, ConnectionId, ContentKind, GroupName, ToBroker, UserName, WorkerId,
};
use proptest::prelude::*;

use super::*;

const MAX: usize = 100;

fn get(query: &str) -> Result<Push, BadRequest> {
    from_query(query.as_bytes(), MAX)
}

fn post(query: &str, kind: BodyKind, body: &'static [u8]) -> Result<Push, BadRequest> {
    from_body(query.as_bytes(), kind, Bytes::from_static(body), MAX)
}

fn to_everyone(content: &'static str) -> Push {
    Push::new(Target::Audience(Audience::Everyone), content.into())
}

#[test]
fn a_query_names_everyone_a_group_a_user_or_a_connection() {
    assert_eq!(get("content=hi"), Ok(to_everyone("hi")));
    let news = GroupName::new("news").expect("a name");
    assert_eq!(
        get("to_group=news&content=hi").map(|push| push.target),
        Ok(Target::Audience(Audience::Group(news)))
    );
    let user = UserName::new("42").expect("a name");
    assert_eq!(
        get("to_user=42&content=hi").map(|push| push.target),
        Ok(Target::Audience(Audience::User(user)))
    );
    let address = Address { worker: WorkerId(3), connection: ConnectionId(0) };
    assert_eq!(
        get("to_worker_id=3&content=hi&to_connection_id=0").map(|push| push.target),
        Ok(Target::Connection(address))
    );
}

#[test]
fn half_an_address_and_two_audiences_are_refused() {
    let half = |given, missing| Err(BadRequest::HalfAddress { given, missing });
    assert_eq!(get("content=x&to_worker_id=1"), half("to_worker_id", "to_connection_id"));
    assert_eq!(get("content=x&to_connection_id=1"), half("to_connection_id", "to_worker_id"));
    for (query, one, other) in [
        ("content=x&to_group=g&to_worker_id=1", "to_group", "to_worker_id"),
        ("content=x&to_group=g&to_connection_id=1", "to_group", "to_connection_id"),
        ("content=x&to_group=g&to_worker_id=1&to_connection_id=1", "to_group", "to_worker_id"),
        ("content=x&to_user=u&to_connection_id=1", "to_user", "to_connection_id"),
        ("content=x&to_user=u&to_group=g", "to_group", "to_user"),
    ] {
        assert_eq!(get(query), Err(BadRequest::TwoAudiences { one, other }), "{query}");
    }
}

#[test]
fn everyone_and_a_group_may_leave_one_connection_out() {
    let address = Address { worker: WorkerId(3), connection: ConnectionId(0) };
    let except = "except_worker_id=3&except_connection_id=0";
    for audience in ["", "&to_group=news", "&to_user=42"] {
        let push = get(&format!("content=hi&{except}{audience}")).expect("a push");
        assert_eq!(push.except, Some(address));
        let head = push.head(1, 1, 900);
        assert!(
            matches!(head, ToBroker::Publish { except: Some(except), .. } if except == address)
        );
    }
    let form = post(except, BodyKind::Form, b"content=hi").expect("a push");
    assert_eq!(form.except, Some(address));
    assert_eq!(get("content=hi").map(|push| push.except), Ok(None));
}

#[test]
fn half_an_exception_or_one_for_a_connection_is_refused() {
    let half = |given, missing| Err(BadRequest::HalfAddress { given, missing });
    let (worker, connection) = ("except_worker_id", "except_connection_id");
    assert_eq!(get("content=x&except_worker_id=1"), half(worker, connection));
    assert_eq!(get("content=x&except_connection_id=1"), half(connection, worker));
    let both = "content=x&except_worker_id=1&except_connection_id=2";
    assert_eq!(
        get(&format!("{both}&to_worker_id=1&to_connection_id=3")),
        Err(BadRequest::ExceptForConnection)
    );
    let sentence = get("content=x&except_worker_id=a").expect_err("refused").to_string();
    assert!(
        sentence.starts_with("except_worker_id is \"a\", which is not a decimal"),
        "{sentence}"
    );
    let parameter = "except_worker_id";
    assert_eq!(get(&format!("{both}&except_worker_id=1")), Err(BadRequest::Repeated { parameter }));
}

#[test]
fn missing_empty_and_too_large_content_are_distinguished() {
    assert_eq!(get(""), Err(BadRequest::NoContent));
    assert_eq!(get("to_group=g"), Err(BadRequest::NoContent));
    assert_eq!(get("content"), Err(BadRequest::EmptyContent));
    assert_eq!(get("content="), Err(BadRequest::EmptyContent));
    assert_eq!(get("content=0"), Ok(to_everyone("0")));
    assert_eq!(get("content=%20"), Ok(to_everyone(" ")));
    assert!(get(&format!("content={}", "a".repeat(MAX))).is_ok());
    let larger = get(&format!("content={}", "a".repeat(MAX + 1)));
    assert_eq!(larger, Err(BadRequest::TooLarge { max_bytes: MAX }));
}

#[test]
fn a_body_is_the_content_as_its_type_says() {
    assert_eq!(post("", BodyKind::Text, b"a+b%20"), Ok(to_everyone("a+b%20")));
    let binary = post("", BodyKind::Binary, b"\xff").map(|push| push.content);
    assert_eq!(binary, Ok(Content::Binary(Bytes::from_static(b"\xff"))));
    assert_eq!(post("", BodyKind::Text, b"ab\xff"), Err(BadRequest::BodyNotUtf8 { at: 2 }));
    assert_eq!(post("", BodyKind::Text, b""), Err(BadRequest::EmptyContent));
    assert_eq!(post("content=a", BodyKind::Text, b"b"), Err(BadRequest::TwoContents));
    assert_eq!(post("content=a", BodyKind::Binary, b""), Err(BadRequest::TwoContents));
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
        Err(BadRequest::Repeated { parameter })
    );
}

#[test]
fn a_body_that_is_not_really_a_form_gets_advice() {
    for body in [&b"hello"[..], b"{\"a\":1}", b"100%", b"a=b&c", b"", b"to_group=g", b"\xff"] {
        let answer = post("", BodyKind::Form, body);
        assert_eq!(answer, Err(BadRequest::FormWithoutContent), "{body:?}");
    }
    let name = "x".into();
    assert_eq!(
        post("", BodyKind::Form, b"content=a&x=1"),
        Err(BadRequest::UnknownParameter { name })
    );
}

#[test]
fn a_push_may_have_an_id_a_wait_and_a_timeout() {
    let push = get("content=hi&id=order+42&wait=delivered&timeout=500ms").expect("a push");
    assert_eq!(push.id, IdempotencyKey::new("order 42").ok());
    assert_eq!((push.wait, push.timeout), (Wait::Delivered, Some(Duration::from_millis(500))));
    assert_eq!(get("content=hi&wait=accepted"), Ok(to_everyone("hi")));
    let form = post("id=1", BodyKind::Form, b"content=hi&timeout=1s").expect("a push");
    assert_eq!((form.id, form.timeout), (key("1"), Some(Duration::from_secs(1))));
    let one = get("content=hi&to_worker_id=1&to_connection_id=2&wait=delivered&timeout=1s");
    assert!(one.is_ok(), "{one:?}");
}

fn key(key: &'static str) -> Option<IdempotencyKey> {
    Some(IdempotencyKey::new(key).expect("a key"))
}

#[test]
fn ids_of_url_and_header_must_be_equal() {
    let with = |query: &str, header| with_key(get(query)?, header).map(|push| push.id);
    assert_eq!(with("content=hi", None), Ok(None));
    assert_eq!(with("content=hi", key("a")), Ok(key("a")));
    assert_eq!(with("content=hi&id=a", None), Ok(key("a")));
    assert_eq!(with("content=hi&id=a", key("a")), Ok(key("a")));
    let (parameter, header) = ("a".into(), "b".into());
    assert_eq!(with("content=hi&id=a", key("b")), Err(BadRequest::TwoIds { parameter, header }));
    let one = "content=hi&to_worker_id=1&to_connection_id=2";
    assert_eq!(with(one, None), Ok(None));
    assert_eq!(with(one, key("a")), Err(BadRequest::IdForConnection));
    assert_eq!(with(&format!("{one}&id=a"), None), Err(BadRequest::IdForConnection));
}

#[test]
fn the_broker_gets_what_the_push_says() {
    let id = key("a");
    let audience = Audience::Everyone;
    let publish = |count_within_millis| ToBroker::<ContentKind>::Publish {
        number: 7,
        unanswered: 5,
        id: id.clone(),
        count_within_millis,
        audience: audience.clone(),
        except: None,
        content: ContentKind::Text,
        from: None,
    };
    let push = get("content=hi&id=a").expect("a push");
    assert_eq!(push.head(7, 5, 900), publish(None));
    let push = get("content=hi&id=a&wait=delivered").expect("a push");
    assert_eq!(push.head(7, 5, 900), publish(Some(900)));
}

proptest! {
    #[test]
    fn no_input_panics_or_exceeds_the_limit(
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
