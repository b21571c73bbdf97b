//! Waiting for many sockets at once, by epoll alone: a runtime would be measured as well.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// How many sockets one wait returns at most.
const EVENTS: usize = 1_024;

/// Sockets to wait for, each with a token.
pub struct Poll {
    epoll: OwnedFd,
    ready: Vec<Event>,
}

impl Poll {
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, ready: Vec::with_capacity(EVENTS) })
    }

    /// Waits for input, and for room to write where `writable`, until the socket is closed.
    pub fn add(&self, socket: impl AsFd, token: u64, writable: bool) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), flags(writable))?)
    }

    /// Changes whether to wait for room to write.
    pub fn want_room(&self, socket: impl AsFd, token: u64, writable: bool) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(token), flags(writable))?)
    }

    /// Stops waiting for a socket.
    pub fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// Waits until sockets are ready, for `limit` at most, and returns their tokens. `None` waits for
    /// ever.
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<impl Iterator<Item = u64>> {
        let limit = limit.map(|limit| Timespec::try_from(limit).expect("a few seconds"));
        self.ready.clear();
        let buffer = rustix::buffer::spare_capacity(&mut self.ready);
        match epoll::wait(&self.epoll, buffer, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.ready.drain(..).map(|event| {
            // A copy, because the fields of the kernel's struct are not aligned.
            let data = event.data;
            data.u64()
        }))
    }
}

fn flags(writable: bool) -> EventFlags {
    if writable { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN }
}
