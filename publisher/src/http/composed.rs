//! Pushes that an operator composes on the operator's page. They take the way of all pushes, past the same
//! limits, and are counted like them; only the request came in elsewhere.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use campanile_channel::publishing::Receipt;
use campanile_edge::{ApiKey, Peer};

use super::counted::CountedRequest;
use super::{Front, Success, status, wording};
use crate::courier::{Presence, Unavailable};
use crate::error::ApiError;
use crate::push::rights::Pusher;
use crate::push::{BodyKind, from_body};

/// Pushes what operators compose, at a publisher that starts later. Clones push at the same one.
#[derive(Clone, Default)]
pub struct Composer(Arc<OnceLock<Front>>);

impl fmt::Debug for Composer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Composer")
    }
}

/// The answer to a composed push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// The status that a backend would get.
    pub status: u16,
    /// The receipt as JSON, or a sentence.
    pub body: String,
}

impl Composer {
    /// Notes the publisher to push at. Only the first one counts.
    pub(crate) fn set(&self, front: Front) {
        let _ = self.0.set(front);
    }

    /// Pushes a form with the parameters of the push API, as the holder of `key`; without one, as anybody,
    /// which is possible only if there are no keys. `from` is where the operator is.
    pub async fn push(
        &self,
        form: Bytes,
        key: Option<Arc<ApiKey>>,
        from: Option<IpAddr>,
    ) -> Composed {
        let pushed = match self.0.get() {
            Some(front) => front.push_composed(form, key, from).await,
            None => Err(Unavailable::NoBroker { waited: Duration::ZERO }.into()),
        };
        match pushed {
            Ok(receipt) => {
                let mut body = Vec::new();
                wording::receipt_json(&receipt, &mut body);
                Composed { status: 200, body: String::from_utf8_lossy(&body).into_owned() }
            }
            Err(error) => Composed { status: status(&error).as_u16(), body: error.to_string() },
        }
    }
}

impl Front {
    async fn push_composed(
        &self,
        form: Bytes,
        key: Option<Arc<ApiKey>>,
        from: Option<IpAddr>,
    ) -> Result<Receipt, ApiError> {
        let pusher = key.map_or_else(Pusher::default, Pusher::with_key);
        let mut counted = CountedRequest::of_operator(self.counting(), pusher.clone(), from);
        let performed = self.perform_composed(form, &pusher, from, &mut counted).await;
        counted.answered(&performed.clone().map(Success::Receipt));
        performed
    }

    async fn perform_composed(
        &self,
        form: Bytes,
        pusher: &Pusher,
        from: Option<IpAddr>,
        counted: &mut CountedRequest,
    ) -> Result<Receipt, ApiError> {
        let pusher = self.still(pusher)?;
        pusher.count_push(Instant::now())?;
        let mut reserved = self.budget.reserve(Peer::of(from));
        let push = from_body(b"", BodyKind::Form, form, self.config.max_content_bytes)?;
        counted.asked(Some(&push));
        reserved.grow(push.content.as_bytes().len())?;
        pusher.check_push(&push)?;
        self.carry(push, reserved, Presence::default()).await
    }
}
