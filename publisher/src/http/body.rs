//! The bodies of requests: read within their limits of time and bytes.

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderValue};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::{Front, content_length};
use crate::ApiError;
use crate::budget::{FREE_BYTES, Reserved};
use crate::inflate::{Compression, Inflate, Inflated};
use crate::shown::Shown;

/// The first room for a body whose length is not known to be less; it grows as bytes arrive. No more
/// than is not counted, as it is taken before anything has arrived.
const BODY_ROOM_BYTES: usize = FREE_BYTES;

impl Front {
    /// Ends when this process goes and bodies have had their time.
    async fn last_call(&self) {
        self.stopping.notified().await;
        sleep(self.stopping_limit).await;
    }

    /// Reads a body within its time.
    pub(super) async fn read_body(
        &self,
        request: &HttpRequest,
        payload: &mut Payload,
        max_bytes: usize,
        too_large: ApiError,
        reserved: &mut Reserved,
    ) -> Result<Bytes, ApiError> {
        let limit = self.config.body_limit;
        tokio::select! {
            body = timeout(limit, read_all(request, payload, max_bytes, too_large, reserved)) => {
                body.map_err(|_| ApiError::SlowBody { limit })?
            }
            () = self.last_call() => Err(ApiError::ShuttingDown),
        }
    }
}

/// Reads a body and inflates it as it arrives. Holds no more than the limit, a chunk and a piece, and
/// reads nothing if the length says that it is over.
async fn read_all(
    request: &HttpRequest,
    payload: &mut Payload,
    max_bytes: usize,
    too_large: ApiError,
    reserved: &mut Reserved,
) -> Result<Bytes, ApiError> {
    let mut inflate = encoding(request)?.map(Inflate::new);
    let max_sent_bytes = match inflate {
        None => max_bytes,
        Some(_) => Compression::max_bytes(max_bytes),
    };
    let announced = content_length(request).unwrap_or(0);
    if announced > max_sent_bytes as u64 {
        return Err(too_large);
    }
    let room = BODY_ROOM_BYTES.min(usize::try_from(announced).unwrap_or(usize::MAX));
    let mut body = BytesMut::with_capacity(room);
    let mut sent_bytes = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk
            .map_err(|error| ApiError::BrokenBody { reason: Shown::from(&*error.to_string()) })?;
        sent_bytes += chunk.len();
        if sent_bytes > max_sent_bytes {
            return Err(too_large);
        }
        match &mut inflate {
            None => {
                reserved.hold(sent_bytes)?;
                body.extend_from_slice(&chunk);
            }
            Some(inflate) => {
                inflate.feed(&chunk);
                if drain(inflate, &mut body, max_bytes, &too_large, reserved).await? {
                    return Ok(body.freeze());
                }
            }
        }
    }
    if let Some(inflate) = &mut inflate {
        inflate.complete();
        drain(inflate, &mut body, max_bytes, &too_large, reserved).await?;
    }
    Ok(body.freeze())
}

/// Takes what can be inflated of what has arrived; returns whether that is the end. Others have their
/// turn after each piece.
async fn drain(
    inflate: &mut Inflate,
    body: &mut BytesMut,
    max_bytes: usize,
    too_large: &ApiError,
    reserved: &mut Reserved,
) -> Result<bool, ApiError> {
    loop {
        match inflate.inflate()? {
            Inflated::Starved => return Ok(false),
            Inflated::End => return Ok(true),
            Inflated::Piece(piece) => {
                if body.len() + piece.len() > max_bytes {
                    return Err(too_large.clone());
                }
                body.extend_from_slice(piece);
            }
        }
        reserved.hold(body.len() + inflate.held_bytes())?;
        yield_now().await;
    }
}

/// How a body is compressed; `None` where it is as it is.
pub(super) fn encoding(request: &HttpRequest) -> Result<Option<Compression>, ApiError> {
    let headers = || request.headers().get_all(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    let unknown = || ApiError::UnknownEncoding {
        value: Shown::from(&*headers().collect::<Vec<_>>().join(&b", "[..])),
    };
    let mut compression = None;
    for name in headers().flat_map(|value| value.split(|&byte| byte == b',')) {
        let name = str::from_utf8(name).map_err(|_| unknown())?.trim();
        if name.is_empty() || name.eq_ignore_ascii_case("identity") {
            continue;
        }
        let known = Compression::of(name).ok_or_else(unknown)?;
        if compression.replace(known).is_some() {
            return Err(unknown());
        }
    }
    Ok(compression)
}
