//! An event with its frames for every dialect.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use campanile_messages::{
    Address, Audience, ConnectionId, Content, Event, Position, UserName, WorkerId,
};

use super::Dialect;

/// An event with the frames that clients receive. Each frame is made once, when it is first needed, and
/// shared by all connections of the process.
#[derive(Debug)]
pub struct Framed {
    /// Its position and audience; `None` if it is for one connection.
    logged: Option<(Position, Audience)>,
    except: Option<Address>,
    content: Content,
    /// The user whose client published it, if there is one.
    from: Option<UserName>,
    /// Indexed by dialect.
    frames: [OnceLock<Bytes>; Dialect::ALL.len()],
}

/// Compares the events only, whichever frames were made of them.
impl PartialEq for Framed {
    fn eq(&self, other: &Self) -> bool {
        (&self.logged, self.except, &self.content, &self.from)
            == (&other.logged, other.except, &other.content, &other.from)
    }
}

impl Framed {
    /// Creates an event that has no frames yet. `logged` has its position and audience; it is `None` for an
    /// event for one connection.
    pub fn new(logged: Option<(Position, Audience)>, content: Content) -> Arc<Self> {
        let (except, from) = (None, None);
        Arc::new(Self { logged, except, content, from, frames: Default::default() })
    }

    /// Creates an event of the log, as the broker has sent it, that has no frames yet. It does not keep the
    /// buffer that the event arrived in.
    pub fn of_event(position: Position, event: Event) -> Arc<Self> {
        let Event { audience, except, content, from, .. } = event;
        let (logged, content) = (Some((position, audience)), content.own());
        Arc::new(Self { logged, except, content, from, frames: Default::default() })
    }

    /// The connection of a worker that must not get the event. `None` for a worker without an id, which has
    /// no connections.
    pub fn except_at(&self, worker: Option<&WorkerId>) -> Option<ConnectionId> {
        self.except.filter(|except| Some(&except.worker) == worker).map(|except| except.connection)
    }

    /// Its position and audience; `None` if it is for one connection.
    pub fn logged(&self) -> Option<&(Position, Audience)> {
        self.logged.as_ref()
    }

    /// Its sequence in the log; 0 if it is for one connection.
    pub fn sequence(&self) -> u64 {
        self.logged.as_ref().map_or(0, |(position, _)| position.sequence)
    }

    /// The one connection of its audience that must not get it.
    pub fn excepted(&self) -> Option<Address> {
        self.except
    }

    /// Where it stands in the log; `None` if it is for one connection.
    pub fn position(&self) -> Option<Position> {
        self.logged.as_ref().map(|(position, _)| *position)
    }

    /// Its audience; `None` if it is for one connection.
    pub fn audience(&self) -> Option<&Audience> {
        self.logged.as_ref().map(|(_, audience)| audience)
    }

    /// The frame for clients of a dialect.
    pub fn frame(&self, dialect: Dialect) -> &Bytes {
        self.frames[dialect as usize].get_or_init(|| {
            let logged = self.logged.as_ref().map(|(position, audience)| (*position, audience));
            dialect.rules().event(logged, &self.content, self.from.as_ref())
        })
    }

    /// The length of its content, without any frame.
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
