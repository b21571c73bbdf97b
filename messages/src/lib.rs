//! What Campanile's processes say to each other: ids, events, and the messages of the link between the
//! broker and the rest of the cluster. No IO, no async, no clock.
//!
//! [`event`] is what is pushed, [`link`] who says what to whom, [`hello`] how a link begins, and
//! [`frame`] the bytes. [`inquiry`] is what operators ask.

pub mod event;
mod feature;
pub mod frame;
pub mod hello;
pub mod ids;
pub mod inquiry;
pub mod link;
pub mod name;
mod position;
mod trace;

pub use event::{Audience, Content, ContentKind, Event};
pub use frame::{DecodeError, EncodedFrame};
pub use ids::{Address, ConnectionId, InstanceId, WorkerId};
pub use link::{Durability, FromBroker, Hello, ToBroker};
pub use name::{GroupName, IdempotencyKey, UserName};
pub use position::Position;
pub use trace::{RandomId, SpanId, TraceContext, TraceId};
