//! What a worker does with a connection before its request: reads its PROXY header where one is required,
//! and takes it to the door, or answers it there if there is no room for it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{self, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use campanile_channel::incident;
use campanile_channel::proxied::{NotProxied, read_header};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::config::GatewayConfig;
use crate::entrance::acceptor::{Admission, Arrival, refusals_at_a_door};
use crate::entrance::door::Door;
use crate::entrance::ends::REFUSAL_LIMIT;
use crate::entrance::refusal::Refusal;
use crate::entrance::seats::Seat;

/// The reception of one worker. Clones are the same.
#[derive(Clone)]
pub struct Reception {
    door: Rc<Door>,
    config: Arc<GatewayConfig>,
    /// Connections over the limit of the gateway.
    full: TurnedAway,
    /// Connections over a limit of their address.
    crowded: TurnedAway,
}

impl Reception {
    pub fn new(door: Rc<Door>, config: Arc<GatewayConfig>) -> Self {
        let turned_away =
            || TurnedAway { answering: Rc::default(), max: refusals_at_a_door(config.workers) };
        Self { door, full: turned_away(), crowded: turned_away(), config }
    }

    /// Serves a connection, or starts a task that does.
    pub fn receive(&self, arrival: Arrival) {
        // One for the PROXY header, the TLS handshake and the request together.
        let limit = match arrival.admission {
            Admission::Seated(_) => self.config.handshake_limit,
            Admission::Full(_) | Admission::Crowded(..) => REFUSAL_LIMIT,
        };
        let deadline = Instant::now() + limit;
        if !self.config.proxy_protocol {
            return self.admit(arrival, deadline);
        }
        let reception = self.clone();
        actix_rt::spawn(async move {
            let Arrival { socket, peer, admission } = arrival;
            let unwrapped = timeout_at(deadline, unwrap(socket, peer)).await;
            match unwrapped.unwrap_or(Err(NotProxied::Ended)) {
                Ok((socket, client)) => {
                    reception.admit(Arrival { socket, peer: client, admission }, deadline);
                }
                Err(error) => {
                    let (incidents, reason) = (&reception.config.incidents, error.to_string());
                    let name = "no_proxy_header";
                    let address = Some(peer.ip());
                    incident!(incidents, info, name, address, %peer, reason, "closed a connection");
                }
            }
        });
    }

    fn admit(&self, Arrival { socket, peer, admission }: Arrival, deadline: Instant) {
        match admission {
            // Without a proxy, it was counted when it was accepted.
            Admission::Seated(seat) => {
                // Not borrowed for longer: the door looks at the limits as well, and would then wait for
                // their change, which waits for this.
                let limits = self.config.limits.borrow().clone();
                let counts_here = self.config.proxy_protocol;
                match counts_here.then(|| seat.count_address(peer.ip(), &limits.addresses)) {
                    Some(Err(crowded)) => {
                        self.config.meters.limits.count((&crowded).into());
                        let deadline = deadline.min(Instant::now() + REFUSAL_LIMIT);
                        self.turn_away(&self.crowded, (socket, peer, seat), crowded, deadline);
                    }
                    None | Some(Ok(())) => self.door.receive(socket, peer, seat, deadline),
                }
            }
            Admission::Full(seat) => {
                self.turn_away(&self.full, (socket, peer, seat), Refusal::full(), deadline);
            }
            Admission::Crowded(seat, crowded) => {
                self.turn_away(&self.crowded, (socket, peer, seat), crowded, deadline);
            }
        }
    }

    fn turn_away(
        &self,
        among: &TurnedAway,
        (socket, peer, seat): (net::TcpStream, SocketAddr, Seat),
        refusal: impl Into<Refusal>,
        deadline: Instant,
    ) {
        let Ok(stream) = TcpStream::from_std(socket) else { return };
        let (door, refusal) = (self.door.clone(), refusal.into());
        let news = door.news(peer, &refusal);
        among.add(async move {
            let _seat = seat;
            door.turn_away(stream, peer, (refusal, news), deadline).await;
        });
    }
}

/// Reads a connection's PROXY header, and returns the rest of the connection with its client's address.
async fn unwrap(
    socket: net::TcpStream,
    peer: SocketAddr,
) -> Result<(net::TcpStream, SocketAddr), NotProxied> {
    let mut stream = TcpStream::from_std(socket)?;
    let client = read_header(&mut stream, peer).await?;
    Ok((stream.into_std()?, client))
}

/// Tasks that turn connections away. Beyond their bound, the oldest one is ended.
#[derive(Clone)]
struct TurnedAway {
    answering: Rc<RefCell<VecDeque<JoinHandle<()>>>>,
    max: usize,
}

impl TurnedAway {
    fn add(&self, answering: impl Future<Output = ()> + 'static) {
        let mut all = self.answering.borrow_mut();
        all.retain(|other| !other.is_finished());
        if all.len() >= self.max {
            all.pop_front().inspect(JoinHandle::abort);
        }
        all.push_back(actix_rt::spawn(answering));
    }
}
