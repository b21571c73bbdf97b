//! Why a client did or did not get an event, found out when somebody asks. Pure.
//!
//! Nothing is recorded per event and connection. Events have positions, and everything that decides who gets
//! an event has one, too: where a connection begins to [listen](listening), where it [leaves](left_groups) a
//! group, where events were [lost](gaps), and where it [ended](ended). From these, from when
//! [batches](batches) came, and from how many bytes wait in the outbox, [`verdict`] computes the reason.

pub mod batches;
pub mod ended;
pub mod facts;
pub mod gaps;
pub mod left_groups;
pub mod listening;
mod sentence;
pub mod successor;
pub mod trail;
pub mod verdict;
pub mod wall;
pub mod worker;
