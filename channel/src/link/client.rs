//! The end of a link in a gateway or publisher: connects to the broker again and again, and notifies
//! the actor that owns the link of what happens on it.

use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use campanile_messages::frame::{decode_answer, encode_hello, encode_proof};
use campanile_messages::hello::{Feature, Features, HelloAnswer, Nonce, Offer};
use campanile_messages::link::Welcome;
use campanile_messages::{DecodeError, FromBroker, Hello, ToBroker};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use super::attempts::Attempts;
use super::proof::{self, ProofError};
use super::secrets::Secrets;
use super::secure::{LinkTls, seal};
use super::{
    FrameReader, LinkError, LinkStream, Outbound, SecretsNow, WriteHalf, prepare, unchanging,
    write_out,
};
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

/// The broker of a cluster, as a client knows it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `HOST:PORT`, looked up at every attempt.
    pub broker: String,
    /// Links are sealed by TLS; `None` means that they are not.
    pub tls: Option<LinkTls>,
    /// What both sides prove, as it is at each attempt. If it is empty, any broker is accepted that asks
    /// for no proof.
    pub secrets: SecretsNow,
}

impl From<String> for Endpoint {
    /// A broker without a secret.
    fn from(broker: String) -> Self {
        Self { broker, tls: None, secrets: unchanging(Secrets::default()) }
    }
}

/// Keeps a link to the broker until the owner is gone or has finished the link's [`Outbound`], which takes
/// up to `max_queued_bytes`. `ready` is awaited before each read, so that an owner that is behind can
/// hold the broker back. That the broker cannot be reached is logged once per outage; a reason that the
/// broker gives is logged whenever it changes.
///
/// `pulse` beats on every turn of the link, but not while the link waits for an answer of the owner. So
/// the watchdog notices both an owner and a link that hangs.
pub async fn hold<A: LinkOwner>(
    owner: Addr<A>,
    Endpoint { broker, tls, secrets }: Endpoint,
    max_queued_bytes: usize,
    pulse: Pulse,
    mut ready: impl AsyncFnMut(),
) {
    let mut attempts = Attempts::new();
    loop {
        pulse.turn().await;
        let hello = match owner.send(Introduce).timeout(ANSWER_LIMIT).await {
            Ok(hello) => hello,
            Err(MailboxError::Closed) => return,
            Err(MailboxError::Timeout) => {
                let error = LinkError::Unanswered(ANSWER_LIMIT);
                return error!(%broker, %error, "the link to the broker is given up");
            }
        };
        let mut linked = None;
        let known = secrets.borrow().clone();
        let connected =
            pulse.during(timeout(WELCOME_LIMIT, connect(&broker, tls.as_ref(), &hello, &known)));
        let error = match connected.await {
            Err(_) => LinkError::Silent(WELCOME_LIMIT),
            Ok(Err(error)) => error,
            Ok(Ok(Connected { write, reader, features, welcome, first })) => {
                info!(%broker, "linked to the broker");
                attempts.succeeded();
                linked = Some(Instant::now());
                let outbound = Outbound::new(max_queued_bytes);
                outbound.agree(features);
                let link = Link { reader, outbound };
                match link.run(write, &owner, (welcome, first), &pulse, &mut ready).await {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
        };
        if attempts.failed(&error, linked.map(|at| at.elapsed())) {
            let error = shown(&error);
            warn!(%broker, %error, "no link to the broker, waiting for it");
        }
        pulse.during(sleep(attempts.wait(rand::random()))).await;
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

/// A link that the broker has welcomed, and that its owner does not know yet.
struct Connected {
    write: WriteHalf,
    reader: FrameReader,
    /// What both ends can do.
    features: Features,
    welcome: Welcome,
    /// Messages that came along with the welcome.
    first: Vec<FromBroker>,
}

async fn connect(
    broker: &str,
    tls: Option<&LinkTls>,
    hello: &Hello,
    secrets: &Secrets,
) -> Result<Connected, LinkError> {
    let stream = TcpStream::connect(broker).await?;
    prepare(&stream)?;
    let stream = match tls {
        None => LinkStream::Plain(stream),
        Some(tls) => seal(stream, broker, tls).await?,
    };
    let (read, mut write) = stream.into_split();
    let mut reader = FrameReader::new(read);
    let mut offer = Offer::ours(hello.clone(), Nonce(rand::random()));
    if !secrets.is_empty() {
        offer.features = offer.features.with(Feature::SECRET);
    }
    let offer = encode_hello(&offer);
    write.send(&offer.head).await?;
    let (mut answer, mut first) = answer(&mut reader).await?;
    let mut is_proven = secrets.is_empty();
    if let (frame, HelloAnswer::Challenge(challenge)) = &answer {
        let proof = proof::answer(secrets, offer.payload(), challenge, frame)?;
        if !first.is_empty() {
            let reason = "frames between a challenge and its answer".to_owned();
            return Err(DecodeError::Malformed(reason).into());
        }
        write.send(&encode_proof(&proof).head).await?;
        (answer, first) = self::answer(&mut reader).await?;
        is_proven = true;
    }
    let (agreement, welcome) = match answer.1 {
        HelloAnswer::Welcome { .. } if !is_proven => return Err(ProofError::Unproven.into()),
        HelloAnswer::Welcome { agreement, welcome } => (agreement.accept()?, welcome),
        HelloAnswer::Challenge(_) => {
            return Err(DecodeError::Malformed("a second challenge".to_owned()).into());
        }
        HelloAnswer::Refused { reason } => return Err(LinkError::Goodbye(reason)),
    };
    let first = first.into_iter().map(FromBroker::decode).collect::<Result<_, _>>()?;
    Ok(Connected { write, reader, features: agreement.features, welcome, first })
}

/// The broker's next answer, with its frame and the frames that came along.
async fn answer(reader: &mut FrameReader) -> Result<((Bytes, HelloAnswer), Vec<Bytes>), LinkError> {
    let mut frames = reader.next_batch().await.map_err(or_alert)?;
    let frame = frames.remove(0);
    let answer = decode_answer(frame.clone())?;
    Ok(((frame, answer), frames))
}

/// Recognises an alert of TLS (its type, its version and its length), which was read as the length of a
/// frame.
fn or_alert(error: LinkError) -> LinkError {
    match error {
        LinkError::Decode(DecodeError::TooLarge { len_bytes, .. })
            if len_bytes >> 8 & 0xff_ff00 == 0x15_0300 =>
        {
            LinkError::SpeaksTls
        }
        error => error,
    }
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
