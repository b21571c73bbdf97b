//! The end of a link in a gateway or publisher: connects to the broker again and again, and notifies
//! the actor that owns the link of what happens on it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix::prelude::*;
use campanile_messages::link::Welcome;
use campanile_messages::{FromBroker, Hello, ToBroker};
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use super::attempts::{Attempts, Failed};
use super::brokers::{Brokers, UnfitBroker};
use super::connecting::{Connected, connect};
use super::round::{Round, Step};
use super::secrets::Secrets;
use super::secure::LinkTls;
use super::{FrameReader, LinkError, Outbound, SecretsNow, WriteHalf, unchanging, write_out};
use crate::watchdog::{ANSWER_LIMIT, LOOK_AGAIN, Pulse};

/// How long a broker may take to accept and welcome a link before the next attempt.
const WELCOME_LIMIT: Duration = Duration::from_secs(5);

/// How long to wait for the broker to close its end of a link that this side has ended.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

/// How much is logged of what a broker says.
const MAX_SHOWN_BYTES: usize = 1 << 10;

/// Asks the owner for its hello on the next link.
#[derive(Debug, Message)]
#[rtype(result = "Hello")]
pub struct Introduce;

/// The link is up. The owner may send from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct LinkUp {
    /// The broker's answer to the hello.
    pub welcome: Welcome,
    /// Where the owner queues what it sends.
    pub outbound: Outbound,
}

/// What the broker sent, in order and without the heartbeats. The link is not read again before the
/// owner has handled this.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Received(pub Vec<FromBroker>);

/// The link is gone. What the owner has sent and got no answer to may or may not have arrived.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct LinkDown;

/// The messages that an actor must handle to own a link.
pub trait LinkOwner:
    Actor<Context = Context<Self>>
    + Handler<Introduce>
    + Handler<LinkUp>
    + Handler<Received>
    + Handler<LinkDown>
{
}

impl<A> LinkOwner for A where
    A: Actor<Context = Context<A>>
        + Handler<Introduce>
        + Handler<LinkUp>
        + Handler<Received>
        + Handler<LinkDown>
{
}

/// The brokers of a cluster, and how a client links with one of them.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where they are. Names are looked up at every attempt.
    pub broker: Brokers,
    /// Links are sealed by TLS; `None` means that they are not.
    pub tls: Option<LinkTls>,
    /// What both sides prove, as it is at each attempt. If it is empty, any broker is accepted that asks
    /// for no proof.
    pub secrets: SecretsNow,
}

impl From<String> for Endpoint {
    /// A broker without a secret.
    fn from(broker: String) -> Self {
        Self { broker: broker.into(), tls: None, secrets: unchanging(Secrets::default()) }
    }
}

/// Keeps a link to a broker until the owner is gone or has finished the link's [`Outbound`], which takes
/// up to `max_queued_bytes`. `ready` is awaited before each read, so that an owner that is behind can
/// hold the broker back. Where there are several brokers, it begins at a random one, and when that fails goes
/// to the next at once; it waits only after each has failed. That no broker can be reached is logged once per
/// outage; a reason that a broker gives is logged whenever it changes.
///
/// `pulse` beats on every turn of the link, but not while the link waits for an answer of the owner. So
/// the watchdog notices both an owner and a link that hangs.
///
/// # Errors
/// A broker that was found before there was any link is [unfit](UnfitBroker), which only a change of the
/// settings can mend. Later ones are skipped.
pub async fn hold<A: LinkOwner>(
    owner: Addr<A>,
    Endpoint { broker: brokers, tls, secrets }: Endpoint,
    max_queued_bytes: usize,
    pulse: Pulse,
    mut ready: impl AsyncFnMut(),
) -> Result<(), UnfitBroker> {
    let mut attempts = Attempts::new();
    let mut round = Round::new(&brokers, None, &mut rand::rng());
    loop {
        pulse.turn().await;
        let hello = match owner.send(Introduce).timeout(ANSWER_LIMIT).await {
            Ok(hello) => hello,
            Err(MailboxError::Closed) => return Ok(()),
            Err(MailboxError::Timeout) => {
                let error = LinkError::Unanswered(ANSWER_LIMIT);
                error!(%error, "the link to the broker is given up");
                return Ok(());
            }
        };
        let target = match round.next() {
            Step::Over => {
                pulse.during(sleep(attempts.wait(rand::random()))).await;
                round = Round::new(&brokers, None, &mut rand::rng());
                continue;
            }
            Step::LookUp(name) => {
                match pulse.during(look_up(&name)).await {
                    Ok(addresses) => round.found(name, addresses, &mut rand::rng()),
                    Err(error) => note(attempts.failed(&name, &error, None), &name, &error),
                }
                continue;
            }
            Step::Try(target) => target,
        };
        let broker = target.to_string();
        let mut linked = None;
        let known = secrets.borrow().clone();
        let connected =
            pulse.during(timeout(WELCOME_LIMIT, connect(&target, tls.as_ref(), &hello, &known)));
        let connected = match connected.await {
            Err(_) => Err(LinkError::Silent(WELCOME_LIMIT)),
            Ok(connected) => connected,
        };
        let is_one_of_several = target.shares_name || brokers.addresses().len() > 1;
        let accepted = connected.and_then(|connected| {
            brokers.accept(&broker, connected.welcome.log.as_ref(), is_one_of_several)?;
            Ok(connected)
        });
        let error = match accepted {
            Err(LinkError::Unfit(unfit)) if !brokers.were_linked() => return Err(unfit),
            Err(error) => error,
            Ok(Connected { write, reader, features, welcome, first }) => {
                info!(%broker, "linked to the broker");
                attempts.succeeded();
                linked = Some(Instant::now());
                let outbound = Outbound::new(max_queued_bytes);
                outbound.agree(features);
                let link = Link { reader, outbound };
                match link.run(write, &owner, (welcome, first), &pulse, &mut ready).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                }
            }
        };
        let failed = attempts.failed(&broker, &error, linked.map(|at| at.elapsed()));
        note(failed, &broker, &error);
        if failed.begins_round {
            round = Round::new(&brokers, Some(target), &mut rand::rng());
        }
    }
}

/// The addresses of a broker's name.
async fn look_up(name: &str) -> Result<Vec<SocketAddr>, LinkError> {
    let found = timeout(WELCOME_LIMIT, lookup_host(name)).await;
    let found: Vec<_> = found.map_err(|_| LinkError::Silent(WELCOME_LIMIT))??.collect();
    match found.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address").into()),
        false => Ok(found),
    }
}

fn note(failed: Failed, broker: &str, error: &LinkError) {
    if failed.is_news {
        let error = shown(error);
        warn!(%broker, %error, "no link to the broker, waiting for it");
    }
}

/// An error for the log. Whoever answers at the address of the broker may have written it, so it is cut and
/// escaped.
fn shown(error: &LinkError) -> String {
    let mut shown = String::new();
    for char in error.to_string().chars() {
        if shown.len() >= MAX_SHOWN_BYTES {
            shown.push_str("..");
            break;
        }
        match char {
            '"' | '\'' | '\\' => shown.push(char),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

struct Link {
    reader: FrameReader,
    outbound: Outbound,
}

impl Link {
    /// Returns `Ok` if this side ended the link.
    async fn run<A: LinkOwner>(
        self,
        write: WriteHalf,
        owner: &Addr<A>,
        (welcome, first): (Welcome, Vec<FromBroker>),
        pulse: &Pulse,
        ready: &mut impl AsyncFnMut(),
    ) -> Result<(), LinkError> {
        let Self { mut reader, outbound } = self;
        pulse.turn().await;
        let up = LinkUp { welcome, outbound: outbound.clone() };
        match owner.send(up).timeout(ANSWER_LIMIT).await {
            Ok(()) => {}
            Err(MailboxError::Closed) => return Ok(()),
            Err(MailboxError::Timeout) => return Err(LinkError::Unanswered(ANSWER_LIMIT)),
        }
        let result = tokio::select! {
            written = write_out(write, outbound.clone(), ToBroker::Heartbeat.encode()) => written,
            error = receive(&mut reader, owner, first, pulse, ready) => Err(error),
        };
        // Nobody would write what the owner sends from now on.
        outbound.cut();
        pulse.turn().await;
        // An owner that is gone need not know. One that hangs is noticed at the next `Introduce`.
        let _ = owner.send(LinkDown).timeout(ANSWER_LIMIT).await;
        if result.is_ok() {
            // Closing the socket with unread input would lose what was just written.
            let _ = pulse.during(timeout(FAREWELL_LIMIT, reader.discard())).await;
        }
        result
    }
}

async fn receive<A: LinkOwner>(
    reader: &mut FrameReader,
    owner: &Addr<A>,
    first: Vec<FromBroker>,
    pulse: &Pulse,
    ready: &mut impl AsyncFnMut(),
) -> LinkError {
    let mut batch = first;
    loop {
        let goodbye = batch.iter().find_map(|message| match message {
            FromBroker::Goodbye { reason } => Some(reason.clone()),
            _ => None,
        });
        batch.retain(|m| !matches!(m, FromBroker::Heartbeat | FromBroker::Goodbye { .. }));
        pulse.turn().await;
        if !batch.is_empty() {
            match owner.send(Received(batch)).timeout(ANSWER_LIMIT).await {
                Ok(()) => {}
                Err(MailboxError::Closed) => return LinkError::Closed,
                Err(MailboxError::Timeout) => return LinkError::Unanswered(ANSWER_LIMIT),
            }
        }
        if let Some(reason) = goodbye {
            return LinkError::Goodbye(reason);
        }
        while timeout(LOOK_AGAIN, ready()).await.is_err() {
            pulse.turn().await;
        }
        batch = match reader.next_batch_within(LOOK_AGAIN).await {
            Err(error) => return error,
            Ok(frames) => {
                let frames = frames.into_iter().flatten();
                match frames.map(FromBroker::decode).collect() {
                    Err(error) => return LinkError::Decode(error),
                    Ok(batch) => batch,
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_says_is_cut_and_escaped_in_the_log() {
        let said = |reason: String| shown(&LinkError::Goodbye(reason));
        let forged = said("no\n2026 ERROR \u{1b}[31m\u{202e}\"quoted\"".to_owned());
        let expected = r#"the broker says: no\n2026 ERROR \u{1b}[31m\u{202e}"quoted""#;
        assert_eq!(forged, expected);
        let long = said("\n".repeat(16 << 10));
        assert!(long.len() <= MAX_SHOWN_BYTES + 10 && long.ends_with(".."), "{}", long.len());
    }
}
