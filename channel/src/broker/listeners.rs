//! Several listeners as one: those of every address that a host's name has.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use tokio::net::{TcpListener, TcpStream};

/// At least one listener.
pub struct Listeners {
    listeners: Vec<TcpListener>,
    /// Which one is asked first, so that none is passed over for long.
    first: usize,
}

impl Listeners {
    /// # Errors
    /// No listener at all (`InvalidInput`), and what the system answers.
    pub fn new(listeners: Vec<std::net::TcpListener>) -> io::Result<Self> {
        if listeners.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no listener was given"));
        }
        let listeners = listeners.into_iter().map(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        Ok(Self { listeners: listeners.collect::<io::Result<_>>()?, first: 0 })
    }

    /// Where they listen.
    ///
    /// # Errors
    /// What the system answers.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// The next connection of any of them. Loses none when it is dropped.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| {
            for turn in 0..self.listeners.len() {
                let asked = (self.first + turn) % self.listeners.len();
                if let Poll::Ready(accepted) = self.listeners[asked].poll_accept(cx) {
                    self.first = asked + 1;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}
