//! The courier of a publisher, which takes the callers' pushes to the broker: the actor of
//! [`campanile_channel::courier`] with the callers of HTTP. Besides that of the actor, its bound is the
//! [`Budget`](crate::budget::Budget), in which every push has reserved its bytes; and each of the callers
//! has one push, one batch or one window of a stream at a time.

pub(crate) mod answers;
mod caller;
pub(crate) mod error;
pub(crate) mod health;
pub(crate) mod in_order;
mod presence;

use campanile_channel::courier;

pub use caller::Caller;
pub use campanile_channel::courier::{AskHead, Finish, LINK_QUEUE_BYTES, LastCall};
pub(crate) use error::Unavailable;
pub use presence::Presence;

/// Owns the link to the broker.
pub type Courier = courier::Courier<Caller>;

/// Takes a push to the broker.
pub type Carry = courier::Carry<Caller>;

/// Takes many pushes to the broker, in their order.
pub type CarryAll = courier::CarryAll<Caller>;
