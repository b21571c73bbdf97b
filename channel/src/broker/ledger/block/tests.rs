//! What the codec of blocks has to do. `golden` has the bytes that are on disks.

mod damage;
mod golden;

use bytes::Bytes;
use campanile_messages::{ConnectionId, GroupName, IdempotencyKey, WorkerId};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn user(name: impl Into<String>) -> UserName {
    UserName::new(name.into()).unwrap()
}

/// A block with an entry of each kind.
fn rich() -> Block {
    let id = IdempotencyKey::new("order-1").unwrap();
    let push = Push {
        publisher: InstanceId(0xa1),
        number: 300,
        id: None,
        asks: false,
        audience: Audience::Everyone,
        except: None,
        content: "hi".into(),
        from: None,
    };
    let group = Audience::Group(GroupName::new("news").unwrap());
    let except = Some(Address { worker: WorkerId(2), connection: ConnectionId(129) });
    let entries = [
        Entry::Push(push.clone()),
        Entry::Push(Push {
            number: 301,
            audience: group,
            content: Content::Binary(Bytes::from_static(b"\0\xff")),
            ..push.clone()
        }),
        Entry::Workers { below: 1_000 },
        Entry::Push(Push {
            number: 299,
            id: Some((RepeatKey::new(None, &id), [7; 16])),
            asks: true,
            audience: Audience::User(user("42")),
            content: "".into(),
            ..push.clone()
        }),
        Entry::Push(Push {
            publisher: InstanceId(0xa2),
            number: 1,
            id: Some((RepeatKey::new(Some(&user("7")), &id), [8; 16])),
            except,
            from: Some(user("7")),
            content: "é".into(),
            ..push
        }),
    ];
    Block {
        epoch: 0x0102_0304_0506_0708,
        producer: InstanceId(0x1112_1314_1516_1718),
        number: 9,
        at: Duration::from_millis(70_000),
        seen: Seen { block: 128, at: Duration::from_millis(69_999), print: 5 },
        settled: vec![(InstanceId(0xa1), 299), (InstanceId(0xa3), 16_384)],
        entries: entries.into(),
    }
}

/// A block without entries.
fn beat() -> Block {
    let seen = Seen::default();
    Block { number: 1, at: Duration::ZERO, seen, settled: vec![], entries: vec![], ..rich() }
}

/// A number of any length.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(number, bits)| number >> bits)
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-zé뉴🎉]{1,9}", 1 => (1..=255usize).prop_map(|len| "n".repeat(len))]
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        ".{0,9}".prop_map(|text| Content::Text(text.into())),
        vec(any::<u8>(), 0..300).prop_map(|bytes| Content::Binary(bytes.into())),
    ]
}

fn push() -> impl Strategy<Value = Push> {
    let audience = prop_oneof![
        Just(Audience::Everyone),
        name().prop_map(|name| Audience::Group(GroupName::new(name).unwrap())),
        name().prop_map(|name| Audience::User(user(name))),
    ];
    let id = (name(), option::of(name()), any::<Digest>()).prop_map(|(id, from, digest)| {
        (RepeatKey::new(from.map(user).as_ref(), &IdempotencyKey::new(id).unwrap()), digest)
    });
    let address = (number(), number()).prop_map(|(worker, connection)| Address {
        worker: WorkerId(worker),
        connection: ConnectionId(connection),
    });
    let publisher = prop_oneof![3 => 0..3u64, 1 => any::<u64>()].prop_map(InstanceId);
    let numbered = (publisher, prop_oneof![0..9u64, number()]);
    let rest = (option::of(id), any::<bool>(), option::of(address), option::of(name()));
    (numbered, audience, content(), rest).prop_map(|(numbered, audience, content, rest)| {
        let ((publisher, number), (id, asks, except, from)) = (numbered, rest);
        let from = from.map(user);
        Push { publisher, number, id, asks, audience, except, content, from }
    })
}

fn block() -> impl Strategy<Value = Block> {
    let entry = prop_oneof![
        9 => push().prop_map(Entry::Push),
        1 => number().prop_map(|below| Entry::Workers { below }),
    ];
    let numbers = (any::<u64>(), any::<u64>(), number());
    let seen = (number(), number(), number()).prop_map(|(block, at, print)| Seen {
        block,
        at: Duration::from_millis(at),
        print,
    });
    let settled = vec((any::<u64>().prop_map(InstanceId), number()), 0..5);
    (numbers, number(), seen, settled, vec(entry, 0..12)).prop_map(
        |((epoch, producer, number), at, seen, settled, entries)| {
            let (producer, at) = (InstanceId(producer), Duration::from_millis(at));
            Block { epoch, producer, number, at, seen, settled, entries }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_block_survives_its_encoding(block in block()) {
        let bytes = block.encode();
        prop_assert!(bytes.len() <= block.len_bytes(), "{} bytes", bytes.len());
        prop_assert_eq!(Block::decode(bytes), Ok(block));
    }

    /// What can be read has only one encoding, so readers cannot disagree about the bytes.
    #[test]
    fn changed_bytes_are_an_error_or_another_block(
        block in block(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = block.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Block::decode(bytes.clone().into()) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_a_block(mut bytes in vec(any::<u8>(), 0..200), length in 0..200u8) {
        if let Some(head) = bytes.first_chunk_mut() {
            *head = [BLOCK_VERSION, 0, 0, 0, length];
        }
        if let Ok(read) = Block::decode(bytes.clone().into()) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }
}

#[test]
fn contents_are_slices_of_the_block_and_names_are_not() {
    let bytes = rich().encode();
    let within = |slice: &[u8]| bytes.as_ptr_range().contains(&slice.as_ptr());
    let block = Block::decode(bytes.clone()).unwrap();
    let pushes = block.entries.iter().filter_map(|entry| match entry {
        Entry::Push(push) => Some(push),
        Entry::Workers { .. } => None,
    });
    for push in pushes.filter(|push| !push.content.as_bytes().is_empty()) {
        assert!(within(push.content.as_bytes()));
        let key = push.id.as_ref().map(|(key, _)| key.as_str());
        let names = [key, push.from.as_deref(), Some(push.audience.name())];
        assert!(!names.into_iter().flatten().any(|name| within(name.as_bytes())));
    }
}

#[test]
fn blocks_are_encoded_behind_one_another_into_one_buffer() {
    let mut bytes = b"before".to_vec();
    rich().encode_to(&mut bytes);
    assert_eq!(bytes, [b"before", &rich().encode()[..]].concat());
}

#[test]
fn a_push_without_options_takes_three_bytes_and_its_content() {
    let push = |number| {
        let Some(Entry::Push(push)) = rich().entries.into_iter().next() else { unreachable!() };
        Entry::Push(Push { number, ..push })
    };
    let len = |entries| Block { entries, ..rich() }.encode().len();
    let one = len(vec![push(7_000)]);
    assert_eq!(len(vec![push(7_000), push(7_001)]) - one, 3 + "hi".len());
    assert_eq!(len(vec![push(7_000), push(6_999)]) - one, 3 + "hi".len());
}

#[test]
fn the_longest_block_of_one_entry_can_be_read() {
    let content = Content::Binary(vec![7; MAX_CONTENT_BYTES].into());
    let Some(Entry::Push(push)) = rich().entries.pop() else { unreachable!() };
    let block = Block { entries: vec![Entry::Push(Push { content, ..push })], ..rich() };
    assert!(block.len_bytes() <= MAX_ENCODED_BYTES);
    assert_eq!(Block::decode(block.encode()), Ok(block));
}

#[test]
fn the_estimate_is_high_enough_for_the_longest_of_everything() {
    let longest = user("u".repeat(255));
    let id = IdempotencyKey::new("i".repeat(255)).unwrap();
    let (worker, connection) = (WorkerId(u64::MAX), ConnectionId(u64::MAX));
    let push = |publisher| {
        Entry::Push(Push {
            publisher: InstanceId(publisher),
            number: u64::MAX,
            id: Some((RepeatKey::new(Some(&longest), &id), [7; 16])),
            asks: true,
            audience: Audience::User(longest.clone()),
            except: Some(Address { worker, connection }),
            content: Content::Binary(vec![7; 3 << 20].into()),
            from: Some(longest.clone()),
        })
    };
    let at = Duration::from_millis(u64::MAX);
    let seen = Seen { block: u64::MAX, at, print: u64::MAX };
    let settled = vec![(InstanceId(1), u64::MAX)];
    let entries = (0..3).map(push).chain([Entry::Workers { below: u64::MAX }]).collect();
    let block = Block { number: u64::MAX, at, seen, settled, entries, ..rich() };
    let bytes = block.encode();
    assert!(bytes.len() <= block.len_bytes(), "{} > {}", bytes.len(), block.len_bytes());
    assert_eq!(Block::decode(bytes.clone()), Ok(block.clone()));
    // The estimate for an entry has no byte to spare.
    for entry in &block.entries {
        let entries = block.entries.iter().filter(|other| *other != entry).cloned().collect();
        let without = Block { entries, ..block.clone() }.encode();
        assert_eq!(bytes.len() - without.len(), entry.len_bytes());
    }
}

#[test]
fn the_places_of_a_block_are_between_its_number_and_the_next() {
    assert_eq!(sequence(1, 1), 0x1_0001);
    assert_eq!(end_of(1), 0x1_ffff);
    assert!(end_of(1) > sequence(1, MAX_ENTRIES as u16) && end_of(1) < sequence(2, 1));
    assert_eq!([sequence(7, 1), end_of(7)].map(block_of), [7, 7]);
}
