//! Several listeners as one: a host name may have several addresses, each with a listener.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use tokio::net::{TcpListener, TcpStream};

/// At least one listener.
pub struct Listeners {
    listeners: Vec<TcpListener>,
    /// The listener that is polled first. It changes, so that none is neglected.
    first: usize,
}

impl Listeners {
    /// # Errors
    /// `InvalidInput` if the list is empty; otherwise the error that the operating system reports.
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

    /// The addresses of all listeners.
    ///
    /// # Errors
    /// An error of the system.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// The next connection of any listener. Dropping the future loses no connection.
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
