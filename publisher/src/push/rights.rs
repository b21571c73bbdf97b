//! Who pushes, and what that caller may do. Pure: the caller passes the time in. [`Principal::may`]
//! decides.

use std::sync::Arc;
use std::time::Instant;

use campanile_channel::publishing::{Push, Target};
use campanile_edge::{Action, ApiKey, Keys, Meter, Principal};
use campanile_messages::Audience;

use crate::courier::error::Unavailable;
use crate::push::BadRequest;

/// A caller whose identity is established. The default is anyone, at a publisher without keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pusher {
    principal: Principal,
    key: Option<Arc<ApiKey>>,
}

impl Pusher {
    /// The caller that has presented this key.
    pub(crate) fn with_key(key: Arc<ApiKey>) -> Self {
        Self { principal: Principal::Key(key.rights().clone()), key: Some(key) }
    }

    /// The name of the caller's key in the settings; empty if it has none.
    pub(crate) fn name(&self) -> &str {
        match &self.principal {
            Principal::Key(rights) => &rights.name,
            _ => "",
        }
    }

    /// Whether the caller has presented no key.
    pub(crate) fn is_anybody(&self) -> bool {
        self.key.is_none()
    }

    /// The same caller, as it is among these keys; `None` if it may not push any more: its key was removed,
    /// or it has none and one is needed now.
    pub(crate) fn renewed(&self, keys: &Keys) -> Option<Self> {
        match &self.key {
            None => keys.is_empty().then(|| self.clone()),
            Some(key) => keys.current(key).map(Self::with_key),
        }
    }

    /// How often the caller may push; `None` if that has no bound.
    pub(crate) fn meter(&self) -> Option<&Meter> {
        self.key.as_ref()?.meter()
    }

    /// Counts one push.
    ///
    /// # Errors
    /// [`Unavailable::TooOften`] if the rate leaves none.
    pub(crate) fn count_push(&self, now: Instant) -> Result<(), Unavailable> {
        let Some(meter) = self.meter() else { return Ok(()) };
        let per_second = meter.rate().per_second();
        meter.take(now).map_err(|wait| Unavailable::TooOften { per_second, wait })
    }

    /// Checks whether the caller may push to the target of `push`.
    ///
    /// # Errors
    /// [`BadRequest::NotAllowed`] if the caller may not.
    pub(crate) fn check_push(&self, push: &Push) -> Result<(), BadRequest> {
        self.check(match &push.target {
            Target::Audience(Audience::Everyone) => Action::PublishToEveryone,
            Target::Audience(Audience::Group(group)) => Action::PublishToGroup { group },
            Target::Audience(Audience::User(user)) => Action::PublishToUser { user },
            Target::Connection(_) => Action::PublishDirect,
        })
    }

    /// Checks whether the caller may perform an action.
    ///
    /// # Errors
    /// [`BadRequest::NotAllowed`] if the caller may not; it names the scope that is missing.
    pub(crate) fn check(&self, action: Action<'_>) -> Result<(), BadRequest> {
        match self.principal.may(action) {
            true => Ok(()),
            false => Err(BadRequest::NotAllowed { scope: action.scope().unwrap_or_default() }),
        }
    }
}
