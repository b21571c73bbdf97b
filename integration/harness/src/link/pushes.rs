//! A scripted broker for a publisher.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use campanile_messages::frame::{decode_hello, encode_answer};
use campanile_messages::hello::HelloAnswer;
use campanile_messages::link::{DirectOutcome, Matched, Number, Role, Welcome};
use campanile_messages::{Durability, FromBroker, Position, ToBroker};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

use super::frames::Frames;
use crate::deadline::until;
use crate::ports::reserved_port;

pub const EPOCH: u64 = 0xe0c4;

/// What a scripted broker does about a message.
pub enum Act {
    Say(FromBroker),
    SayAll(Vec<FromBroker>),
    Nothing,
    /// Closes the link.
    Die,
    /// Says this and closes the link.
    DieAfter(Vec<FromBroker>),
}

/// Accepts everything: the sequence is the number.
pub fn accept(message: &ToBroker) -> Act {
    match *message {
        ToBroker::Publish { number, .. } => Act::Say(accepted(number)),
        ToBroker::Direct { number, .. } => {
            Act::Say(FromBroker::Answered { number, outcome: DirectOutcome::Written })
        }
        _ => Act::Nothing,
    }
}

/// The sequence is the number.
pub fn accepted(number: Number) -> FromBroker {
    accepted_counting(number, 0, 0)
}

pub fn accepted_counting(number: Number, counting: u32, away: u32) -> FromBroker {
    let sequence = number;
    let matched = Some(Matched { gateways: 2, connections: 120 });
    FromBroker::Accepted { number, sequence, matched, counting, away }
}

pub struct Broker {
    pub addr: SocketAddr,
    received: Arc<Mutex<Vec<ToBroker>>>,
    /// What the hello of each link named as unanswered.
    hellos: Arc<Mutex<Vec<Number>>>,
    epoch: Arc<AtomicU64>,
    cut: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Broker {
    pub fn start(script: impl FnMut(&ToBroker) -> Act + 'static) -> Self {
        Self::start_at(reserved_port().0, script)
    }

    pub fn start_at(socket: TcpSocket, mut script: impl FnMut(&ToBroker) -> Act + 'static) -> Self {
        let listener = socket.listen(16).expect("listens");
        let addr = listener.local_addr().expect("bound");
        let received = Arc::new(Mutex::new(Vec::new()));
        let hellos = Arc::new(Mutex::new(Vec::new()));
        let epoch = Arc::new(AtomicU64::new(EPOCH));
        let cut = Arc::new(Notify::new());
        let (log, said) = (received.clone(), hellos.clone());
        let (now, cutting) = (epoch.clone(), cut.clone());
        let task = spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // One link at a time is enough for one publisher.
                let Ok((frames, unanswered)) = introduce(stream, now.load(Ordering::Relaxed)).await
                else {
                    continue;
                };
                said.lock().expect("no panic").push(unanswered);
                tokio::select! {
                    _ = serve_link(frames, &mut script, &log) => {}
                    () = cutting.notified() => {}
                }
            }
        });
        Self { addr, received, hellos, epoch, cut, task }
    }

    /// What the hello of each link so far named as unanswered.
    pub fn hellos(&self) -> Vec<Number> {
        self.hellos.lock().expect("no panic").clone()
    }

    /// Ends the current link.
    pub fn cut(&self) {
        self.cut.notify_one();
    }

    /// From the next link on, this is a broker with another epoch.
    pub fn lose_memory(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// The numbers of the pushes it got so far.
    pub fn numbers(&self) -> Vec<Number> {
        self.received().iter().map(number).collect()
    }

    /// The pushes it got so far.
    pub fn received(&self) -> Vec<ToBroker> {
        self.received.lock().expect("no panic").clone()
    }

    /// The texts of these pushes.
    pub fn contents(&self) -> Vec<String> {
        let text = |message: ToBroker| match message {
            ToBroker::Publish { content, .. } | ToBroker::Direct { content, .. } => {
                String::from_utf8_lossy(content.as_bytes()).into_owned()
            }
            other => panic!("no push: {other:?}"),
        };
        self.received().into_iter().map(text).collect()
    }

    pub async fn has_received(&self, count: usize) {
        until(|| self.received().len() >= count).await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers the hello of a publisher.
///
/// # Errors
/// If the link ends before that.
pub async fn welcome(stream: TcpStream) -> io::Result<Frames<TcpStream>> {
    introduce(stream, EPOCH).await.map(|(frames, _)| frames)
}

/// As [`welcome`], for any epoch; also returns what the hello named as unanswered.
async fn introduce(stream: TcpStream, epoch: u64) -> io::Result<(Frames<TcpStream>, Number)> {
    let mut frames = Frames::new(stream);
    let hello = frames.next().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let hello = decode_hello(hello).expect("a hello").hello;
    let Role::Publisher { unanswered } = hello.role else {
        panic!("{hello:?}");
    };
    let head = Position { epoch, sequence: 0 };
    let welcome = Welcome { head, durability: Durability::Disk, workers: Vec::new(), log: None };
    frames.write(encode_answer(&HelloAnswer::welcome(welcome))).await?;
    Ok((frames, unanswered))
}

async fn serve_link(
    mut frames: Frames<TcpStream>,
    script: &mut impl FnMut(&ToBroker) -> Act,
    log: &Mutex<Vec<ToBroker>>,
) -> io::Result<()> {
    loop {
        let frame = frames.next().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let message = ToBroker::decode(frame).expect("a message");
        if matches!(message, ToBroker::Heartbeat | ToBroker::Settled { .. }) {
            frames.write(FromBroker::Heartbeat.encode()).await?;
            continue;
        }
        let act = script(&message);
        log.lock().expect("no panic").push(message);
        let (messages, goes_on) = match act {
            Act::Say(message) => (vec![message], true),
            Act::SayAll(messages) => (messages, true),
            Act::Nothing => (Vec::new(), true),
            Act::Die => (Vec::new(), false),
            Act::DieAfter(messages) => (messages, false),
        };
        for message in messages {
            frames.write(message.encode()).await?;
        }
        if !goes_on {
            return Ok(());
        }
    }
}

fn number(message: &ToBroker) -> Number {
    match message {
        ToBroker::Publish { number, .. } | ToBroker::Direct { number, .. } => *number,
        other => panic!("no push: {other:?}"),
    }
}

/// Does not answer the first message, then accepts everything.
pub fn silent_at_first() -> impl FnMut(&ToBroker) -> Act {
    let mut is_first = true;
    move |message| if std::mem::take(&mut is_first) { Act::Nothing } else { accept(message) }
}
