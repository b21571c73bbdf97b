//! The bytes of frames, which must never change.

use super::*;

#[test]
fn the_bytes_of_a_publish() {
    let publish = ToBroker::Publish {
        number: 5,
        unanswered: 4,
        id: Some(IdempotencyKey::new("k").expect("a name")),
        count_within_millis: None,
        audience: Audience::Everyone,
        except: None,
        content: "hi".into(),
        from: None,
    };
    let expected: &[u8] =
        b"\x00\x00\x00\x1f\x81\xa7Publish\x97\x05\x04\xa1k\xc0\xa8Everyone\xc0\xa1t\xc4\x02hi";
    assert_eq!(wire(publish.encode()), expected);
}

#[test]
fn the_bytes_of_an_event_for_a_group() {
    let event = Event {
        sequence: 300,
        audience: news(),
        except: Some(Address { worker: WorkerId(2), connection: ConnectionId(7) }),
        content: Content::Binary(Bytes::from_static(&[0xff])),
        from: None,
    };
    let expected: &[u8] =
        b"\x00\x00\x00\x1f\x81\xa5Event\x94\xcd\x01\x2c\x81\xa5Group\xa4news\x92\x02\x07\xa1b\xc4\x01\xff";
    assert_eq!(wire(FromBroker::Event(event).encode()), expected);
}

#[test]
fn the_bytes_of_a_question_for_the_head_and_of_its_answer() {
    let question: &[u8] = b"\x00\x00\x00\x0b\x81\xa7AskHead\x91\x04";
    assert_eq!(wire(ToBroker::AskHead { number: 4 }.encode()), question);
    let head = FromBroker::Head { number: 4, head: Position { epoch: 1, sequence: 300 } };
    let answer: &[u8] = b"\x00\x00\x00\x0d\x81\xa4Head\x92\x04\x92\x01\xcd\x01\x2c";
    assert_eq!(wire(head.encode()), answer);
}

#[test]
fn the_bytes_of_what_a_users_client_publishes() {
    let from = Some(UserName::new("42").expect("a name"));
    let mut publish = publish(5, Audience::Everyone, "hi".into());
    if let ToBroker::Publish { from: user, .. } = &mut publish {
        user.clone_from(&from);
    }
    let expected: &[u8] =
        b"\x00\x00\x00\x21\x81\xa7Publish\x98\x05\x05\xc0\xc0\xa8Everyone\xc0\xa1t\xa242\xc4\x02hi";
    assert_eq!(wire(publish.clone().encode()), expected);
    assert_eq!(ToBroker::decode(body(publish.clone().encode())), Ok(publish));
    let (audience, content) = (Audience::Everyone, "hi".into());
    let event = Event { sequence: 5, audience, except: None, content, from };
    let expected: &[u8] =
        b"\x00\x00\x00\x1c\x81\xa5Event\x95\x05\xa8Everyone\xc0\xa1t\xa242\xc4\x02hi";
    assert_eq!(wire(FromBroker::Event(event.clone()).encode()), expected);
    let event = FromBroker::Event(event);
    assert_eq!(FromBroker::decode(body(event.clone().encode())), Ok(event));
}

#[test]
fn only_what_a_user_publishes_needs_a_feature_of_the_broker() {
    let backend = publish(1, news(), "hi".into());
    assert_eq!(backend.needs(), None);
    let mut of_user = backend;
    if let ToBroker::Publish { from, .. } = &mut of_user {
        *from = UserName::new("42").ok();
    }
    assert_eq!(of_user.needs(), Some(crate::hello::CLIENT_PUBLISH));
    assert!(!Features::default().allow(of_user.needs()));
}

#[test]
fn the_bytes_of_a_trace_are_those_of_its_ids() {
    let ids: &[u8] =
        b"\x93\xc4\x10\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c\
        \xc4\x08\xb7\xad\x6b\x71\x69\x20\x33\x31\x01";
    let (publish, event) = traced();
    let expected = [&b"\x00\x00\x00\x28\x81\xa6Traced\x92\x05"[..], ids].concat();
    assert_eq!(wire(publish.clone().encode()), expected);
    assert_eq!(ToBroker::decode(body(publish.clone().encode())), Ok(publish.clone()));
    let expected = [&b"\x00\x00\x00\x2a\x81\xa6Traced\x92\xcd\x01\x2c"[..], ids].concat();
    assert_eq!(wire(event.clone().encode()), expected);
    assert_eq!(FromBroker::decode(body(event.clone().encode())), Ok(event.clone()));
    for needed in [publish.needs(), event.needs()] {
        assert_eq!(needed, Some(crate::hello::TRACES));
    }
}

#[test]
fn a_trace_without_an_id_is_malformed() {
    let frame = body(traced().1.encode());
    let (first, last) = (frame.len() - 9, frame.len() - 1);
    let mut zero = frame.to_vec();
    zero[first..last].fill(0);
    let mut flags = frame.to_vec();
    flags[last] = 4;
    let mut short = frame.to_vec();
    short[first - 1] = 7;
    short.remove(first);
    for (bytes, reason) in [
        (zero, "an id has 8 bytes that are not all zero"),
        (short, "an id has 8 bytes that are not all zero"),
        (flags, "0x4 has unknown flags"),
    ] {
        let read = FromBroker::decode(bytes.into());
        assert_eq!(read, Err(DecodeError::Malformed(reason.to_owned())));
    }
}

#[test]
fn the_bytes_of_an_event_for_a_user_and_of_one_for_a_connection() {
    let event = Event {
        sequence: 1,
        audience: Audience::User(UserName::new("42").expect("a name")),
        except: None,
        content: "x".into(),
        from: None,
    };
    let expected: &[u8] =
        b"\x00\x00\x00\x18\x81\xa5Event\x94\x01\x81\xa4User\xa242\xc0\xa1t\xc4\x01x";
    assert_eq!(wire(FromBroker::Event(event).encode()), expected);
    let to = Address { worker: WorkerId(2), connection: ConnectionId(7) };
    let direct = ToBroker::Direct { number: 3, to, content: "psst".into() };
    let expected: &[u8] = b"\x00\x00\x00\x15\x81\xa6Direct\x93\x03\x92\x02\x07\xa1t\xc4\x04psst";
    assert_eq!(wire(direct.encode()), expected);
}

/// 32 equal bytes, as a MessagePack bin.
fn bin(byte: u8) -> Vec<u8> {
    [&[0xc4, 32][..], &[byte; 32]].concat()
}

#[test]
fn the_bytes_of_a_hello() {
    let expected = [
        b"\x00\x00\x00\x4a\xa9campanile\x04\x04\x94\x92\x01\x81\xa9Publisher\x91\x01",
        &bin(9)[..],
        b"\x90",
        LIMITS,
    ];
    let offer = Offer { features: Features::default(), ..offer() };
    assert_eq!(wire(encode_hello(&offer)), expected.concat());
    assert_eq!(decode_hello(body(encode_hello(&offer))), Ok(offer));
}

#[test]
fn the_bytes_of_a_welcome() {
    let welcome = Welcome {
        head: Position { epoch: 1, sequence: 300 },
        durability: Durability::Disk,
        workers: vec![WorkerId(5)],
        log: Some(LogIdentity::own(0xab)),
    };
    let agreement = Agreement { features: Features::default(), ..Agreement::ours() };
    let welcome = HelloAnswer::Welcome { agreement, welcome };
    let expected = [
        b"\x00\x00\x00\x47\xa9campanile\x04\x04\x81\xa7Welcome\x92\x93\x04\x90",
        LIMITS,
        b"\x94\x92\x01\xcd\x01\x2c\xa4Disk\x91\x05\x92\xa3Own\xb000000000000000ab",
    ];
    assert_eq!(wire(encode_answer(&welcome)), expected.concat());
    assert_eq!(decode_answer(body(encode_answer(&welcome))), Ok(welcome));
}

#[test]
fn a_welcome_of_an_earlier_release_does_not_name_the_log() {
    let earlier = [
        b"\xa9campanile\x04\x04\x81\xa7Welcome\x92\x93\x04\x90",
        LIMITS,
        b"\x93\x92\x01\xcd\x01\x2c\xa4Disk\x91\x05",
    ];
    let answer = decode_answer(earlier.concat().into());
    let Ok(HelloAnswer::Welcome { welcome, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!((welcome.workers, welcome.log), (vec![WorkerId(5)], None));
}

#[test]
fn a_log_id_has_1_to_255_bytes() {
    for (len, is_accepted) in [(0, false), (1, true), (255, true), (256, false)] {
        let bytes = rmp_serde::to_vec(&("Shared", "x".repeat(len))).expect("MessagePack");
        let read = rmp_serde::from_slice::<LogIdentity>(&bytes);
        assert_eq!(read.is_ok(), is_accepted, "{len}: {read:?}");
        let is_shared = read.is_ok_and(|log| log.kind == LogKind::Shared);
        assert_eq!(is_shared, is_accepted);
    }
}

#[test]
fn the_bytes_of_a_refusal() {
    let refused = HelloAnswer::Refused { reason: "no".to_owned() };
    let expected: &[u8] = b"\x00\x00\x00\x19\xa9campanile\x04\x04\x81\xa7Refused\x91\xa2no";
    assert_eq!(wire(encode_answer(&refused)), expected);
    assert_eq!(decode_answer(body(encode_answer(&refused))), Ok(refused));
}

#[test]
fn the_bytes_of_a_challenge_and_of_its_proof() {
    let (nonce, proof) = (Nonce([7; 32]), Mac([8; 32]));
    let challenge = HelloAnswer::Challenge(Challenge { method: "hmac".to_owned(), nonce, proof });
    let expected = [
        b"\x00\x00\x00\x61\xa9campanile\x04\x04\x81\xa9Challenge\x93\xa4hmac",
        &bin(7)[..],
        &bin(8)[..],
    ];
    assert_eq!(wire(encode_answer(&challenge)), expected.concat());
    assert_eq!(decode_answer(body(encode_answer(&challenge))), Ok(challenge));

    let proof = Proof { proof };
    let expected = [b"\x00\x00\x00\x2f\xa9campanile\x04\x04\x91", &bin(8)[..]];
    assert_eq!(wire(encode_proof(&proof)), expected.concat());
    assert_eq!(decode_proof(body(encode_proof(&proof))), Ok(proof));
}

#[test]
fn the_bytes_of_a_wait_for_the_disk() {
    let frame = FromBroker::Disk { is_waiting: true }.encode();
    assert_eq!(frame.head, &b"\0\0\0\x08\x81\xa4Disk\x91\xc3"[..]);
}

/// One frame per line, as ASCII with escapes. Lines may be added, but never changed.
const VERSION_4: &str = include_str!("version_4.txt");

#[test]
fn the_bytes_of_version_4_do_not_change() {
    let from_broker = || messages_from_broker().into_iter().chain(other_variants());
    let to_broker = messages_to_broker().into_iter().map(ToBroker::encode);
    let frames = to_broker.chain(from_broker().map(FromBroker::encode));
    let lines: Vec<_> = frames.map(|frame| wire(frame).escape_ascii().to_string()).collect();
    assert_eq!(lines, VERSION_4.lines().collect::<Vec<_>>());
}
