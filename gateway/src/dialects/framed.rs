//! An event in the words of every dialect.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use campanile_messages::{Address, Audience, ConnectionId, Content, Position, WorkerId};

use super::Dialect;

/// An event with the frames that clients receive: each made once, when first needed, and shared by
/// all connections of the process.
#[derive(Debug)]
pub struct Framed {
    /// Where it stands in the log and who it is for; `None` if it is for one connection.
    logged: Option<(Position, Audience)>,
    except: Option<Address>,
    content: Content,
    /// By dialect.
    frames: [OnceLock<Bytes>; Dialect::ALL.len()],
}

/// The same event, whichever frames were made of it.
impl PartialEq for Framed {
    fn eq(&self, other: &Self) -> bool {
        (&self.logged, self.except, &self.content) == (&other.logged, other.except, &other.content)
    }
}

impl Framed {
    /// An event that has no frames yet.
    pub fn new(logged: Option<(Position, Audience)>, content: Content) -> Arc<Self> {
        Self::new_except(logged, None, content)
    }

    /// The same, for all of its audience but one connection.
    pub fn new_except(
        logged: Option<(Position, Audience)>,
        except: Option<Address>,
        content: Content,
    ) -> Arc<Self> {
        Arc::new(Self { logged, except, content, frames: Default::default() })
    }

    /// The connection of a worker that does not get it. `None` for a worker without an id: it has no
    /// connections.
    pub fn except_at(&self, worker: Option<&WorkerId>) -> Option<ConnectionId> {
        self.except.filter(|except| Some(&except.worker) == worker).map(|except| except.connection)
    }

    /// Where it stands in the log; 0 if it is for one connection.
    pub fn sequence(&self) -> u64 {
        self.logged.as_ref().map_or(0, |(position, _)| position.sequence)
    }

    /// Who it is for; `None` if it is for one connection.
    pub fn audience(&self) -> Option<&Audience> {
        self.logged.as_ref().map(|(_, audience)| audience)
    }

    /// The frame for a client.
    pub fn frame(&self, dialect: Dialect) -> &Bytes {
        self.frames[dialect as usize].get_or_init(|| {
            let logged = self.logged.as_ref().map(|(position, audience)| (*position, audience));
            dialect.rules().event(logged, &self.content)
        })
    }

    /// The length of its content.
    pub fn len_bytes(&self) -> usize {
        self.content.as_bytes().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_made_once_and_shared() {
        let framed = Framed::new(None, "hi".into());
        let first = framed.frame(Dialect::Plain).clone();
        assert_eq!(&first[..], b"\x81\x02hi");
        assert_eq!(framed.frame(Dialect::Plain).as_ptr(), first.as_ptr());
        let binary = Framed::new(None, Content::Binary(Bytes::from_static(b"\xff")));
        assert_eq!(&binary.frame(Dialect::Plain)[..], b"\x82\x01\xff");
    }
}
