//! The bodies of requests: read within their limits of time and bytes.

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::header;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use super::{Front, content_length};
use crate::ApiError;
use crate::budget::Reserved;
use crate::shown::Shown;

/// The first room for a body whose length is not known to be less; it grows as bytes arrive.
const BODY_ROOM_BYTES: usize = 64 << 10;

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

/// Reads no more than the limit and a chunk, and nothing if the length says that it is over.
async fn read_all(
    request: &HttpRequest,
    payload: &mut Payload,
    max_bytes: usize,
    too_large: ApiError,
    reserved: &mut Reserved,
) -> Result<Bytes, ApiError> {
    let announced = content_length(request).unwrap_or(0);
    if announced > max_bytes as u64 {
        return Err(too_large);
    }
    let room = BODY_ROOM_BYTES.min(usize::try_from(announced).unwrap_or(usize::MAX));
    let mut body = BytesMut::with_capacity(room);
    while let Some(chunk) = payload.next().await {
        let chunk = chunk
            .map_err(|error| ApiError::BrokenBody { reason: Shown::from(&*error.to_string()) })?;
        if body.len() + chunk.len() > max_bytes {
            return Err(too_large);
        }
        reserved.grow(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Refuses what would be a lie to ignore.
pub(super) fn check_encoding(request: &HttpRequest) -> Result<(), ApiError> {
    for value in request.headers().get_all(header::CONTENT_ENCODING) {
        if !value.as_bytes().eq_ignore_ascii_case(b"identity") {
            return Err(ApiError::BadHeader {
                header: "Content-Encoding",
                value: Shown::from(value.as_bytes()),
                accepted: "a body is accepted as it is to be pushed, not compressed",
            });
        }
    }
    Ok(())
}
