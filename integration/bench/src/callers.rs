//! Callers of an HTTP server, all on one thread, each with one request at a time. A caller does little
//! more than to write the same bytes and to look for the end of the answer, so that the server is what
//! is measured.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::poll::Poll;
use crate::stop::Stop;
use crate::wire::{ResponseLen, response_len};

/// Without any answer for this long, the benchmark fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often to check whether the benchmark is to end.
const GLANCE: Duration = Duration::from_millis(100);

/// What callers do with their connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// The next request goes over it.
    Kept,
    /// The request asks the server to close it, and the next request has a new one.
    OneEach,
}

/// The callers of one server.
pub struct Callers {
    poll: Poll,
    server: SocketAddr,
    request: Vec<u8>,
    connections: Connections,
    callers: Vec<Caller>,
    buffer: Vec<u8>,
}

struct Caller {
    socket: TcpStream,
    answer: Vec<u8>,
    /// The answer is complete, and the end of the connection is awaited.
    is_answered: bool,
}

impl Callers {
    /// Connects `count` callers, each of which will send these bytes again and again.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn connect(
        server: SocketAddr,
        request: Vec<u8>,
        connections: Connections,
        count: usize,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let callers = (0..count)
            .map(|place| Caller::connect(server, &poll, place))
            .collect::<Result<_, _>>()?;
        Ok(Self { poll, server, request, connections, callers, buffer: vec![0; 16 << 10] })
    }

    /// Lets each caller send one request after the other for this time, then waits for the last answers.
    ///
    /// # Errors
    /// An answer other than 200, no answer for 20 s, or a connection that ends without one.
    pub fn call_for(&mut self, stop: &Stop, time: Duration) -> anyhow::Result<Calls> {
        let begun = Instant::now();
        for caller in &mut self.callers {
            caller.socket.write_all(&self.request)?;
        }
        let (mut open, mut answered) = (self.callers.len(), 0);
        let mut news = begun;
        while open > 0 {
            stop.check()?;
            let ready: Vec<u64> = self.poll.wait(Some(GLANCE))?.collect();
            if !ready.is_empty() {
                news = Instant::now();
            }
            ensure!(news.elapsed() < PATIENCE, "no answer for {} s", PATIENCE.as_secs());
            for place in ready {
                let place = place as usize;
                if !self.callers[place].has_finished(&mut self.buffer, self.connections)? {
                    continue;
                }
                answered += 1;
                if self.connections == Connections::OneEach {
                    self.callers[place] = Caller::connect(self.server, &self.poll, place)?;
                }
                if begun.elapsed() < time {
                    self.callers[place].socket.write_all(&self.request)?;
                } else {
                    open -= 1;
                }
            }
        }
        Ok(Calls { answered, took: begun.elapsed() })
    }
}

/// What callers have done.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    pub answered: usize,
    pub took: Duration,
}

impl Caller {
    /// Makes as few calls as possible: a request is one small write, which needs no `TCP_NODELAY`, and
    /// what is read has arrived.
    fn connect(server: SocketAddr, poll: &Poll, place: usize) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(server)
            .with_context(|| format!("cannot connect to the server at {server}"))?;
        poll.add(&socket, place as u64, false)?;
        Ok(Self { socket, answer: Vec::new(), is_answered: false })
    }

    /// Reads once what has arrived; `true` if that completes an answer, and the connection too, if it is
    /// for one request only.
    fn has_finished(
        &mut self,
        buffer: &mut [u8],
        connections: Connections,
    ) -> anyhow::Result<bool> {
        let read = self.socket.read(buffer)?;
        if read == 0 {
            ensure!(
                self.is_answered,
                "the server ended a connection behind {:?}",
                String::from_utf8_lossy(&self.answer)
            );
            return Ok(true);
        }
        self.answer.extend_from_slice(&buffer[..read]);
        let Some(ResponseLen { status, head, body }) = response_len(&self.answer)? else {
            return Ok(false);
        };
        ensure!(
            status == 200,
            "a request was answered {status}: {}",
            String::from_utf8_lossy(&self.answer[head..])
        );
        ensure!(self.answer.len() <= head + body, "more than one answer to a request");
        self.is_answered = self.answer.len() == head + body;
        if self.is_answered && connections == Connections::Kept {
            self.answer.clear();
            self.is_answered = false;
            return Ok(true);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server of one connection after the other that answers each request in two pieces.
    fn serve(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut request = [0; 1];
                while stream.read(&mut request).is_ok_and(|read| read == 1) {
                    let (start, end) = answer.split_at(answer.len() / 2);
                    let written = stream.write_all(start).and_then(|()| stream.write_all(end));
                    if written.is_err() || answer.is_empty() || is_last(answer) {
                        break;
                    }
                }
            }
        });
        address
    }

    fn is_last(answer: &[u8]) -> bool {
        crate::wire::find(answer, b"close").is_some()
    }

    fn call(answer: &'static [u8], connections: Connections) -> anyhow::Result<usize> {
        let mut callers = Callers::connect(serve(answer), b"?".to_vec(), connections, 1)?;
        let calls = callers.call_for(&Stop::default(), Duration::from_millis(20))?;
        Ok(calls.answered)
    }

    #[test]
    fn callers_count_answers_over_kept_and_over_new_connections() {
        let kept = call(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Connections::Kept);
        assert!(kept.expect("answers") > 1);
        let last = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        assert!(call(last, Connections::OneEach).expect("answers") > 1);
    }

    #[test]
    fn a_refusal_and_a_missing_answer_are_errors() {
        let refused = b"HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nlater";
        let error = call(refused, Connections::Kept).expect_err("refused").to_string();
        assert!(error.contains("503"), "{error}");
        let error = call(b"", Connections::Kept).expect_err("no answer").to_string();
        assert!(error.contains("ended a connection"), "{error}");
    }
}
