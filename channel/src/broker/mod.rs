//! The broker: the one channel service of a cluster. Numbers events, keeps the recent ones, hands
//! each to the gateways that want it.
//!
//! ```text
//! accepted socket ─▶ peer (a task a link) ──Enter, FromLink, LinkLost──▶ Broker (one actor)
//!                      ▲ bounded Outbound ◀──────────────frames────────────┘ │ asks, performs
//!                                                                            ▼
//!                                              Exchange: Routing, Log, WorkerIds, Conversation
//! ```
//!
//! What bounds it: a link has one batch of messages in flight, so a broker that is behind holds its
//! peers back; what waits for a link is bounded in bytes, and a link past its bound is cut; the log
//! is bounded in bytes and age; links and their audiences are counted.

mod actor;
mod conversation;
mod ending;
mod exchange;
mod log;
mod peer;
mod routing;
mod worker_ids;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use actix::prelude::*;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use actor::{Broker, ShutDown, Tick};
use routing::LinkNumber;

/// Sockets without a hello that are taken besides `max_links`, so that a full broker can say so.
const MAX_STRANGERS: usize = 64;

/// How often the broker drops what it has kept long enough.
const TICK: Duration = Duration::from_secs(1);

/// After a failed accept: a descriptor may be free by then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerConfig {
    /// What may wait for one link, in bytes, besides what a gateway missed and gets on attach. A
    /// link past it is cut; its peer comes back and continues where it was.
    pub max_link_queue_bytes: usize,
    /// How much the log keeps, in bytes, with what it costs to keep it. Past it the oldest events
    /// are dropped; within `log_max_age` of the start publishes are refused instead.
    pub log_max_bytes: usize,
    /// How long the log keeps an event. Longer than a gateway needs to notice a lost broker and to
    /// come back, or a gap is what its connections see.
    pub log_max_age: Duration,
    /// How long a link that ends may take to write what waits for it, and the shutdown as a whole.
    pub shutdown_limit: Duration,
    /// A link that has not said hello by then is closed.
    pub hello_limit: Duration,
    /// The most links; one more is refused.
    pub max_links: usize,
    /// The most audiences that one link can want; a link that wants more is closed.
    pub max_audiences_per_link: usize,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            max_link_queue_bytes: 64 << 20,
            log_max_bytes: 64 << 20,
            log_max_age: Duration::from_secs(10),
            shutdown_limit: Duration::from_secs(5),
            hello_limit: Duration::from_secs(5),
            max_links: 1_024,
            max_audiences_per_link: 1_000_000,
        }
    }
}

/// Runs a broker on a bound listener until `shutdown` completes, then lets its links drain, for
/// [`BrokerConfig::shutdown_limit`] at most. Runs on the thread that calls it, which must be an
/// actix arbiter or another `LocalSet`.
///
/// # Errors
/// If the listener cannot be used, or the broker's actor is gone before `shutdown`: it panicked, and
/// the process must end, because every link of the cluster waits for an actor that is no more.
pub async fn serve(
    config: BrokerConfig,
    listener: std::net::TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (broker, gone) = Broker::launch(&config);
    run(config, listener, shutdown, broker, gone).await
}

async fn run(
    config: BrokerConfig,
    listener: std::net::TcpListener,
    shutdown: impl Future<Output = ()>,
    broker: Addr<Broker>,
    mut gone: oneshot::Receiver<Infallible>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    info!(address = %listener.local_addr()?, "the broker listens");
    let mut links = JoinSet::new();
    // Dropped to tell those who have not said hello yet.
    let (open, door) = watch::channel(());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shutdown = pin!(shutdown);
    let mut refusing = false;
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            _ = &mut gone => return Err(actor_gone()),
            Some(_) = links.join_next() => continue,
            _ = ticks.tick() => {
                broker.do_send(Tick);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let trouble = match accepted {
            Ok((stream, address)) if links.len() < config.max_links + MAX_STRANGERS => {
                let link = peer::hold(stream, address, broker.clone(), config, door.clone());
                links.spawn_local(link);
                refusing = false;
                continue;
            }
            Ok(_) => "too many sockets without a hello".to_owned(),
            Err(error) => {
                sleep(ACCEPT_PAUSE).await;
                error.to_string()
            }
        };
        if !refusing {
            warn!(error = trouble, "cannot take more links for now");
            refusing = true;
        }
    }
    drop((listener, open));
    info!(links = links.len(), "the broker shuts down");
    let drained = async {
        broker.send(ShutDown).await.map_err(|_| actor_gone())?;
        while links.join_next().await.is_some() {}
        Ok(())
    };
    tokio::select! {
        drained = timeout(config.shutdown_limit, drained) => match drained {
            Ok(drained) => drained,
            Err(_) => {
                warn!(links = links.len(), "not every link has drained in time");
                Ok(())
            }
        },
        _ = &mut gone => Err(actor_gone()),
    }
}

fn actor_gone() -> io::Error {
    io::Error::other("the broker's actor has panicked, the process must be started again")
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;

    use super::actor::tests::Panic;
    use super::*;

    #[actix::test]
    async fn a_panic_in_the_actor_ends_the_broker_with_an_error() {
        for stopping in [false, true] {
            let config = BrokerConfig::default();
            let (broker, gone) = Broker::launch(&config);
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            broker.do_send(Panic);
            let shutdown = async {
                if !stopping {
                    pending().await
                }
            };
            let ended = run(config, listener, shutdown, broker, gone).await;
            assert!(ended.unwrap_err().to_string().contains("has panicked"));
        }
    }
}
