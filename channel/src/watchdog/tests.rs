use std::future::pending;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

use super::*;

/// Short enough that five of them pass quickly, and long enough that twenty beats do not fail on a busy
/// machine.
const SHORT: Duration = Duration::from_millis(50);

const DEADLINE: Duration = Duration::from_secs(30);

fn start() -> (Watchdog, Receiver<String>) {
    let (ended, end) = mpsc::channel();
    let end_with = move |line: &str| drop(ended.send(line.to_owned()));
    (Watchdog::with_turns_of(SHORT, end_with).unwrap(), end)
}

#[test]
fn a_thread_that_stops_beating_is_named() {
    let (watchdog, end) = start();
    let (hung, other) = (watchdog.watch("a"), watchdog.watch("b"));
    hung.beat();
    let line = loop {
        other.beat();
        match end.recv_timeout(SHORT / 10) {
            Ok(line) => break line,
            Err(RecvTimeoutError::Timeout) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert!(line.starts_with("a has not answered for 5 s"), "{line}");
}

#[test]
fn only_pulses_that_should_beat_are_named() {
    let (watchdog, end) = start();
    let (dropped, waiting) = (watchdog.watch("dropped"), watchdog.watch("waiting"));
    let neighbour = watchdog.watch("neighbour");
    neighbour.beat();
    drop(dropped);
    let wait = waiting.enter_kernel();
    end.recv_timeout(SHORT * 20).unwrap_err();
    drop(wait);
    let line = end.recv_timeout(DEADLINE).unwrap();
    assert!(line.starts_with("waiting and neighbour have not answered"), "{line}");
}

#[test]
fn a_panic_ends_the_process_with_a_name() {
    let (watchdog, end) = start();
    let pulse = watchdog.watch("the writer");
    let panics = move || {
        let _pulse = pulse;
        panic!("on purpose");
    };
    thread::spawn(panics).join().unwrap_err();
    let line = end.recv_timeout(DEADLINE).unwrap();
    assert!(line.starts_with("the writer panicked, so this process ends"), "{line}");
}

#[test]
fn the_thread_ends_with_the_last_pulse() {
    let (watchdog, end) = start();
    let pulse = watchdog.clone().watch("a");
    drop(watchdog);
    pulse.beat();
    drop(pulse);
    assert_eq!(end.recv_timeout(DEADLINE), Err(RecvTimeoutError::Disconnected));
}

struct Watched(Watchdog);

impl Actor for Watched {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        attend(ctx, self.0.watch("actor"));
    }
}

#[derive(Message)]
#[rtype(result = "()")]
enum Do {
    Wait,
    Panic,
}

impl Handler<Do> for Watched {
    type Result = ();

    fn handle(&mut self, what: Do, ctx: &mut Self::Context) {
        match what {
            Do::Wait => ctx.wait(actix::fut::wrap_future(pending::<()>())),
            Do::Panic => panic!("on purpose"),
        }
    }
}

/// Turns have their real length here, because an actor beats twice in one.
#[actix::test]
async fn an_actor_beats_until_it_waits_or_panics() {
    let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
    let watchdog = Watchdog::start(move |line| drop(ended.send(line.to_owned()))).unwrap();
    let actor = Watched(watchdog.clone()).start();
    let well = tokio::time::timeout(TURN * 7, end.recv()).await;
    assert!(well.is_err(), "{well:?}");
    actor.do_send(Do::Wait);
    let line = tokio::time::timeout(DEADLINE, end.recv()).await.unwrap().unwrap();
    assert!(line.starts_with("actor has not answered for 5 s"), "{line}");

    Watched(watchdog).start().do_send(Do::Panic);
    let line = tokio::time::timeout(DEADLINE, end.recv()).await.unwrap().unwrap();
    assert!(line.starts_with("actor panicked, so this process ends"), "{line}");
}

#[actix::test]
async fn the_beats_do_not_keep_an_actor_alive() {
    let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
    // Dropped together with the last pulse, so with the actor.
    let end_with = move |line: &str| drop(ended.send(line.to_owned()));
    drop(Watched(Watchdog::start(end_with).unwrap()).start());
    let line = tokio::time::timeout(DEADLINE, end.recv()).await.unwrap();
    assert_eq!(line, None);
}

#[actix::test]
async fn a_task_beats_during_a_wait() {
    let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
    let watchdog = Watchdog::start(move |line| drop(ended.send(line.to_owned()))).unwrap();
    let pulse = watchdog.watch("task");
    let line = tokio::time::timeout(TURN * 7, pulse.during(end.recv())).await;
    assert!(line.is_err(), "{line:?}");
}

#[test]
fn without_a_watchdog_a_pulse_does_nothing() {
    let pulse = Watchdog::none().watch("a");
    pulse.beat();
    drop(pulse.enter_kernel());
    assert_eq!(Watchdog::none(), Watchdog::default());
}
