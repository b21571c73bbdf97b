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
use crate::incidents;
use crate::tls::Handshakes;
use crate::watchdog::ANSWER_LIMIT;

/// How many sockets there may be in addition to `max_links`, so that a full broker can still refuse a
/// link with a reason.
const MAX_STRANGERS: usize = 64;

/// How many TLS handshakes there are at a time. Others wait, and a stalled one makes room for them.
const MAX_TLS_HANDSHAKES: usize = 64;

/// How often the broker drops what has expired.
const TICK: Duration = Duration::from_secs(1);

/// The pause after a failed accept, after which a descriptor may be free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Runs a broker on bound listeners, at least one, until `shutdown` completes; then lets its links drain
/// for at most [`BrokerConfig::shutdown_limit`]. Runs on the calling thread, which must be an actix
/// arbiter or another `LocalSet`.
///
/// # Errors
/// The listeners or the data directory cannot be used, the disk fails, or the broker's actor panics.
/// The process must end then, because every link of the cluster waits for an actor that is gone. A
/// broker that is started again continues where this one was.
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
    // Aborted, and so at its last line, when this function returns.
    let mut reports = JoinSet::new();
    reports.spawn_local(incidents::report(config.incidents.clone()));
    // Dropped to refuse those who have not said hello yet.
    let (open, door) = watch::channel(());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let pulse = config.watchdog.watch("broker's service");
    let mut shutdown = pin!(shutdown);
    let strangers = Strangers::new(config.max_links + MAX_STRANGERS);
    let handshakes = Handshakes::new(MAX_TLS_HANDSHAKES);
    let mut refusing = false;
    loop {
        // At least once a second, thanks to the ticks.
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
                let (config, door) = (config.clone(), (door.clone(), handshakes.clone()));
                let link = peer::hold(stream, address, broker.clone(), config, door, guest);
                links.spawn_local(link);
                // If its hello has come already, it shall not be closed to make room for others.
                tokio::task::yield_now().await;
                if !were_too_many {
                    refusing = false;
                    continue;
                }
                "too many sockets without a hello, some of them are closed".to_owned()
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
    // With a data directory, the last part of the time is for the disk.
    let closing = config.storage.as_ref().map_or(Duration::ZERO, |_| config.shutdown_limit / 5);
    let drained = async {
        // An actor that is gone is noticed below.
        let _ = broker.send(ShutDown).timeout(ANSWER_LIMIT).await;
        while links.join_next().await.is_some() {}
    };
    let drained = pulse.during(timeout(config.shutdown_limit - closing, drained));
    tokio::select! {
        drained = drained => if drained.is_err() {
            warn!(links = links.len(), "not every link was drained in time");
        },
        error = &mut gone => return Err(ended(error.ok())),
    }
    // The disk has until then. An actor that takes longer to answer hangs.
    let closed = broker.send(Close { until }).timeout(config.shutdown_limit + ANSWER_LIMIT);
    match pulse.during(closed).await {
        Ok(closed) => closed.map_err(io::Error::other),
        Err(MailboxError::Closed) => Err(ended(gone.await.ok())),
        Err(MailboxError::Timeout) => Err(io::Error::other("the broker's actor does not answer")),
    }
}

/// The actor has ended: with this error of the disk, or else by a panic.
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
