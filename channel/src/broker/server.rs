//! The service around the actor: accepts sockets, ticks, and shuts down.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use super::actor::{Broker, Close, ShutDown, Tick};
use super::config::BrokerConfig;
use super::listeners::Listeners;
use super::peer;
use super::store::StoreError;
use super::strangers::Strangers;
use crate::watchdog::ANSWER_LIMIT;

/// How many sockets there can be besides `max_links`, so that a full broker can say so.
const MAX_STRANGERS: usize = 64;

/// How often the broker drops what it has kept long enough.
const TICK: Duration = Duration::from_secs(1);

/// After a failed accept: a descriptor may be free by then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Runs a broker on bound listeners, at least one, until `shutdown` completes, then lets its links drain, for
/// [`BrokerConfig::shutdown_limit`] at most. Runs on the thread that calls it, which must be an
/// actix arbiter or another `LocalSet`.
///
/// # Errors
/// If the listener or the data directory cannot be used, if the disk fails, or if the broker's actor
/// panics: then the process must end, because every link of the cluster waits for an actor that is
/// no more. A broker that is started again goes on where this one was.
pub async fn serve(
    config: BrokerConfig,
    listeners: Vec<std::net::TcpListener>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (broker, gone) = Broker::launch(&config).map_err(io::Error::other)?;
    run(config, listeners, shutdown, broker, gone).await
}

pub(super) async fn run(
    config: BrokerConfig,
    listeners: Vec<std::net::TcpListener>,
    shutdown: impl Future<Output = ()>,
    broker: Addr<Broker>,
    mut gone: oneshot::Receiver<StoreError>,
) -> io::Result<()> {
    let mut listeners = Listeners::new(listeners)?;
    for address in listeners.addresses()? {
        info!(%address, "the broker listens");
    }
    let mut links = JoinSet::new();
    // Dropped to tell those who have not said hello yet.
    let (open, door) = watch::channel(());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let pulse = config.watchdog.watch("broker's service");
    let mut shutdown = pin!(shutdown);
    let strangers = Strangers::new(config.max_links + MAX_STRANGERS);
    let mut refusing = false;
    loop {
        // At least once a second, with the ticks.
        pulse.turn().await;
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            error = &mut gone => return Err(ended(error.ok())),
            Some(_) = links.join_next() => continue,
            _ = ticks.tick() => {
                broker.do_send(Tick);
                continue;
            }
            accepted = listeners.accept() => accepted,
        };
        let trouble = match accepted {
            Ok((stream, address)) => {
                let (guest, were_too_many) = strangers.admit(address.ip());
                let (config, door) = (config.clone(), door.clone());
                let link = peer::hold(stream, address, broker.clone(), config, door, guest);
                links.spawn_local(link);
                // Its hello may be there already; then it is not closed to make room.
                tokio::task::yield_now().await;
                if !were_too_many {
                    refusing = false;
                    continue;
                }
                "too many sockets without a hello, some are closed".to_owned()
            }
            Err(error) => {
                sleep(ACCEPT_PAUSE).await;
                error.to_string()
            }
        };
        if !refusing {
            warn!(error = trouble, "cannot take every connection for now");
            refusing = true;
        }
    }
    drop((listeners, open));
    info!(links = links.len(), "the broker shuts down");
    let asked = Instant::now();
    let until = asked + config.shutdown_limit;
    // The disk gets the last part of the time, if there is one.
    let closing = config.storage.as_ref().map_or(Duration::ZERO, |_| config.shutdown_limit / 5);
    let drained = async {
        // What is told to an actor that is gone is told to nobody.
        let _ = broker.send(ShutDown).timeout(ANSWER_LIMIT).await;
        while links.join_next().await.is_some() {}
    };
    let drained = pulse.during(timeout(config.shutdown_limit - closing, drained));
    tokio::select! {
        drained = drained => if drained.is_err() {
            warn!(links = links.len(), "not every link has drained in time");
        },
        error = &mut gone => return Err(ended(error.ok())),
    }
    // The disk has until then; whoever answers later than that hangs.
    let closed = broker.send(Close { until }).timeout(config.shutdown_limit + ANSWER_LIMIT);
    match pulse.during(closed).await {
        Ok(closed) => closed.map_err(io::Error::other),
        Err(MailboxError::Closed) => Err(ended(gone.await.ok())),
        Err(MailboxError::Timeout) => Err(io::Error::other("the broker's actor does not answer")),
    }
}

/// Why the actor ended: the disk, or a panic.
fn ended(error: Option<StoreError>) -> io::Error {
    error.map_or_else(
        || io::Error::other("the broker's actor has panicked, the process must be started again"),
        io::Error::other,
    )
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;

    use super::super::actor::tests::Panic;
    use super::*;

    #[actix::test]
    async fn a_panic_in_the_actor_ends_the_broker_with_an_error() {
        for stopping in [false, true] {
            let config = BrokerConfig::default();
            let (broker, gone) = Broker::launch(&config).unwrap();
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            broker.do_send(Panic);
            let shutdown = async {
                if !stopping {
                    pending().await
                }
            };
            let ended = run(config, vec![listener], shutdown, broker, gone).await;
            assert!(ended.unwrap_err().to_string().contains("has panicked"));
        }
    }
}
