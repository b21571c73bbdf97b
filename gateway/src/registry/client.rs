//! What the registry of a worker knows of one client, and what it sends to the client.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use campanile_edge::{Action, Principal};
use campanile_messages::link::Gap;
use campanile_messages::{Audience, ConnectionId, GroupName, Position};
use tokio::sync::oneshot;

use crate::config::GatewayConfig;
use crate::connection::line::Line;
use crate::connection::liveness::{Liveness, Verdict};
use crate::connection::moment::Moment;
use crate::connection::socket::Unsent;
use crate::dialects::{Dialect, Framed, Greeting, Identity, RequestError};
use crate::meters::Written;
use crate::registry::renewal::{Chance, Due, Renewal};
use crate::registry::subscriptions::Standing;
use crate::resume::Resumed;
use crate::websocket::CloseCode;

/// How to write to a client, which position it has, and when it last got a ping. Each idle connection keeps it,
/// so it is small.
#[derive(Debug)]
pub struct Client {
    pub connection: ConnectionId,
    pub line: Line,
    /// Who the client is: [`user`](Principal::user) names the user.
    pub principal: Principal,
    /// The times of its token, if it has one.
    renewal: Option<Box<Renewal>>,
    attached: Moment,
    /// When it last got a ping.
    asked: Option<Moment>,
    /// When it last got its position, or a sign of life instead.
    marked: Moment,
    /// The sequence of the last position that it got; plain clients get none.
    known: Cell<u64>,
    /// The sequence of the last event that it was left out of. Until `known` has reached it, the client
    /// should soon get a position at or after it.
    owed: Cell<u64>,
}

/// What became of a counted event at one client.
#[derive(Debug)]
pub enum WriteOutcome {
    /// The kernel has taken its last byte.
    Written,
    /// It waits in the outbox; the receiver resolves when it is written.
    Waits(oneshot::Receiver<()>),
    /// The client was closed because it reads too slowly.
    TooSlow,
    /// The connection is ending.
    Gone,
}

/// A position up to which nothing is missing, framed for every dialect that has a message for it.
#[derive(Debug)]
pub struct FramedMark {
    position: Position,
    frames: [Option<Bytes>; Dialect::ALL.len()],
}

impl FramedMark {
    /// Frames a position up to which nothing is missing.
    pub fn new(position: Position) -> Self {
        Self { position, frames: Dialect::ALL.map(|dialect| dialect.rules().position(position)) }
    }
}

impl Client {
    pub fn new(connection: ConnectionId, line: Line, principal: Principal, now: Instant) -> Self {
        let (known, owed) = (Cell::new(0), Cell::new(0));
        let attached = Moment::new(now, line.socket.opened());
        let marked = attached;
        let (asked, renewal) = (None, None);
        Self { connection, line, principal, renewal, attached, asked, marked, known, owed }
    }

    /// For how long it has been attached.
    pub fn open_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.attached())
    }

    /// The sequence of the last position that it got.
    pub fn known(&self) -> u64 {
        self.known.get()
    }

    /// Starts the time of the client's token, if it has one. `now` and `unix_now` are the same moment.
    pub fn start_token(&mut self, now: Instant, unix_now: u64, grace: Duration) {
        if let Principal::Token(rights) = &self.principal {
            let (expires, can_renew) = (rights.expires, self.line.rules().can_renew());
            let chance = Chance(rand::random_range(0.0..1.0));
            let renewal = Renewal::new(expires, unix_now, now, grace, can_renew, chance);
            match &mut self.renewal {
                Some(old) => old.replace(renewal),
                None => self.renewal = Some(Box::new(renewal)),
            }
        }
    }

    /// Whether the client has the right to listen to an audience.
    pub fn may_listen_to(&self, audience: &Audience) -> bool {
        match audience {
            Audience::Group(group) => self.principal.may(Action::Subscribe { group }),
            // Which user it is does not change, and everyone is everyone.
            Audience::Everyone | Audience::User(_) => true,
        }
    }

    /// Counts a new token, before it is looked at.
    ///
    /// # Errors
    /// The client has no token that could be replaced, or it sends new ones too often.
    pub fn count_renewal(&mut self, now: Instant) -> Result<(), RequestError> {
        self.renewal.as_mut().ok_or(RequestError::NoTokenToRenew)?.count(now)
    }

    /// What the client's token says, for its greeting.
    pub fn identity(&self) -> Option<Identity<'_>> {
        let renewal = self.renewal.as_ref()?;
        Some(Identity {
            user: self.principal.user(),
            expires_in: Some(renewal.expires_in(Instant::now())),
        })
    }

    /// Sends the greeting, after which other messages may follow.
    pub fn greet(&self, greeting: &Greeting<'_>) {
        self.known.set(greeting.position.sequence);
        self.line.greet(self.line.rules().greeting(greeting));
    }

    /// Whether missed events may be sent to the client. They may not while more waits in its outbox than
    /// the bound, because a client that does not read could ask for them again and again.
    pub fn has_room(&self, config: &GatewayConfig) -> bool {
        self.line.socket.held_bytes() <= config.max_outbox_bytes
    }

    /// Sends missed events, whatever the bound of the outbox is. Returns how many.
    pub fn replay(&self, events: &[Arc<Framed>]) -> Written {
        let mut written = Written::default();
        if events.is_empty() {
            return written;
        }
        let last = events.iter().map(|event| event.sequence()).max().unwrap_or(0);
        self.known.set(self.known.get().max(last));
        let frames = events.iter().map(|event| event.frame(self.line.dialect));
        if self.line.socket.replay(frames.clone().cloned()) {
            frames.for_each(|frame| written.add(frame.len()));
        }
        written
    }

    /// Sends that the client no longer listens to a group, because it has no right to it any more. A client
    /// that cannot be told is closed, as its request would be refused now.
    pub fn send_not_allowed(&self, group: &GroupName, is_greeted: bool) {
        match self.line.rules().left(group, Some("not_allowed")).filter(|_| is_greeted) {
            Some(left) => self.line.send(&left),
            None => self.line.close_not_allowed(group),
        }
    }

    /// Sends that the client has joined a group.
    pub fn send_joined(&self, group: &GroupName, resumed: Option<Resumed>) {
        self.line.say(self.line.rules().joined(group, resumed));
    }

    /// Sends a position up to which nothing is missing.
    pub fn send_position(&self, position: Position) {
        self.known.set(position.sequence);
        self.line.say(self.line.rules().position(position));
    }

    /// Sends that events before a position may be missing.
    pub fn send_gap(&self, gap: Gap, position: Position) {
        self.known.set(position.sequence);
        self.line.say(self.line.rules().gap(gap, position));
    }

    /// Writes an event at once, and returns what became of it.
    pub fn send_counted(&self, event: &Framed) -> WriteOutcome {
        self.note(event);
        self.line.send(event.frame(self.line.dialect));
        match self.line.socket.written() {
            Some(written) if self.line.socket.is_open() => WriteOutcome::Waits(written),
            None if self.line.socket.is_open() => WriteOutcome::Written,
            _ if self.line.socket.is_overrun() => WriteOutcome::TooSlow,
            _ => WriteOutcome::Gone,
        }
    }

    /// Closes a client whose token has expired, that was silent for too long, or has waited for the broker for too long. Sends a
    /// ping to one that was silent for a while, and the position to one that gets few events.
    pub fn look_after(
        &mut self,
        now: Instant,
        standing: Standing,
        mark: Option<&FramedMark>,
        config: &GatewayConfig,
    ) {
        let GatewayConfig { ping_after, silence_limit, handshake_limit, .. } = *config;
        let opened = self.line.socket.opened();
        let can_be_asked = standing != Standing::Pending;
        let due = |renewal: &mut Box<Renewal>| renewal.due(now, can_be_asked);
        match self.renewal.as_mut().map_or(Due::Nothing, due) {
            Due::Nothing => {}
            Due::Ask { expires_in } => self.line.say(self.line.rules().token(expires_in)),
            Due::End => self.line.close(CloseCode::TokenExpired, Unsent::Flush),
        }
        if standing == Standing::Pending {
            // The answer to its handshake does not wait any longer for the broker.
            self.line.socket.release();
            if self.open_for(now) > handshake_limit {
                self.line.close(CloseCode::Unconfirmed, Unsent::Flush);
            }
        } else if now.saturating_duration_since(self.marked.instant(opened)) >= ping_after
            || standing == Standing::Settled && self.is_owed(mark)
        {
            self.marked = Moment::new(now, opened);
            self.mark(mark.filter(|_| standing == Standing::Settled));
        }
        let Some(ping) = self.line.rules().ping() else { return };
        let liveness = Liveness { ping_after, silence_limit };
        let asked = self.asked.map(|asked| asked.instant(opened));
        match liveness.judge(now, self.line.socket.heard(), asked) {
            Verdict::Fine => {}
            Verdict::Gone => self.line.close(CloseCode::Silent, Unsent::Drop),
            Verdict::Ask => {
                self.asked = Some(Moment::new(now, opened));
                self.line.send_control(&ping);
            }
        }
    }

    fn mark(&self, mark: Option<&FramedMark>) {
        match mark.filter(|mark| mark.position.sequence > self.known.get()) {
            None => self.line.say(self.line.rules().keep_alive()),
            Some(mark) => {
                self.line.say(mark.frames[self.line.dialect as usize].clone());
                self.known.set(mark.position.sequence);
            }
        }
    }

    /// Records that an event is not sent to the client, so that it gets the position in a message.
    pub fn leave_out(&self, event: &Framed) {
        if self.line.dialect.has_positions() {
            self.owed.set(event.sequence());
        }
    }

    /// Notes that the client did not get an event because its connection is ending. Returns whether it is the
    /// first one. Afterwards no position is owed to it.
    pub fn is_first_loss(&self) -> bool {
        self.owed.replace(u64::MAX) != u64::MAX
    }

    /// When it was attached.
    pub fn attached(&self) -> Instant {
        self.attached.instant(self.line.socket.opened())
    }

    fn is_owed(&self, mark: Option<&FramedMark>) -> bool {
        let owed = self.owed.get();
        owed > self.known.get() && mark.is_some_and(|mark| mark.position.sequence >= owed)
    }

    /// Records that the client gets an event, and with it the event's position.
    pub fn note(&self, event: &Framed) {
        if self.line.dialect.has_positions() {
            self.known.set(event.sequence());
        }
    }
}
