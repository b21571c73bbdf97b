//! Distinguishes events that were pushed under the same key. Pure.

use campanile_messages::{Address, Audience, Content};
use sha2::{Digest as _, Sha256};

/// Distinguishes events.
pub type Digest = [u8; 16];

/// Returns the digest of an event: of its audience, of who of them does not get it, and of its content.
///
/// Digests are in the log, so the digest of an event must never change.
pub fn digest(audience: &Audience, except: Option<Address>, content: &Content) -> Digest {
    let kind = match audience {
        Audience::Everyone => 0u8,
        Audience::Group(_) => 1,
        Audience::User(_) => 4,
    };
    let name = audience.name();
    let kind = if except.is_some() { kind + 2 } else { kind };
    // A name has at most 255 bytes, so its length fits into one byte.
    let head = [kind, content.kind() as u8, name.len() as u8];
    let mut digest = Sha256::new().chain_update(head).chain_update(name);
    if let Some(Address { worker, connection }) = except {
        digest.update(worker.0.to_be_bytes());
        digest.update(connection.0.to_be_bytes());
    }
    let digest = digest.chain_update(content.as_bytes()).finalize();
    let (first, _) = digest.split_first_chunk().expect("32 bytes");
    *first
}

#[cfg(test)]
mod tests {
    use campanile_messages::{ConnectionId, GroupName, UserName, WorkerId};

    use super::*;

    #[test]
    fn events_that_differ_in_anything_have_different_digests() {
        let group = |name| Audience::Group(GroupName::new(name).unwrap());
        let user = |name| Audience::User(UserName::new(name).unwrap());
        let but = |worker, connection| {
            Some(Address { worker: WorkerId(worker), connection: ConnectionId(connection) })
        };
        let events = [
            (Audience::Everyone, None, Content::from("ab")),
            (Audience::Everyone, None, Content::Binary("ab".into())),
            (Audience::Everyone, but(1, 2), Content::from("ab")),
            (Audience::Everyone, but(2, 1), Content::from("ab")),
            (group("a"), None, Content::from("b")),
            (group("a"), but(1, 2), Content::from("b")),
            (group("ab"), None, Content::from("c")),
            (group("a"), None, Content::from("bc")),
            (user("a"), None, Content::from("b")),
            (user("a"), but(1, 2), Content::from("b")),
        ];
        let digests: std::collections::HashSet<_> = events
            .iter()
            .map(|(audience, except, content)| digest(audience, *except, content))
            .collect();
        assert_eq!(digests.len(), events.len());
    }

    #[test]
    fn the_digests_in_the_log_do_not_change() {
        let group = Audience::Group(GroupName::new("a").unwrap());
        let before = b"\xfa\xbb\x90\x9b\x24\xc6\x92\xf0\x85\xef\x9b\xef\xfb\xce\x36\x22";
        assert_eq!(&digest(&group, None, &"hi".into()), before);
    }
}
