//! The requests of a connection, passed on to actix-http one at a time. Pure.
//!
//! actix-http reads ahead while a request is under way, answers it with what it knows of the last one that
//! it has read (version, `Connection`, whether it is a HEAD), and answers what it cannot read without a
//! sentence. So each request is read here first. Its head is checked at least as strictly and written
//! anew, and it is passed on with its body when the previous request has its answer. What is not a valid
//! request is replaced by one that is refused with a sentence.

mod chunked;
mod head;
mod proxied;
mod target;

pub use head::{MAX_HEADERS, MAX_HEADERS_BYTES};
pub use target::{MAX_TARGET_BYTES, REFUSED};

use crate::http::HttpError;
use chunked::Chunked;
use head::{Framing, end_of_headers};
use target::MAX_DROPPED_BYTES;

/// How long a method may be. The longest registered one has 17 letters.
const MAX_METHOD_BYTES: usize = 32;

/// How much may wait while a request is under way. Beyond that, nothing is read.
const MAX_WAITING_BYTES: usize = 8 << 10;

/// Reads the bytes of one connection as they come.
#[derive(Debug, Default)]
pub struct Inbound {
    state: Reading,
    /// What was not passed on yet: at most a head, or [`MAX_WAITING_BYTES`], and one read.
    raw: Vec<u8>,
    /// How much of a request line was searched for the end of its target.
    seen: usize,
    /// With what the request that was passed on last must be refused, if it must.
    refusal: Option<HttpError>,
    /// Why the current body will never be complete.
    broken: Option<HttpError>,
    /// Whether something that has come will never be passed on.
    unread: bool,
    /// Whether the current request is the last one.
    closes: bool,
    /// Whether the current request has its answer although its body has not ended.
    is_answered_early: bool,
}

/// What the next byte belongs to.
#[derive(Debug, Default)]
enum Reading {
    #[default]
    RequestLine,
    /// A target that is too long. It is dropped up to its end.
    LongTarget {
        method: Vec<u8>,
        dropped_bytes: usize,
    },
    /// The rest of a head whose request line is complete.
    Headers {
        line: Vec<u8>,
        too_long: bool,
        /// How much of the raw bytes was searched for the end of the head.
        seen: usize,
    },
    Length(u64),
    Chunked(Chunked),
    /// The next request, which waits for the answer to the current one.
    Answering,
    /// Another protocol.
    Websocket,
    /// Nothing: what comes is dropped.
    Over,
}

impl Inbound {
    /// Adds what was read, and appends to `output` what may be passed on.
    pub fn receive(&mut self, bytes: &[u8], output: &mut Vec<u8>) {
        self.raw.extend_from_slice(bytes);
        self.pass_on(output);
    }

    /// Notes that the current request has its answer.
    pub fn answered(&mut self, output: &mut Vec<u8>) {
        match self.state {
            Reading::Answering => {
                self.state = if self.closes { Reading::Over } else { Reading::RequestLine };
                self.pass_on(output);
            }
            // Its body was not needed. Nothing that comes behind it is passed on.
            Reading::Length(_) | Reading::Chunked(_) => self.is_answered_early = true,
            _ => {}
        }
    }

    /// Reads the current body. Returns how many of the bytes belong to it and may be passed on as they
    /// are; the others are kept.
    pub fn receive_body(&mut self, bytes: &[u8]) -> usize {
        let taken = self.body(bytes);
        self.raw.extend_from_slice(&bytes[taken..]);
        if matches!(self.state, Reading::Over) {
            self.drop_raw();
        }
        taken
    }

    /// Whether the next byte belongs to a body, or to another protocol.
    pub fn is_body(&self) -> bool {
        let body =
            matches!(self.state, Reading::Length(_) | Reading::Chunked(_) | Reading::Websocket);
        body && self.raw.is_empty()
    }

    /// Whether there is room for more.
    pub fn wants_more(&self) -> bool {
        !matches!(self.state, Reading::Answering) || self.raw.len() < MAX_WAITING_BYTES
    }

    /// Whether a head has begun and is not complete.
    pub fn is_in_head(&self) -> bool {
        match self.state {
            Reading::RequestLine => !self.raw.is_empty(),
            Reading::LongTarget { .. } | Reading::Headers { .. } => true,
            _ => false,
        }
    }

    /// Whether what is read of a head is dropped, so that there may be any amount of it.
    pub fn is_dropping(&self) -> bool {
        match self.state {
            // There were only empty lines.
            Reading::RequestLine => self.raw.is_empty(),
            Reading::LongTarget { .. } => true,
            _ => false,
        }
    }

    /// Whether nothing more is passed on.
    pub fn is_over(&self) -> bool {
        matches!(self.state, Reading::Over)
    }

    /// Whether something waits for the answer to the current request.
    pub fn has_waiting(&self) -> bool {
        matches!(self.state, Reading::Answering) && !self.raw.is_empty() && !self.closes
    }

    /// Whether something that has come or may still come is never passed on.
    pub fn leaves_unread(&self) -> bool {
        self.unread
    }

    /// Returns once with what the request that was passed on last must be refused.
    pub fn take_refusal(&mut self) -> Option<HttpError> {
        self.refusal.take()
    }

    /// Returns once why the current body will never be complete.
    pub fn take_broken(&mut self) -> Option<HttpError> {
        self.broken.take()
    }

    /// Ends the connection with a refusal of what has come so far.
    pub fn refuse(&mut self, error: HttpError, output: &mut Vec<u8>) {
        let begun = match &self.state {
            Reading::Headers { line, .. } => line,
            Reading::LongTarget { method, .. } => method,
            _ => &self.raw,
        };
        // The answer to a HEAD has no body, whatever is wrong with it.
        let method = if begun.starts_with(b"HEAD ") { "HEAD" } else { "GET" };
        let request =
            format!("{method} {REFUSED} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        output.extend_from_slice(request.as_bytes());
        self.refusal = Some(error);
        self.state = Reading::Over;
        self.raw = Vec::new();
        self.unread = true;
    }

    fn drop_raw(&mut self) {
        self.unread |= !self.raw.is_empty();
        self.raw = Vec::new();
    }

    fn pass_on(&mut self, output: &mut Vec<u8>) {
        loop {
            let goes_on = match &mut self.state {
                Reading::RequestLine => self.request_line(output),
                Reading::LongTarget { .. } => self.long_target(output),
                Reading::Headers { .. } => self.headers(output),
                Reading::Length(_) | Reading::Chunked(_) | Reading::Websocket => {
                    let raw = std::mem::take(&mut self.raw);
                    let taken = self.body(&raw);
                    output.extend_from_slice(&raw[..taken]);
                    self.raw.extend_from_slice(&raw[taken..]);
                    taken < raw.len()
                }
                Reading::Answering => false,
                Reading::Over => {
                    self.drop_raw();
                    false
                }
            };
            if !goes_on {
                if self.raw.is_empty() {
                    // An idle connection must not keep memory.
                    self.raw = Vec::new();
                }
                return;
            }
        }
    }

    fn request_line(&mut self, output: &mut Vec<u8>) -> bool {
        // Empty lines before a request line do not count (RFC 9112, 2.2).
        let begin = self.raw.iter().position(|byte| !b"\r\n".contains(byte));
        self.raw.drain(..begin.unwrap_or(self.raw.len()));
        if let Some(is_complete) = proxied::begins(&self.raw) {
            if is_complete {
                self.refuse(HttpError::ProxyHeader, output);
            }
            return false;
        }
        let looked_at = &self.raw[..self.raw.len().min(MAX_METHOD_BYTES + 1)];
        let method_len = looked_at
            .iter()
            .position(|&byte| !byte.is_ascii_alphanumeric() && !b"!#$%&'*+-.^_`|~".contains(&byte));
        match method_len {
            None if looked_at.len() > MAX_METHOD_BYTES => return self.not_http(output),
            None => return false,
            Some(at) if at == 0 || self.raw[at] != b' ' => return self.not_http(output),
            Some(_) => {}
        }
        let target_at = method_len.unwrap_or_default() + 1;
        let rest = &self.raw[target_at..];
        let from = self.seen.saturating_sub(target_at).min(rest.len());
        let target_len = rest[from..].iter().position(|byte| b" \n".contains(byte));
        let target_len = target_len.map_or(rest.len(), |at| from + at);
        self.seen = target_at + target_len;
        if target_len > MAX_TARGET_BYTES {
            let method = self.raw[..target_at].to_vec();
            self.raw.drain(..target_at + target_len);
            self.seen = 0;
            self.state = Reading::LongTarget { method, dropped_bytes: target_len };
            return true;
        }
        let line_end = rest[target_len..].iter().position(|&byte| byte == b'\n');
        let Some(line_end) = line_end.map(|at| target_len + at) else {
            return match rest.len() > target_len + MAX_METHOD_BYTES {
                true => self.not_http(output),
                false => false,
            };
        };
        if line_end > target_len + MAX_METHOD_BYTES {
            // The same as if it had come in pieces.
            return self.not_http(output);
        }
        let mut line = self.raw[..target_at].to_vec();
        target::escape(&rest[..target_len], &mut line);
        let too_long = line.len() - target_at > MAX_TARGET_BYTES;
        if too_long {
            line.truncate(target_at);
            line.extend_from_slice(REFUSED.as_bytes());
        }
        line.extend_from_slice(&rest[target_len..=line_end]);
        self.raw.drain(..=target_at + line_end);
        self.seen = 0;
        self.state = Reading::Headers { line, too_long, seen: 0 };
        true
    }

    fn long_target(&mut self, output: &mut Vec<u8>) -> bool {
        let Reading::LongTarget { dropped_bytes, .. } = &mut self.state else { return false };
        let end = self.raw.iter().position(|byte| b" \n".contains(byte));
        *dropped_bytes += end.unwrap_or(self.raw.len());
        if *dropped_bytes > MAX_DROPPED_BYTES {
            self.refuse(HttpError::UrlTooLong { max_bytes: MAX_TARGET_BYTES }, output);
            return false;
        }
        let Some(end) = end else {
            self.raw.clear();
            return false;
        };
        self.raw.drain(..end);
        let Some(line_end) = self.raw.iter().position(|&byte| byte == b'\n') else {
            return self.raw.len() > MAX_METHOD_BYTES && self.not_http(output);
        };
        if line_end > MAX_METHOD_BYTES {
            return self.not_http(output);
        }
        let Reading::LongTarget { method, .. } = std::mem::take(&mut self.state) else {
            return false;
        };
        let mut line = method;
        line.extend_from_slice(REFUSED.as_bytes());
        line.extend(self.raw.drain(..=line_end));
        self.state = Reading::Headers { line, too_long: true, seen: 0 };
        true
    }

    fn headers(&mut self, output: &mut Vec<u8>) -> bool {
        let Reading::Headers { line, too_long, seen } = &mut self.state else { return false };
        let Some(end) = end_of_headers(&self.raw, seen) else {
            if self.raw.len() > MAX_HEADERS_BYTES {
                self.refuse(head::too_large(), output);
            }
            return false;
        };
        if end > MAX_HEADERS_BYTES {
            self.refuse(head::too_large(), output);
            return false;
        }
        let too_long = *too_long;
        let mut bytes = std::mem::take(line);
        bytes.extend_from_slice(&self.raw[..end]);
        match head::read(&bytes) {
            Ok(read) => {
                self.raw.drain(..end);
                output.extend_from_slice(&read.bytes);
                self.closes = read.closes;
                self.refusal = read.refusal;
                if too_long {
                    self.refusal = Some(HttpError::UrlTooLong { max_bytes: MAX_TARGET_BYTES });
                }
                self.state = match read.framing {
                    Framing::Length(0) => Reading::Answering,
                    Framing::Length(length) => Reading::Length(length),
                    Framing::Chunked => Reading::Chunked(Chunked::default()),
                    Framing::Websocket => Reading::Websocket,
                };
                !self.raw.is_empty()
            }
            Err(error) => {
                self.state = Reading::Headers { line: bytes, too_long, seen: 0 };
                self.refuse(error, output);
                false
            }
        }
    }

    /// Returns how many of the bytes belong to the body, and goes on behind it if it is complete.
    fn body(&mut self, bytes: &[u8]) -> usize {
        match &mut self.state {
            Reading::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.state = self.behind_body();
                }
                taken
            }
            Reading::Chunked(chunked) => match chunked.read(bytes) {
                Ok(taken) => {
                    if chunked.is_over() {
                        self.state = self.behind_body();
                    }
                    taken
                }
                Err((taken, reason)) => {
                    self.broken = Some(HttpError::BrokenBody { reason: reason.to_owned() });
                    self.state = Reading::Over;
                    self.unread = true;
                    taken
                }
            },
            Reading::Websocket => bytes.len(),
            _ => 0,
        }
    }

    fn behind_body(&self) -> Reading {
        if self.is_answered_early { Reading::Over } else { Reading::Answering }
    }

    fn not_http(&mut self, output: &mut Vec<u8>) -> bool {
        let reason = "its first line is not a method, a URL and a version".to_owned();
        self.refuse(HttpError::NotHttp { reason }, output);
        false
    }
}

#[cfg(test)]
mod tests;
