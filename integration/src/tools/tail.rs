//! `campanile tail`: follows an event stream, and comes back where it was.

mod follower;
mod stream;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, sleep};

use crate::cli::TailArgs;
use crate::logging::last_line;
use crate::remote::{authorization, causes, sentence};

use follower::{Effect, Follower, Style};
use stream::Reader;

/// How long a stream may be silent: several times as long as the `--ping-after` of a gateway by default.
const SILENCE_LIMIT: Duration = Duration::from_secs(90);

/// How often to look whether standard output has a reader, while nothing is written to it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long an interrupt waits for an event that is being printed, in pauses. If nobody reads the output,
/// the process ends without the id.
const INTERRUPT_TRIES: u32 = 40;
const INTERRUPT_PAUSE: Duration = Duration::from_millis(5);

/// The exit code of a process that was interrupted, as shells have it.
const INTERRUPTED: i32 = 130;

/// Where the stream stands, for the thread that is interrupted.
type LastId = Arc<Mutex<Option<String>>>;

/// Why the tool ends.
#[derive(Debug)]
enum Ended {
    /// Nobody reads the output any more.
    Unread,
    /// The gateway refuses it, or the token has expired.
    Refused(String),
}

/// Why a stream ended that can be continued.
#[derive(Debug)]
struct Lost(String);

/// Follows a stream until its output is closed (the exit code is then 0), it is refused (1) or interrupted
/// (130). It is 2 if an argument is wrong.
pub fn run(args: &TailArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.context("cannot start").and_then(|runtime| {
        let tail = Tail::new(args)?;
        exit_on_interrupt(tail.last_id.clone())?;
        Ok(runtime.block_on(tail.follow()))
    });
    match ended {
        Ok(Ended::Unread) => ExitCode::SUCCESS,
        Ok(Ended::Refused(sentence)) => {
            last_line(&format!("error: {sentence}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            last_line(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Ends the process on SIGINT, on a thread of its own: the others may wait for the output to be read.
fn exit_on_interrupt(last_id: LastId) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start")?;
    // From here on; the thread may begin later.
    let interrupts = runtime.block_on(async { signal(SignalKind::interrupt()) });
    let mut interrupts = interrupts.context("cannot catch signals")?;
    let wait = move || {
        if runtime.block_on(interrupts.recv()).is_some() {
            // Whoever prints an event has the lock until the id is that of the event.
            let last_id = (0..INTERRUPT_TRIES).find_map(|_| match last_id.try_lock() {
                Ok(id) => Some(id.clone()),
                Err(_) => {
                    std::thread::sleep(INTERRUPT_PAUSE);
                    None
                }
            });
            if let Some(id) = last_id.flatten() {
                last_line(&format!("interrupted; --since {id} continues here"));
            }
            std::process::exit(INTERRUPTED);
        }
    };
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
    thread.map(drop).context("cannot start a thread")
}

struct Tail<'a> {
    args: &'a TailArgs,
    client: Client,
    token: Option<HeaderValue>,
    follower: Follower,
    last_id: LastId,
}

impl<'a> Tail<'a> {
    fn new(args: &'a TailArgs) -> anyhow::Result<Self> {
        let variable = std::env::var_os("CAMPANILE_TOKEN");
        let token = authorization(
            ("--token-file", args.token_file.as_deref()),
            ("CAMPANILE_TOKEN", variable.as_deref()),
        );
        let token = token.map_err(|error| anyhow!("{error}"))?;
        let client = args.url.client(args.ca.as_deref()).map_err(|error| anyhow!("{error}"))?;
        let client = client.read_timeout(SILENCE_LIMIT).build().context("cannot use TLS")?;
        let style = match (args.json, io::stdout().is_terminal()) {
            (true, _) => Style::Json,
            (false, true) => Style::Terminal,
            (false, false) => Style::Plain,
        };
        let last_id = LastId::default();
        Ok(Self { args, client, token, follower: Follower::new(style), last_id })
    }

    async fn follow(mut self) -> Ended {
        let mut looks = interval(LOOK_EVERY);
        loop {
            let ended = tokio::select! {
                ended = self.attempt() => ended,
                ended = unread(&mut looks) => Err(ended),
            };
            let why = match ended {
                Ok(Lost(why)) => why,
                Err(ended) => return ended,
            };
            let pause = self.follower.ended(rand::random());
            last_line(&format!("{why}; trying again in {:.1} s", pause.as_secs_f64()));
            tokio::select! {
                () = sleep(pause) => {}
                ended = unread(&mut looks) => return ended,
            }
        }
    }

    /// Connects once, and prints what comes.
    async fn attempt(&mut self) -> Result<Lost, Ended> {
        let lost = |error: &reqwest::Error| {
            Ok(Lost(match error.is_timeout() {
                true => format!("{} is silent", self.args.url),
                false => format!("no connection to {}: {}", self.args.url, causes(error)),
            }))
        };
        let mut response = match self.request().send().await {
            Ok(response) => response,
            Err(error) => return lost(&error),
        };
        if response.status() != StatusCode::OK {
            return refused(response).await;
        }
        let content_type = response.headers().get(CONTENT_TYPE);
        if content_type.is_none_or(|found| !found.as_bytes().starts_with(b"text/event-stream")) {
            let said = format!("{} does not answer with events: is this a gateway?", self.args.url);
            return Err(Ended::Refused(said));
        }
        let mut reader = Reader::default();
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => reader.feed(&bytes),
                Ok(None) => return Ok(Lost("the gateway has ended the stream".to_owned())),
                Err(error) if error.is_timeout() => return lost(&error),
                Err(error) => return Ok(Lost(format!("the stream broke: {}", causes(&error)))),
            }
            let unreadable = |error| Ended::Refused(format!("the stream cannot be read: {error}"));
            while let Some(block) = reader.next().map_err(unreadable)? {
                let mut last_id = self.last_id.lock().unwrap_or_else(PoisonError::into_inner);
                self.follower.take(block).into_iter().try_for_each(perform)?;
                *last_id = self.follower.last_id().map(str::to_owned);
            }
        }
    }

    fn request(&self) -> reqwest::RequestBuilder {
        let TailArgs { groups, since, last, url, .. } = self.args;
        let last = last.map(|last| last.to_string());
        let begin = match self.follower.last_id() {
            Some(_) => None,
            None => since.as_deref().map(|p| ("since", p)).or(last.as_deref().map(|n| ("last", n))),
        };
        let groups = groups.iter().map(|group| ("group", &**group));
        let request = self.client.get(url.at("events", groups.chain(begin)));
        let mut request = request.header(ACCEPT, "text/event-stream");
        if let Some(id) = self.follower.last_id() {
            request = request.header("Last-Event-ID", id);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        request
    }
}

/// An answer that is no stream: refused for good, or try again later.
async fn refused(response: Response) -> Result<Lost, Ended> {
    let status = response.status();
    let is_for_later = status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    let body = response.bytes().await.unwrap_or_default();
    let said = format!("{status}: {}", sentence(&body));
    if is_for_later { Ok(Lost(said)) } else { Err(Ended::Refused(said)) }
}

fn perform(effect: Effect) -> Result<(), Ended> {
    match effect {
        Effect::Print(mut line) => {
            line.push('\n');
            let mut output = io::stdout().lock();
            let printed = output.write_all(line.as_bytes()).and_then(|()| output.flush());
            printed.map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Ended::Unread,
                _ => Ended::Refused(format!("cannot write to standard output: {error}")),
            })
        }
        Effect::Say(sentence) => {
            last_line(&sentence);
            Ok(())
        }
        Effect::End(sentence) => Err(Ended::Refused(sentence)),
    }
}

/// Waits until nobody can read standard output any more.
async fn unread(looks: &mut tokio::time::Interval) -> Ended {
    loop {
        looks.tick().await;
        let output = io::stdout();
        let mut polled = [PollFd::new(&output, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut polled, Some(&at_once)).is_ok_and(|ready| ready > 0)
            && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
        {
            return Ended::Unread;
        }
    }
}
