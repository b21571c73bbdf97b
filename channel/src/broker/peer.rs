//! The task of an accepted socket, from its hello to its end: reads frames for the broker and writes
//! what the broker has queued.
//!
//! Receives from: the socket. Sends to: the broker, which has to handle each batch before the next one
//! is read. Runs on: the broker's arbiter. Bounded by: the largest frame, and the outbound.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use campanile_edge::Action;
use campanile_messages::frame::{decode_hello, encode_answer};
use campanile_messages::hello::HelloAnswer;
use campanile_messages::{DecodeError, FromBroker, ToBroker};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::actor::{Broker, Enter, Seat, Welcomed};
use super::config::BrokerConfig;
use super::exchange::Unwelcome;
use super::membership::{self, NotAMember};
use super::meters::RefusedFor;
use super::strangers::Guest;
use crate::incident;
use crate::link::{FrameReader, LinkError, LinkStream, Outbound, WriteHalf, prepare, write_out};
use crate::tls::{Handshakes, Waited};
use crate::watchdog::{LOOK_AGAIN, Pulse};

/// The largest hello. 1,024 worker ids take 10 kB.
const MAX_HELLO_BYTES: usize = 64 << 10;

/// How long a hello waits for its answer: a little less than the other end waits, which so learns the
/// reason.
const WELCOME_LIMIT: Duration = Duration::from_millis(4_500);

/// Why a socket did not become a link.
#[derive(Debug, thiserror::Error)]
enum NoLink {
    #[error(transparent)]
    Lost(#[from] LinkError),
    #[error("the peer speaks HTTP, but this port takes only the links of gateways and publishers")]
    Http,
    #[error("no hello within {} s", .0.as_secs_f32())]
    Late(Duration),
    #[error(transparent)]
    Unwelcome(#[from] Unwelcome),
    #[error(transparent)]
    NotAMember(#[from] NotAMember),
    #[error("this peer is not allowed to {}", Action::Link)]
    NotAllowed,
    #[error("the broker is waiting for the disk of its data directory; try again")]
    DiskWaits,
}

impl NoLink {
    /// Why nothing was read that could be a hello.
    fn unread(error: LinkError) -> Self {
        match error {
            LinkError::Decode(DecodeError::TooLarge { len_bytes, .. }) if is_http(len_bytes) => {
                Self::Http
            }
            error => error.into(),
        }
    }

    /// Whether the peer is a gateway or a publisher, so that somebody has to know about it. Anybody can
    /// cause many of the others.
    fn concerns_the_cluster(&self) -> bool {
        match self {
            Self::Lost(LinkError::Decode(DecodeError::VersionMismatch { .. }))
            | Self::Lost(LinkError::Disagreement(_))
            | Self::Unwelcome(_)
            | Self::NotAMember(
                NotAMember::HasNoSecret
                | NotAMember::HasSecret
                | NotAMember::Declined
                | NotAMember::WrongProof,
            )
            | Self::NotAllowed
            | Self::DiskWaits => true,
            Self::NotAMember(NotAMember::Late(_) | NotAMember::Lost(_)) => false,
            Self::Lost(_) | Self::Http | Self::Late(_) => false,
        }
    }
}

impl From<&NoLink> for RefusedFor {
    fn from(no_link: &NoLink) -> Self {
        match no_link {
            NoLink::Unwelcome(Unwelcome::TooManyLinks { .. }) => Self::Full,
            NoLink::Lost(
                LinkError::Decode(DecodeError::VersionMismatch { .. }) | LinkError::Disagreement(_),
            ) => Self::Version,
            NoLink::NotAMember(
                NotAMember::HasNoSecret
                | NotAMember::HasSecret
                | NotAMember::Declined
                | NotAMember::WrongProof,
            ) => Self::Secret,
            NoLink::Late(_) | NoLink::NotAMember(NotAMember::Late(_)) => Self::Silent,
            NoLink::NotAMember(NotAMember::Lost(_)) | NoLink::Unwelcome(_) | NoLink::Lost(_) => {
                Self::Other
            }
            NoLink::Http | NoLink::NotAllowed | NoLink::DiskWaits => Self::Other,
        }
    }
}

/// Whether the length of a frame is really the beginning of an HTTP request.
fn is_http(len_bytes: usize) -> bool {
    const METHODS: [&[u8; 4]; 7] = [b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"PATC"];
    u32::try_from(len_bytes).is_ok_and(|len| METHODS.contains(&&len.to_be_bytes()))
}

/// Runs until the socket is closed. Before the hello, a closed `door` ends it.
pub async fn hold(
    stream: TcpStream,
    peer: SocketAddr,
    broker: Addr<Broker>,
    config: BrokerConfig,
    (door, handshakes): (watch::Receiver<()>, Rc<Handshakes>),
    mut guest: Guest,
) {
    if let Err(error) = prepare(&stream) {
        debug!(%peer, %error, "a new socket was already gone");
        return;
    }
    let address = Some(peer.ip());
    let pulse = config.watchdog.watch(format!("link with {peer}"));
    let secured = tokio::select! {
        secured = pulse.during(secure(stream, peer, &config, &handshakes)) => secured,
        () = guest.is_shown_out() => return,
    };
    let Some(stream) = secured else {
        config.meters.refused(RefusedFor::Other);
        return;
    };
    let (read, mut write) = stream.into_split();
    let mut reader = FrameReader::new(read);
    let outbound = Outbound::new(config.max_link_queue_bytes);
    let entered = tokio::select! {
        biased;
        // All that is waited for here has a limit: the hello, the proof, and the disk.
        entered = pulse.during(enter((&mut reader, &mut write), peer, &broker, &outbound, &config, door)) => {
            entered
        }
        () = guest.is_shown_out() => {
            debug!(%peer, "a socket without a link is closed to make room");
            return;
        }
    };
    let heartbeat = FromBroker::Heartbeat.encode();
    let mut writing = pin!(write_out(write, outbound.clone(), heartbeat));
    let mut written = false;
    let mut limit = config.shutdown_limit;
    // Whoever ends a socket without a word wanted no link: a health check does that.
    if let Err(no_link) = &entered
        && !matches!(no_link, NoLink::Lost(LinkError::Closed))
    {
        config.meters.refused(no_link.into());
    }
    match entered {
        Err(NoLink::Lost(LinkError::Closed)) => return,
        Err(NoLink::NotAMember(declined @ NotAMember::Declined)) => {
            let reason = declined.to_string();
            incident!(config.incidents, warn, "link_refused", address, %peer, reason, "no link");
            return;
        }
        Err(no_link) => {
            // As a string, a reason is escaped in the log: it may quote the peer.
            let reason = no_link.to_string();
            if no_link.concerns_the_cluster() {
                incident!(config.incidents, warn, "link_refused", address, %peer, reason, "no link");
            } else {
                incident!(config.incidents, info, "no_hello", address, %peer, reason, "no link");
            }
            outbound.force(&encode_answer(&HelloAnswer::Refused { reason }));
            outbound.finish();
            limit = config.hello_limit.min(limit);
        }
        Ok(Welcomed { seat, mut is_behind }) => {
            let seated = guest.sit_down();
            let error = tokio::select! {
                result = &mut writing => {
                    written = true;
                    result.err()
                }
                error = receive(&mut reader, &seat, is_behind.as_mut(), &pulse) => error,
            };
            pulse.turn().await;
            seat.leave(error).await;
            guest = seated.stand_up();
        }
    }
    let closing = async {
        if !written {
            let _ = writing.await;
        }
        // Closing the socket with unread input would lose what was just written.
        reader.discard().await;
    };
    tokio::select! {
        closed = pulse.during(timeout(limit, closing)) => if closed.is_err() {
            debug!(%peer, "the peer did not close its end in time");
        },
        () = guest.is_shown_out() => debug!(%peer, "a socket whose link is over is closed to make room"),
    }
}

/// Performs the TLS handshake, if the broker speaks TLS. `None` if the socket has ended.
async fn secure(
    stream: TcpStream,
    peer: SocketAddr,
    config: &BrokerConfig,
    handshakes: &Rc<Handshakes>,
) -> Option<LinkStream> {
    let Some(settings) = &config.tls else { return Some(LinkStream::Plain(stream)) };
    let secured = async {
        // The time in which it waited for its place is not counted against the handshake.
        let begun = Waited::begin(stream, peer.ip(), handshakes);
        match timeout(config.hello_limit, begun).await? {
            Ok(waited) => timeout(config.hello_limit, waited.shake_hands(settings)).await,
            Err(no_stream) => Ok(Err(no_stream)),
        }
    };
    match secured.await {
        Ok(Ok(stream)) => return Some(LinkStream::Sealed(Box::new(stream))),
        Ok(Err(no_stream)) => {
            let error = no_stream.to_string();
            incident!(config.incidents, info, "tls", Some(peer.ip()), %peer, error, "no TLS with a peer");
            no_stream.end().await;
        }
        Err(_) => {
            let error = "the handshake took too long";
            incident!(config.incidents, info, "tls", Some(peer.ip()), %peer, error, "no TLS with a peer");
        }
    }
    None
}

async fn enter(
    (reader, write): (&mut FrameReader, &mut WriteHalf),
    peer: SocketAddr,
    broker: &Addr<Broker>,
    outbound: &Outbound,
    config: &BrokerConfig,
    mut door: watch::Receiver<()>,
) -> Result<Welcomed, NoLink> {
    let until = Instant::now() + config.proof_limit;
    let introduced = async {
        let first = timeout(config.hello_limit, reader.first_frame(MAX_HELLO_BYTES)).await;
        let frame = first.map_err(|_| NoLink::Late(config.hello_limit))?.map_err(NoLink::unread)?;
        let offer = decode_hello(frame.clone()).map_err(LinkError::Decode)?;
        let agreement = offer.agree().map_err(LinkError::Disagreement)?;
        let secrets = config.secrets.borrow().clone();
        let said = (&offer, &frame);
        let principal =
            membership::principal(reader, write, said, &secrets, (until, config.proof_limit))
                .await?;
        Ok::<_, NoLink>((offer.hello, agreement, principal))
    };
    let (hello, agreement, principal) = tokio::select! {
        introduced = introduced => introduced?,
        _ = door.changed() => return Err(Unwelcome::ShuttingDown.into()),
    };
    if !principal.may(Action::Link) {
        return Err(NoLink::NotAllowed);
    }
    outbound.agree(agreement.features.clone());
    let (answer, answered) = oneshot::channel();
    let outbound = outbound.clone();
    broker.do_send(Enter { hello, agreement, principal, peer, outbound, answer });
    match timeout(WELCOME_LIMIT, answered).await {
        Ok(Ok(answer)) => Ok(answer?),
        Ok(Err(_)) => Err(Unwelcome::ShuttingDown.into()),
        Err(_) => Err(NoLink::DiskWaits),
    }
}

/// Reads until the link is over. Returns the error that ended it, or `None` if the broker did. While the
/// broker is behind, nothing is read.
async fn receive(
    reader: &mut FrameReader,
    seat: &Seat,
    mut is_behind: Option<&mut watch::Receiver<bool>>,
    pulse: &Pulse,
) -> Option<LinkError> {
    loop {
        pulse.turn().await;
        if let Some(is_behind) = &mut is_behind {
            // That the broker is gone shows when something is passed on to it.
            let caught_up = is_behind.wait_for(|is_behind| !is_behind);
            if timeout(LOOK_AGAIN, caught_up).await.is_err() {
                continue;
            }
        }
        let frames = match reader.next_batch_within(LOOK_AGAIN).await {
            Ok(Some(frames)) => frames,
            Ok(None) => continue,
            Err(error) => return Some(error),
        };
        let (messages, error) = decode(frames);
        if !messages.is_empty() {
            pulse.turn().await;
            match seat.pass_on(messages).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(hung) => return Some(hung),
            }
        }
        if error.is_some() {
            return error;
        }
    }
}

/// Decodes frames up to the first one that is broken, and leaves heartbeats out.
fn decode(frames: Vec<Bytes>) -> (Vec<ToBroker>, Option<LinkError>) {
    let mut messages = Vec::with_capacity(frames.len());
    for frame in frames {
        match ToBroker::decode(frame) {
            Ok(ToBroker::Heartbeat) => {}
            Ok(message) => messages.push(message),
            Err(error) => return (messages, Some(error.into())),
        }
    }
    (messages, None)
}

#[cfg(test)]
mod tests {
    use campanile_messages::hello::{Disagreement, VERSIONS, Versions};

    use super::*;

    fn concerns_the_cluster(error: impl Into<LinkError>) -> bool {
        NoLink::unread(error.into()).concerns_the_cluster()
    }

    #[test]
    fn strangers_do_not_fill_the_log_and_refused_services_are_in_it() {
        let theirs = Versions { least: 8, most: 9 };
        let disagreement = Disagreement::TakesLess { what: "frames", theirs: 1, ours: 2 };
        assert!(concerns_the_cluster(DecodeError::VersionMismatch { theirs, ours: VERSIONS }));
        assert!(concerns_the_cluster(disagreement));
        assert!(NoLink::Unwelcome(Unwelcome::TooManyLinks { max: 1 }).concerns_the_cluster());
        assert!(NoLink::DiskWaits.concerns_the_cluster());
        for error in [
            DecodeError::NotCampanile,
            DecodeError::Malformed("text".to_owned()),
            DecodeError::Trailing(1),
            DecodeError::TooLarge { len_bytes: usize::MAX, max_bytes: 1 },
        ] {
            assert!(!concerns_the_cluster(error.clone()), "{error}");
        }
        assert!(!NoLink::Late(Duration::from_secs(1)).concerns_the_cluster());
    }

    #[test]
    fn the_beginning_of_a_request_is_not_taken_for_a_length() {
        let unread = |bytes: [u8; 4]| {
            let len_bytes = u32::from_be_bytes(bytes) as usize;
            NoLink::unread(DecodeError::TooLarge { len_bytes, max_bytes: 1 }.into()).to_string()
        };
        let http =
            "the peer speaks HTTP, but this port takes only the links of gateways and publishers";
        assert_eq!(unread(*b"GET "), http);
        assert_eq!(unread(*b"POST"), http);
        assert_eq!(unread(*b"GETS"), "a frame of 1195725907 bytes, but at most 1 are accepted");
    }
}
