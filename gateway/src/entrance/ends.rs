//! The first bytes of a connection, and the last bytes of one that is refused.

use std::time::Duration;

use bytes::Bytes;
use campanile_channel::tls::Stream;
use campanile_edge::{Head, MAX_HEAD_BYTES, websocket};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::connection::socket::{Ending, Socket, Unsent};
use crate::dialects::Rules;
use crate::entrance::refusal::Refusal;

/// How long a refused client may take to read its answer.
pub(super) const REFUSAL_LIMIT: Duration = Duration::from_secs(2);

/// Most requests fit into this many bytes.
pub(super) const FIRST_READ_BYTES: usize = 1024;

/// Reads until a request head is complete, and returns what `take` makes of it and of its length in
/// bytes; `None` if the client is gone. Everything that was read is left in `received`, which may be
/// more than the head.
///
/// # Errors
/// The refusal to answer with if the bytes are no head of HTTP/1, or the head is too large.
pub async fn read_head<T>(
    stream: &mut (impl AsyncRead + Unpin),
    received: &mut Vec<u8>,
    take: impl FnOnce(&Head<'_>, usize) -> T,
) -> Result<Option<T>, Refusal> {
    received.reserve(FIRST_READ_BYTES);
    // Bytes that were read before are parsed together with the first new ones.
    let mut is_first = true;
    loop {
        let before = received.len();
        match stream.read_buf(received).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
        // A head that arrives byte by byte must not be parsed again for each of them.
        let may_be_news = std::mem::take(&mut is_first)
            || received[before..].contains(&b'\n')
            || received.len() >= MAX_HEAD_BYTES;
        if may_be_news && let Some((head, len_bytes)) = Head::parse(received)? {
            return Ok(Some(take(&head, len_bytes)));
        }
    }
}

/// The message and the Close frame that refuse an open websocket; `None` if a status refuses it instead.
pub(super) fn last_message(refusal: &Refusal, rules: &dyn Rules) -> Option<Bytes> {
    let message = rules.refusal(refusal.code, refusal.sentence(), refusal.group.as_deref())?;
    let close = websocket::close(refusal.close_code()?.code(), refusal.sentence());
    Some([message, close].concat().into())
}

/// Sends the last bytes, and waits until the client has read them and closed, at most 2 s.
pub async fn end(stream: impl Into<Stream>, last: Bytes) {
    let socket = Socket::new(stream, last.len());
    socket.close(last, Unsent::Flush, None);
    Ending::new(socket, REFUSAL_LIMIT).await;
}
