use proptest::prelude::*;

use super::*;
use crate::hello::{Agreement, Challenge, Features, Limits, Mac, Nonce};
use crate::hello::{INQUIRIES, STAMPS};
use crate::link::Asked;
use crate::link::{
    DirectOutcome, Gap, InterestChange, LogIdentity, LogKind, MAX_CHANGES, MAX_WANTED_AUDIENCES,
    MAX_WANTS, Matched, Refusal, RequestTicket, Role, Tally, Want, Welcome,
};
use crate::{
    Address, Audience, ConnectionId, Durability, GroupName, Hello, IdempotencyKey, InstanceId,
    Position, TraceContext, UserName, WorkerId,
};

mod golden;
mod later;

fn wire(frame: EncodedFrame) -> Vec<u8> {
    [&frame.head[..], frame.content.as_deref().unwrap_or_default()].concat()
}

fn body(frame: EncodedFrame) -> Bytes {
    let mut buffer = BytesMut::from(&wire(frame)[..]);
    let body = take_frame(&mut buffer, MAX_FRAME_BYTES).expect("a frame").expect("complete");
    assert!(buffer.is_empty());
    body
}

fn news() -> Audience {
    Audience::Group(GroupName::new("news").expect("a name"))
}

fn publish(number: u64, audience: Audience, content: Content) -> ToBroker {
    ToBroker::Publish {
        number,
        unanswered: number,
        id: None,
        count_within_millis: None,
        audience,
        except: None,
        content,
        from: None,
    }
}

fn context() -> TraceContext {
    let header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    TraceContext::parse(header).expect("a context")
}

/// The messages that came with the feature `traces`.
fn traced() -> (ToBroker, FromBroker) {
    let context = context();
    (ToBroker::Traced { number: 5, context }, FromBroker::Traced { sequence: 300, context })
}

/// The limits that every release has had so far.
const LIMITS: &[u8] = b"\x92\xce\x01\x01\x00\x00\xce\x01\x00\x00\x00";

fn offer() -> Offer {
    let hello = Hello { instance: InstanceId(1), role: Role::Publisher { unanswered: 1 } };
    Offer::ours(hello, Nonce([9; 32]))
}

fn messages_to_broker() -> Vec<ToBroker> {
    let to = Address { worker: WorkerId(1 << 52), connection: ConnectionId(7) };
    let ticket = RequestTicket { link: 3, number: 9 };
    vec![
        ToBroker::Heartbeat,
        ToBroker::Interest {
            revision: 1,
            changes: vec![
                InterestChange { audience: Audience::Everyone, connections: Some(0) },
                InterestChange { audience: news(), connections: None },
            ],
        },
        ToBroker::Attach { cursor: Some(Position { epoch: u64::MAX, sequence: 0 }) },
        ToBroker::Delivered { ticket, outcome: DirectOutcome::UnknownConnection },
        ToBroker::Fetch {
            number: 1,
            wants: vec![Want { since: 7, audiences: vec![news(), Audience::Everyone] }],
            max_bytes: 9,
        },
        ToBroker::Counted { ticket, tally: Tally { matched: 3, written: 2, too_slow: 1 } },
        ToBroker::Publish {
            number: 1,
            unanswered: 1,
            id: Some(IdempotencyKey::new("k").expect("a name")),
            count_within_millis: Some(5_000),
            audience: news(),
            except: Some(to),
            content: "".into(),
            from: None,
        },
        ToBroker::Settled { unanswered: 3 },
        ToBroker::AskHead { number: 4 },
        ToBroker::Direct { number: 2, to, content: "쉿".into() },
    ]
}

fn messages_from_broker() -> Vec<FromBroker> {
    let to = Address { worker: WorkerId(1 << 52), connection: ConnectionId(7) };
    let ticket = RequestTicket { link: 3, number: 9 };
    vec![
        FromBroker::Heartbeat,
        FromBroker::Confirmed { revision: 1, head: 9 },
        FromBroker::Attached {
            from: Position { epoch: 1, sequence: 2 },
            gap: Some(Gap::EpochChanged),
        },
        FromBroker::Mark { head: 7 },
        FromBroker::Past { audience: news(), events: 1, expired: 2, complete_after: 3 },
        FromBroker::Fetched { number: 1, served: 1 },
        FromBroker::Head { number: 4, head: Position { epoch: 1, sequence: 2 } },
        FromBroker::Count { ticket, sequence: 9, within_millis: 100 },
        FromBroker::Event(Event {
            sequence: 1,
            audience: Audience::Everyone,
            except: None,
            content: "x".into(),
            from: None,
        }),
        FromBroker::Deliver { ticket, to, content: "y".into() },
        FromBroker::Accepted {
            number: 1,
            sequence: 2,
            matched: Some(Matched { gateways: 3, connections: 4 }),
            counting: 3,
            away: 1,
        },
        FromBroker::Accepted { number: 1, sequence: 2, matched: None, counting: 0, away: 0 },
        FromBroker::Counted { number: 1, tally: Tally::default() },
        FromBroker::Refused { number: 1, refusal: Refusal::IdTaken },
        FromBroker::Answered { number: 1, outcome: DirectOutcome::Written },
        FromBroker::Disk { is_waiting: true },
        FromBroker::Goodbye { reason: "bye".to_owned() },
    ]
}

/// The messages of operators' inquiries.
fn inquiries() -> (Vec<ToBroker>, Vec<FromBroker>) {
    let ticket = RequestTicket { link: 1, number: 2 };
    let content = || Content::Binary(Bytes::from_static(b"?"));
    let ask = |to| ToBroker::Ask { number: 1, to, content: content() };
    let asks = [Asked::Everybody, Asked::Gateways, Asked::Worker(WorkerId(3))].map(ask);
    let told = ToBroker::Told { ticket, content: content() };
    let instance = InstanceId(5);
    let from_broker = vec![
        FromBroker::Asked { ticket, content: content() },
        FromBroker::Asking { number: 1, instances: vec![instance], content: content() },
        FromBroker::Told { number: 1, instance, content: content() },
    ];
    (asks.into_iter().chain([told]).collect(), from_broker)
}

#[test]
fn inquiries_are_only_for_peers_that_know_them() {
    let (to_broker, from_broker) = inquiries();
    assert!(to_broker.iter().all(|message| message.needs() == Some(INQUIRIES)));
    assert!(from_broker.iter().all(|message| message.needs() == Some(INQUIRIES)));
}

#[test]
fn a_stamp_is_only_for_a_gateway_that_knows_it() {
    let stamp = FromBroker::Stamp { unix_micros: 1_790_000_000_000_000 };
    assert_eq!(stamp.needs(), Some(STAMPS));
    assert_eq!(FromBroker::decode(body(stamp.clone().encode())), Ok(stamp));
}

#[test]
fn every_message_is_read_back_from_its_frame() {
    let (to_broker, from_broker) = inquiries();
    for message in messages_to_broker().into_iter().chain(to_broker) {
        assert_eq!(ToBroker::decode(body(message.clone().encode())), Ok(message));
    }
    for message in messages_from_broker().into_iter().chain(other_variants()).chain(from_broker) {
        assert_eq!(FromBroker::decode(body(message.clone().encode())), Ok(message));
    }
}

/// Messages with the enum variants that are not in the other lists.
fn other_variants() -> Vec<FromBroker> {
    let outcomes = [
        DirectOutcome::UnknownWorker,
        DirectOutcome::UnknownConnection,
        DirectOutcome::NotWritten,
        DirectOutcome::GatewayAway,
    ];
    let refusals = [Refusal::IdsFull, Refusal::TooManyUnanswered, Refusal::ShuttingDown];
    let from = Position { epoch: 1, sequence: 2 };
    let outcomes = outcomes.map(|outcome| FromBroker::Answered { number: 1, outcome });
    let refusals = refusals.map(|refusal| FromBroker::Refused { number: 1, refusal });
    let gap = FromBroker::Attached { from, gap: Some(Gap::Expired) };
    outcomes.into_iter().chain(refusals).chain([gap]).collect()
}

#[test]
fn the_messages_of_this_version_need_no_feature() {
    let nothing = Features::default();
    assert!(messages_to_broker().iter().all(|message| nothing.allow(message.needs())));
    assert!(messages_from_broker().iter().all(|message| nothing.allow(message.needs())));
}

#[test]
fn a_message_of_an_unknown_type_is_malformed() {
    let unknown = Bytes::from_static(b"\x81\xa5Later\x91\x01");
    for error in [ToBroker::decode(unknown.clone()).err(), FromBroker::decode(unknown).err()] {
        let Some(DecodeError::Malformed(reason)) = error else { panic!("{error:?}") };
        assert!(reason.contains("unknown variant `Later`"), "{reason}");
    }
}

#[test]
fn a_large_content_is_not_copied() {
    let content = Bytes::from(vec![7; 1 << 20]);
    let push = publish(1, Audience::Everyone, Content::Binary(content.clone()));
    let sent = push.encode().content.expect("behind its head");
    assert_eq!(sent.as_ptr(), content.as_ptr());

    let frame = body(publish(1, Audience::Everyone, Content::Binary(content)).encode());
    let range = frame.as_ptr_range();
    let Ok(ToBroker::Publish { content, .. }) = ToBroker::decode(frame) else {
        panic!("not a publish")
    };
    assert!(range.contains(&content.as_bytes().as_ptr()));
}

#[test]
fn no_memory_is_reserved_for_a_length_over_the_limit() {
    let mut buffer = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
    let capacity = buffer.capacity();
    assert_eq!(
        take_frame(&mut buffer, 100),
        Err(DecodeError::TooLarge { len_bytes: u32::MAX as usize, max_bytes: 100 })
    );
    assert_eq!(buffer.capacity(), capacity);
}

#[test]
fn an_incomplete_frame_is_not_an_error() {
    let whole = wire(ToBroker::Heartbeat.encode());
    for end in 0..whole.len() {
        let mut buffer = BytesMut::from(&whole[..end]);
        assert_eq!(take_frame(&mut buffer, 100), Ok(None));
        assert_eq!(&buffer[..], &whole[..end]);
    }
}

#[test]
fn a_text_that_is_not_utf8_is_refused() {
    let content = Content::Binary(Bytes::from_static(b"\xff"));
    let message = publish(1, Audience::Everyone, content);
    let mut frame = body(message.encode()).to_vec();
    let kind = frame.len() - 4;
    assert_eq!(frame[kind], b'b');
    frame[kind] = b't';
    assert_eq!(ToBroker::decode(frame.into()), Err(DecodeError::NotUtf8));
}

#[test]
fn bytes_after_the_message_are_refused() {
    let mut frame = body(ToBroker::Heartbeat.encode()).to_vec();
    frame.push(0);
    assert_eq!(ToBroker::decode(frame.into()), Err(DecodeError::Trailing(1)));
}

#[test]
fn another_version_is_not_taken_for_another_protocol() {
    let mut frame = body(encode_hello(&offer())).to_vec();
    frame[10..12].copy_from_slice(&[8, 9]);
    // In a later protocol, anything may follow the versions.
    frame.truncate(14);
    let (theirs, ours) = (Versions { least: 8, most: 9 }, VERSIONS);
    assert_eq!(decode_hello(frame.into()), Err(DecodeError::VersionMismatch { theirs, ours }));
    assert_eq!(
        decode_hello(Bytes::from_static(b"GET / HTTP/1.1\r\n")),
        Err(DecodeError::NotCampanile)
    );
}

#[test]
fn a_peer_that_names_one_version_learns_both() {
    let hello: &[u8] = b"\xa9campanile\x03\x92\x01\x81\xa9Publisher\x91\x01";
    let refusal: &[u8] = b"\xa9campanile\x03\x81\xa3Err\xa2no";
    let sentence = "the peer speaks version 3 of the link protocol, this side version 4";
    let errors = [
        decode_hello(Bytes::from_static(hello)).err(),
        decode_answer(Bytes::from_static(refusal)).err(),
    ];
    assert_eq!(errors.map(|error| error.expect("an error").to_string()), [sentence, sentence]);
    // Such a peer reads one number after the name, and compares it with its own version.
    let ours = body(encode_answer(&HelloAnswer::Refused { reason: String::new() }));
    assert_eq!(ours[10], 4);
}

#[test]
fn a_range_of_versions_must_not_end_before_it_begins() {
    let mut frame = body(encode_hello(&offer())).to_vec();
    frame[10..12].copy_from_slice(&[5, 4]);
    assert!(matches!(decode_hello(frame.into()), Err(DecodeError::Malformed(_))));
}

#[test]
fn features_and_limits_of_an_offer_have_defaults() {
    let offer = Offer { features: Features::default(), ..offer() };
    let mut frame = body(encode_hello(&offer)).to_vec();
    frame.truncate(frame.len() - 1 - LIMITS.len());
    assert_eq!(frame[12], 0x94);
    frame[12] = 0x92;
    let read = decode_hello(frame.into());
    assert_eq!(read, Ok(Offer { limits: Limits::OURS, ..offer }));
}

#[test]
fn a_message_without_a_field_of_every_version_is_malformed() {
    let head = Bytes::from_static(b"\x81\xa4Head\x91\x04");
    assert!(matches!(FromBroker::decode(head), Err(DecodeError::Malformed(_))));
}

#[test]
fn a_surplus_field_may_be_nested_up_to_a_bound() {
    // `Settled` with a second field: arrays in arrays.
    let nested = |depth: usize| {
        let frame = [&b"\x81\xa7Settled\x92\x03"[..], &vec![0x91; depth], b"\xc0"].concat();
        ToBroker::decode(frame.into())
    };
    assert_eq!(nested(16), Ok(ToBroker::Settled { unanswered: 3 }));
    for depth in [40, 900, 1 << 20] {
        let Err(DecodeError::Malformed(reason)) = nested(depth) else { panic!("depth {depth}") };
        assert!(reason.contains("depth"), "{reason}");
    }
}

#[test]
fn what_a_peer_sent_is_cut_and_escaped_in_an_error() {
    let later = |name: &str| {
        let mut frame = vec![0x81];
        rmp::encode::write_str(&mut frame, name).expect("memory");
        frame.extend_from_slice(&[0x91, 1]);
        ToBroker::decode(frame.into()).expect_err("no such message").to_string()
    };
    assert!(later("it's \"Later\"").contains("`it's \"Later\"`"), "plain text stays as it is");
    let hostile = later("\x1b[2J\nINFO all is well\u{202e}");
    assert!(hostile.contains("`\\u{1b}[2J\\nINFO all is well\\u{202e}`"), "{hostile}");
    let long = later(&"x".repeat(1 << 20));
    assert!(long.len() < 250 && long.ends_with("x..."), "{long}");
}

#[test]
fn lists_are_read_up_to_their_bounds() {
    let interest = |changes: usize| {
        let change = InterestChange { audience: Audience::Everyone, connections: None };
        ToBroker::Interest { revision: 1, changes: vec![change; changes] }
    };
    let fetch = |wants: usize, each: usize| {
        let want = Want { since: 0, audiences: vec![Audience::Everyone; each] };
        ToBroker::Fetch { number: 1, wants: vec![want; wants], max_bytes: 1 }
    };
    for message in [interest(MAX_CHANGES), fetch(MAX_WANTS, 16), fetch(1, MAX_WANTED_AUDIENCES)] {
        assert_eq!(ToBroker::decode(body(message.clone().encode())), Ok(message));
    }
    for (message, bound) in [
        (interest(MAX_CHANGES + 1), "more than 10000 changes"),
        (fetch(MAX_WANTS + 1, 0), "more than 1000 wants"),
        (fetch(1, MAX_WANTED_AUDIENCES + 1), "more than 16384 audiences"),
        (fetch(2, MAX_WANTED_AUDIENCES / 2 + 1), "more than 16384 audiences"),
    ] {
        let read = ToBroker::decode(body(message.encode()));
        let Err(DecodeError::Malformed(reason)) = read else { panic!("{bound}") };
        assert!(reason.starts_with(bound), "{reason}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_a_decoder(bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let _ = ToBroker::decode(bytes.clone());
        let _ = FromBroker::decode(bytes.clone());
        let _ = decode_hello(bytes.clone());
        let _ = decode_answer(bytes.clone());
        let _ = decode_proof(bytes.clone());
        let _ = take_frame(&mut BytesMut::from(&bytes[..]), 100);
    }
}
