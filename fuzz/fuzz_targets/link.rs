//! What the peers of a link send: frames in any pieces, and the messages in them. Whatever can be read can
//! be written, and is then read as the same. So can messages with random values, which random bytes
//! would seldom be.

#![no_main]

use bytes::{Bytes, BytesMut};
use campanile_messages::frame::{
    decode_answer, decode_hello, decode_proof, encode_answer, encode_hello, encode_proof,
    take_frame,
};
use campanile_messages::inquiry::{Answer, Question, pack, unpack};
use campanile_messages::link::{Asked, Gap, RequestTicket, Tally, Want};
use campanile_messages::{
    Address, Audience, ConnectionId, Content, DecodeError, EncodedFrame, Event, FromBroker,
    GroupName, IdempotencyKey, InstanceId, Position, SpanId, ToBroker, TraceContext, TraceId,
    UserName, WorkerId,
};
use libfuzzer_sys::fuzz_target;

const MAX_FRAME_BYTES: usize = 4_096;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, stream)) = data.split_first() else {
        return;
    };
    let whole = frames(stream, stream.len().max(1));
    assert_eq!(frames(stream, usize::from(piece).max(1)), whole, "pieces matter");
    whole.0.into_iter().for_each(read);
    read(Bytes::copy_from_slice(stream));
    if let Some(context) = TraceContext::parse(stream) {
        assert_eq!(TraceContext::parse(context.to_string().as_bytes()), Some(context));
    }
    check_random_messages(stream);
});

/// Checks messages with random numbers and names.
fn check_random_messages(data: &[u8]) {
    let mut rest = data;
    let mut number = || {
        let (chunk, more) = rest.split_at(rest.len().min(8));
        rest = more;
        chunk.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let small = |number: u64| number as u32;
    let text = String::from_utf8_lossy(data);
    let group = GroupName::new(text.chars().take(60).collect::<String>());
    let user = UserName::new(text.chars().take(60).collect::<String>());
    let audience = match number() % 2 {
        0 => group.map_or(Audience::Everyone, Audience::Group),
        _ => user.map_or(Audience::Everyone, Audience::User),
    };
    let ticket = RequestTicket { link: number(), number: number() };
    let tally = Tally { matched: number(), written: number(), too_slow: number() };
    let position = Position { epoch: number(), sequence: number() };
    let gap = [None, Some(Gap::Expired), Some(Gap::EpochChanged)][(number() % 3) as usize];
    let content = Content::Binary(Bytes::copy_from_slice(data));
    let to = Address { worker: WorkerId(number()), connection: ConnectionId(number()) };
    let except = gap.map(|_| to);
    let id = |first: u64, second: u64| {
        let bytes = [first.to_be_bytes(), second.to_be_bytes()].concat();
        TraceId::new(bytes.try_into().expect("16 bytes"))
    };
    let span = SpanId::new(number().to_be_bytes()).or(SpanId::new([1; 8])).expect("not zero");
    let trace = id(number(), number()).or(id(1, 1)).expect("not zero");
    let context = TraceContext { trace, span, flags: (number() % 4) as u8 };
    let header = context.to_string();
    assert_eq!(TraceContext::parse(header.as_bytes()), Some(context));
    let from = gap.and_then(|_| UserName::new(text.chars().take(60).collect::<String>()).ok());
    for message in [
        ToBroker::Attach { cursor: gap.map(|_| position) },
        ToBroker::Fetch {
            number: number(),
            wants: vec![
                Want {
                    since: number(),
                    audiences: vec![audience.clone(); (number() % 20) as usize],
                };
                (number() % 5) as usize
            ],
            max_bytes: number(),
        },
        ToBroker::Counted { ticket, tally },
        ToBroker::Ask {
            number: number(),
            to: [Asked::Everybody, Asked::Gateways, Asked::Worker(to.worker)]
                [(number() % 3) as usize],
            content: content.clone(),
        },
        ToBroker::Told { ticket, content: content.clone() },
        ToBroker::AskHead { number: number() },
        ToBroker::Direct { number: number(), to, content: content.clone() },
        ToBroker::Traced { number: number(), context },
        ToBroker::Publish {
            number: number(),
            unanswered: number(),
            id: IdempotencyKey::new(text.chars().take(60).collect::<String>()).ok(),
            count_within_millis: gap.map(|_| small(number())),
            audience: audience.clone(),
            except,
            content: content.clone(),
            from: from.clone(),
        },
    ] {
        assert_eq!(ToBroker::decode(payload(message.clone().encode())), Ok(message));
    }
    for message in [
        FromBroker::Attached { from: position, gap },
        FromBroker::Mark { head: number() },
        FromBroker::Disk { is_waiting: number() % 2 == 0 },
        FromBroker::Past {
            audience: audience.clone(),
            events: small(number()),
            expired: number(),
            complete_after: number(),
        },
        FromBroker::Fetched { number: number(), served: small(number()) },
        FromBroker::Head { number: number(), head: position },
        FromBroker::Stamp { unix_micros: number() },
        FromBroker::Asked { ticket, content: content.clone() },
        FromBroker::Asking {
            number: number(),
            instances: vec![InstanceId(number()); (number() % 5) as usize],
            content: content.clone(),
        },
        FromBroker::Told {
            number: number(),
            instance: InstanceId(number()),
            content: content.clone(),
        },
        FromBroker::Event(Event {
            sequence: number(),
            audience: audience.clone(),
            except,
            content,
            from,
        }),
        FromBroker::Count { ticket, sequence: number(), within_millis: small(number()) },
        FromBroker::Counted { number: number(), tally },
        FromBroker::Traced { sequence: number(), context },
    ] {
        assert_eq!(FromBroker::decode(payload(message.clone().encode())), Ok(message));
    }
}

/// The frames of a stream that comes in pieces of `len` bytes, and its error.
fn frames(stream: &[u8], len: usize) -> (Vec<Bytes>, Option<DecodeError>) {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in stream.chunks(len) {
        buffer.extend_from_slice(piece);
        loop {
            match take_frame(&mut buffer, MAX_FRAME_BYTES) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fn read(frame: Bytes) {
    let packed = Content::Binary(frame.clone());
    if let Some(question) = unpack::<Question>(&packed) {
        let again = pack(&question).expect("short");
        assert_eq!(unpack(&again), Some(question));
    }
    if let Some(answer) = unpack::<Answer>(&packed) {
        let again = pack(&answer).expect("short");
        assert_eq!(unpack(&again), Some(answer));
    }
    if let Ok(message) = ToBroker::decode(frame.clone()) {
        assert_eq!(ToBroker::decode(payload(message.clone().encode())), Ok(message));
    }
    if let Ok(message) = FromBroker::decode(frame.clone()) {
        assert_eq!(FromBroker::decode(payload(message.clone().encode())), Ok(message));
    }
    if let Ok(offer) = decode_hello(frame.clone()) {
        let _ = offer.agree();
        assert_eq!(decode_hello(payload(encode_hello(&offer))), Ok(offer));
    }
    if let Ok(answer) = decode_answer(frame.clone()) {
        assert_eq!(decode_answer(payload(encode_answer(&answer))), Ok(answer));
    }
    if let Ok(proof) = decode_proof(frame) {
        assert_eq!(decode_proof(payload(encode_proof(&proof))), Ok(proof));
    }
}

/// A frame in one piece, without its length.
fn payload(frame: EncodedFrame) -> Bytes {
    let content = frame.content.unwrap_or_default();
    [&frame.head[4..], &content[..]].concat().into()
}
