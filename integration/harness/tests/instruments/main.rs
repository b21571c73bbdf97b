//! What tests measure with is itself tested: a fault that an instrument does not see proves nothing.

mod event_stream;
mod proxy;
mod seed;
mod verdict;
