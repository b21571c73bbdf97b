//! Reads the bodies of requests within limits of time and bytes.

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderValue};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::{Front, content_length};
use crate::budget::{FREE_BYTES, Reserved};
use crate::courier::Unavailable;
use crate::error::ApiError;
use crate::http::HttpError;
use crate::http::inflate::{Compression, DECODER_BYTES, Inflate, Inflated};
use crate::push::shown::Shown;

/// The first capacity for a body, unless it is known to be shorter. It grows as bytes arrive. It is no more
/// than what is not counted, because it is allocated before anything has arrived.
const BODY_ROOM_BYTES: usize = FREE_BYTES;

impl Front {
    /// Ends when this process shuts down and bodies have had their time.
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
                body.map_err(|_| ApiError::Http(HttpError::SlowBody { limit }))?
            }
            () = self.last_call() => Err(Unavailable::ShuttingDown.into()),
        }
    }
}

/// Reads a body, and decompresses it as it arrives. Holds no more than the limit, a chunk and a piece, and
/// reads nothing if the announced length is over the limit.
async fn read_all(
    request: &HttpRequest,
    payload: &mut Payload,
    max_bytes: usize,
    too_large: ApiError,
    reserved: &mut Reserved,
) -> Result<Bytes, ApiError> {
    let compression = encoding(request)?;
    let max_sent_bytes = match compression {
        None => max_bytes,
        Some(_) => Compression::max_bytes(max_bytes),
    };
    let announced = content_length(request).unwrap_or(0);
    if announced > max_sent_bytes as u64 {
        return Err(too_large);
    }
    let mut reading = Reading { body: BytesMut::new(), sent_bytes: 0, max_bytes, reserved };
    let mut inflate = match compression {
        None => {
            let room = BODY_ROOM_BYTES.min(usize::try_from(announced).unwrap_or(usize::MAX));
            reading.body.reserve(room);
            None
        }
        Some(compression) => {
            // Reserved before there is a decoder, because a caller may have many of them.
            reading.hold_inflating()?;
            Some(Inflate::new(compression))
        }
    };
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| match error {
            PayloadError::Incomplete(_) | PayloadError::Io(_) => HttpError::BodyCutOff,
            error => HttpError::BrokenBody { reason: error.to_string() },
        })?;
        reading.sent_bytes += chunk.len();
        if reading.sent_bytes > max_sent_bytes {
            return Err(too_large);
        }
        match &mut inflate {
            None => {
                reading.reserved.hold(reading.sent_bytes)?;
                reading.body.extend_from_slice(&chunk);
            }
            Some(inflate) => {
                inflate.feed(&chunk);
                reading.drain(inflate, &too_large).await?;
            }
        }
    }
    if let Some(inflate) = &mut inflate {
        inflate.complete();
        reading.drain(inflate, &too_large).await?;
    }
    Ok(reading.body.freeze())
}

/// A body that is being read.
struct Reading<'a> {
    body: BytesMut,
    /// The bytes as they were sent, compressed or not.
    sent_bytes: usize,
    max_bytes: usize,
    reserved: &'a mut Reserved,
}

impl Reading<'_> {
    /// Decompresses what has arrived. Other tasks get their turn after each piece.
    async fn drain(&mut self, inflate: &mut Inflate, too_large: &ApiError) -> Result<(), ApiError> {
        while inflate.inflate(&mut self.body)? == Inflated::Piece {
            if self.body.len() > self.max_bytes {
                return Err(too_large.clone());
            }
            self.hold_inflating()?;
            yield_now().await;
        }
        self.hold_inflating()
    }

    /// Also counts what was sent and does not become content, such as a gzip header.
    fn hold_inflating(&mut self) -> Result<(), ApiError> {
        let held = self.body.len().max(self.sent_bytes) + DECODER_BYTES;
        Ok(self.reserved.hold(held)?)
    }
}

/// Returns how a body is compressed; `None` if it is not.
pub(super) fn encoding(request: &HttpRequest) -> Result<Option<Compression>, ApiError> {
    let headers = || request.headers().get_all(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    let unknown = || {
        ApiError::Http(HttpError::UnknownEncoding {
            value: Shown::from(&*headers().collect::<Vec<_>>().join(&b", "[..])),
        })
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
