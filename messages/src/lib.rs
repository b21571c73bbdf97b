//! Campanile's words on the wire: ids, events, and the messages of the link between the broker and
//! the rest of the cluster. No IO, no async, no clock.
//!
//! Read [`event`] for what is pushed, [`link`] for who says what to whom, [`hello`] for how a link
//! begins, [`frame`] for the bytes.

pub mod event;
mod feature;
pub mod frame;
pub mod hello;
pub mod ids;
pub mod link;
pub mod name;
pub mod position;

pub use event::{Audience, Content, ContentKind, Event};
pub use frame::{DecodeError, EncodedFrame};
pub use ids::{Address, ConnectionId, InstanceId, WorkerId};
pub use link::{Durability, FromBroker, Hello, ToBroker};
pub use name::{GroupName, IdempotencyKey, UserName};
pub use position::Position;
