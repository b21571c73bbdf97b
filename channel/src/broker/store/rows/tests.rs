//! The bytes of rows, which must never change.

use campanile_messages::{ConnectionId, GroupName, IdempotencyKey, WorkerId};

use super::*;

fn group(name: &'static str) -> Audience {
    Audience::Group(GroupName::new(name).unwrap())
}

fn user(name: &'static str) -> Audience {
    Audience::User(UserName::new(name).unwrap())
}

fn record() -> Record {
    Record {
        sequence: 258,
        at: Duration::from_millis(1_000),
        audience: group("a"),
        except: None,
        content: "hi".into(),
        from: None,
        publisher: InstanceId(7),
        number: 3,
        gateways: 2,
        matched: 300,
    }
}

#[test]
fn the_rows_on_disk_do_not_change() {
    assert_eq!(event_key(258), *b"\x01\0\0\0\0\0\0\x01\x02");
    assert_eq!(
        event_value(&record()),
        b"\x97\xcd\x03\xe8\x81\xa5Group\xa1a\xa1t\x07\x03\x02\xcd\x01\x2chi"
    );
    let known = KnownId {
        key: IdempotencyKey::new("k").unwrap().into(),
        digest: [9; 16],
        at: Duration::from_millis(5),
        sequence: 258,
        gateways: 2,
        matched: 1,
    };
    assert_eq!(id_key(&known.key), b"\x02k");
    assert_eq!(
        id_value(&known),
        b"\x95\xdc\0\x10\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\
          \x05\xcd\x01\x02\x02\x01"
    );
    assert_eq!(trimmed_key(&Audience::Everyone), b"\x03\xa8Everyone");
    assert_eq!(trimmed_key(&group("a")), b"\x03\x81\xa5Group\xa1a");
    assert_eq!(trimmed_key(&user("a")), b"\x03\x81\xa4User\xa1a");
    let directory = DirectoryIdentity { inode: 7, created_nanos: Some(8) };
    let run = Run { durability: Durability::Disk, boot: Some(1), directory, clean: false };
    let seen = Some(ClockReading { at_millis: 9, uptime_millis: 10 });
    let state =
        StoreState { changes: 1, epoch: 2, first: 3, head: 4, floor: 5, next_worker: 6, run, seen };
    let mut expected = b"\x98\x01\x02\x03\x04\x05\x06\x94\xa4Disk\xc4\x10".to_vec();
    expected.extend_from_slice(&1_u128.to_be_bytes());
    expected.extend_from_slice(b"\x92\x07\x08\xc2\x92\x09\x0a");
    assert_eq!(state_value(&state), expected);
    assert_eq!(super::state(&expected), Ok(state.clone()));
    let mut early = expected;
    early[0] = 0x97;
    early.truncate(early.len() - 3);
    assert_eq!(super::state(&early), Ok(StoreState { seen: None, ..state }));
}

#[test]
fn an_exception_is_at_the_end_of_the_head() {
    let except = Some(Address { worker: WorkerId(5), connection: ConnectionId(6) });
    let record = Record { except, ..record() };
    let value = event_value(&record);
    assert_eq!(
        value,
        b"\x98\xcd\x03\xe8\x81\xa5Group\xa1a\xa1t\x07\x03\x02\xcd\x01\x2c\x92\x05\x06hi"
    );
    assert_eq!(event(&event_key(258), &value), Ok(record));
}

#[test]
fn the_user_of_a_client_is_behind_the_exception() {
    let from = Some(UserName::new("42").unwrap());
    let record = Record { from, ..record() };
    let value = event_value(&record);
    assert_eq!(
        value,
        b"\x99\xcd\x03\xe8\x81\xa5Group\xa1a\xa1t\x07\x03\x02\xcd\x01\x2c\xc0\xa242hi"
    );
    assert_eq!(event(&event_key(258), &value), Ok(record.clone()));
    let except = Some(Address { worker: WorkerId(5), connection: ConnectionId(6) });
    let record = Record { except, ..record };
    assert_eq!(event(&event_key(258), &event_value(&record)), Ok(record));
}

#[test]
fn the_row_of_a_clients_id_names_its_user() {
    let id = IdempotencyKey::new("k").unwrap();
    let key = RepeatKey::new(Some(&UserName::new("42").unwrap()), &id);
    let (digest, at) = ([9; 16], Duration::from_millis(5));
    let known = KnownId { key, digest, at, sequence: 1, gateways: 0, matched: 0 };
    assert_eq!(id_key(&known.key), b"\x02\x0142\x01k");
    assert_eq!(super::id(&id_key(&known.key), &id_value(&known)), Ok(known));
}

#[test]
fn rows_are_read_as_they_were_written() {
    let record = record();
    assert_eq!(event(&event_key(258), &event_value(&record)), Ok(record.clone()));
    let for_a_user = Record { audience: user("a"), ..record.clone() };
    assert_eq!(event(&event_key(258), &event_value(&for_a_user)), Ok(for_a_user));
    let binary = Record {
        audience: Audience::Everyone,
        content: Content::Binary(Bytes::from_static(&[0xff, 0])),
        ..record
    };
    assert_eq!(event(&event_key(258), &event_value(&binary)), Ok(binary));
    assert_eq!(trimmed(&trimmed_key(&group("a")), &trimmed_value(9)), Ok((group("a"), 9)));
    assert_eq!(trimmed(&trimmed_key(&user("a")), &trimmed_value(9)), Ok((user("a"), 9)));
}

#[test]
fn other_bytes_are_not_rows() {
    let value = event_value(&record());
    assert_eq!(event(b"\x01\0\0", &value), Err(InvalidRow));
    assert_eq!(event(b"", &value), Err(InvalidRow));
    assert_eq!(event(&event_key(1), &value[..9]), Err(InvalidRow));
    assert_eq!(id(b"\x02k", b"\x95"), Err(InvalidRow));
    assert_eq!(id(b"\x02", &[]), Err(InvalidRow));
    assert_eq!(trimmed(&trimmed_key(&group("a")), b"\x09\x09"), Err(InvalidRow));
}
