//! A publisher, real HTTP over loopback, and a broker that says what the test wants.

mod answers;
mod batch;
mod compression;
mod connections;
mod cors;
mod counting;
mod guard;
mod harness;
mod health;
mod ids;
mod keys;
mod limits;
mod outage;
mod position;
mod proxies;
mod repeats;
mod shares;
mod shutdown;
mod stream;
mod tls;
mod unread;
