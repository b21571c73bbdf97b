//! What the tests of all crates share: the other end of each protocol, and whole clusters of real
//! processes.
//!
//! The only crate of Campanile that it uses is `campanile-messages`, for the frames of a link. So its
//! clients cannot share a mistake with the servers, and a change of a service does not rebuild it.

#![allow(missing_docs, reason = "a field of an instrument says with its name what it is")]
#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails a test")]
#![allow(
    clippy::new_without_default,
    clippy::should_implement_trait,
    reason = "a new instrument is started, and its next thing is waited for"
)]

mod deadline;
mod jwt;
mod ports;

pub mod client;
pub mod link;
mod proxy;
pub mod tls;

mod cluster;
mod trial;

pub use client::{
    Answer, Block, Ended, EventStream, Feed, Frame, Heard, Hello, HttpConnection, Protocol,
    PushApi, Receipt, Recovery, To, Websocket, connect, encode, exchange, handshake, receipt,
};
pub use cluster::{
    Builder, Cluster, LogPipe, NO_GROUPS, PROTOCOLS, Process, Signal, SmallDisk, binary, command,
    command_in, not_recovered, on_disk, open_feed, output_of, recovered, start_gateway,
    start_publisher,
};
pub use deadline::{DEADLINE, eventually, until, within};
pub use jwt::sign_token;
pub use ports::{bind, raise_file_limit, reserved_port};
pub use proxy::{End, Mode, Proxy, Towards};
pub use trial::{
    Audience, Audiences, Crowd, Disk, Fault, Load, Note, Plan, Push, PushOutcome, Recovered, Row,
    Seed, Setup, Stage, Table, Transcript, TranscriptEntry, Verdict, content, judge, parse_content,
    scenario,
};
