//! Strings that identify something: each thing has only one string.

#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use campanile_gateway::resume::Since;
use campanile_messages::ids::ID_LIMIT;
use campanile_messages::{ConnectionId, GroupName, Position, WorkerId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let position = survives::<Position>(text);
    if let Some(position) = position {
        assert_eq!(position.to_string(), text);
    }
    assert_eq!(Since::read(text), position.map_or(Since::Malformed, Since::At));
    if let Some(worker) = survives::<WorkerId>(text) {
        assert!(worker.0 < ID_LIMIT);
    }
    if let Some(connection) = survives::<ConnectionId>(text) {
        assert!(connection.0 < ID_LIMIT);
    }
    if let Ok(group) = GroupName::new(text.to_owned()) {
        assert_eq!(&*group, text);
        assert!((1..=255).contains(&text.len()) && !text.contains(char::is_control));
    }
});

/// Checks that what was read is the same after it is written and read again.
fn survives<T: FromStr<Err: Debug> + Display + Debug + PartialEq>(text: &str) -> Option<T> {
    let read: T = text.parse().ok()?;
    assert_eq!(read.to_string().parse::<T>().expect("it was written"), read);
    Some(read)
}
