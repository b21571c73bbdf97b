//! A cluster with faults while many callers push and many clients listen, and the verdict on what the
//! clients got.

mod seed;

mod load;
mod push;

mod crowd;
mod listener;
mod transcript;

mod table;
mod verdict;

mod fault;
mod member;
mod scenario;
mod stage;

pub use crowd::{Audiences, Crowd};
pub use fault::Fault;
pub use load::{Load, Plan};
pub use push::{Audience, Push, PushOutcome, content, parse_content};
pub use scenario::scenario;
pub use seed::Seed;
pub use stage::{Disk, Setup, Stage};
pub use table::{Recovered, Row, Table};
pub use transcript::{Note, Transcript, TranscriptEntry};
pub use verdict::{Verdict, judge};
