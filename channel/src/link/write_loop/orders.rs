//! Every order of up to eight steps in which a link's writer and those who queue for it can meet, with
//! a waker that counts. No order may leave the writer asleep while there is something to do.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Bytes, BytesMut};
use campanile_messages::{Address, ConnectionId, ContentKind, ToBroker, WorkerId};

use super::super::outbound::LinkPhase;
use super::*;

const STEPS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The executor polls the writer, if it was woken.
    Run,
    /// A frame is queued, in one of three ways in turn.
    Add,
    Finish,
    Cut,
    /// The socket stops accepting bytes, or accepts some again.
    Turn,
}

const ALL: [Step; 5] = [Step::Run, Step::Add, Step::Finish, Step::Cut, Step::Turn];

/// A socket that accepts a few bytes at a time, or none.
#[derive(Debug, Clone, Default)]
struct Pipe(Rc<RefCell<PipeState>>);

#[derive(Debug, Default)]
struct PipeState {
    is_shut: bool,
    waker: Option<Waker>,
    written: Vec<u8>,
}

impl Pipe {
    fn turn(&self) {
        let mut state = self.0.borrow_mut();
        state.is_shut = !state.is_shut;
        if !state.is_shut
            && let Some(waker) = state.waker.take()
        {
            waker.wake();
        }
    }
}

impl WriteSide for Pipe {
    async fn writable(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            let mut state = self.0.borrow_mut();
            if state.is_shut {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        if state.is_shut {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).take(7).collect();
        state.written.extend_from_slice(&taken);
        Ok(taken.len())
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Queues a frame in one of three ways, and adds its bytes to `expected`.
fn add(outbound: &Outbound, way: usize, expected: &mut Vec<u8>) {
    let to = Address { worker: WorkerId(3), connection: ConnectionId(7) };
    let head = ToBroker::Direct { number: way as u64, to, content: ContentKind::Binary };
    let content = Bytes::from_static(b"x");
    let mut bytes = BytesMut::new();
    head.encode_to(&content, &mut bytes);
    let frame = EncodedFrame { head: bytes.freeze(), content: None };
    expected.extend_from_slice(&frame.head);
    match way % 3 {
        0 => outbound.send(&frame).unwrap(),
        1 => outbound.force(&frame),
        _ => outbound.sending().send(None, &head, &content).unwrap(),
    }
}

/// Takes these steps; the error says what is wrong after them.
fn try_steps(steps: &[Step], first_way: usize) -> Result<(), String> {
    let (outbound, pipe) = (Outbound::new(usize::MAX), Pipe::default());
    let heartbeat = ToBroker::Heartbeat.encode();
    let mut writer = pin!(write_to(pipe.clone(), outbound.clone(), heartbeat));
    let count = Arc::new(Count(AtomicUsize::new(1)));
    let waker = Waker::from(count.clone());
    let mut result = None;
    let mut run = |result: &mut Option<Result<(), LinkError>>| {
        // An executor polls a woken task once, however often it was woken.
        let is_woken = count.0.swap(0, Ordering::Relaxed) > 0;
        if is_woken
            && result.is_none()
            && let Poll::Ready(ended) = writer.as_mut().poll(&mut Context::from_waker(&waker))
        {
            *result = Some(ended);
        }
        is_woken
    };
    let (mut expected, mut way, mut phase) = (Vec::new(), first_way, LinkPhase::Open);
    for step in steps {
        match step {
            Step::Run => {
                run(&mut result);
            }
            Step::Add => {
                let mut dropped = Vec::new();
                let is_open = phase == LinkPhase::Open;
                add(&outbound, way, if is_open { &mut expected } else { &mut dropped });
                way += 1;
            }
            Step::Finish => {
                outbound.finish();
                phase = if phase == LinkPhase::Cut { phase } else { LinkPhase::Finishing };
            }
            Step::Cut => {
                outbound.cut();
                phase = LinkPhase::Cut;
            }
            Step::Turn => pipe.turn(),
        }
    }
    // From here on only the executor does anything, and at the end the socket.
    for _ in 0..2 {
        for turn in 0.. {
            if !run(&mut result) {
                break;
            }
            if turn > 20 {
                return Err("the writer wakes itself forever".to_owned());
            }
        }
        let is_shut = pipe.0.borrow().is_shut;
        let is_all_written = pipe.0.borrow().written == expected;
        match (&result, phase) {
            (Some(Err(LinkError::Cut)), LinkPhase::Cut) => return Ok(()),
            // It finished before it was cut.
            (Some(Ok(())), LinkPhase::Finishing | LinkPhase::Cut) if is_all_written => {
                return Ok(());
            }
            (None, LinkPhase::Open) if is_shut || is_all_written => {}
            (None, LinkPhase::Finishing) if is_shut && !is_all_written => {}
            (result, phase) => {
                let written = pipe.0.borrow().written.len();
                let of = expected.len();
                return Err(format!("{result:?} in {phase:?}, {written} of {of} bytes written"));
            }
        }
        if is_shut {
            pipe.turn();
        }
    }
    Ok(())
}

#[test]
fn no_order_of_eight_steps_leaves_the_writer_asleep() {
    // Nobody runs it, so its time stands still and no heartbeat wakes the writer.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _in_runtime = runtime.enter();
    let mut steps = [Step::Run; STEPS];
    for order in 0..ALL.len().pow(STEPS as u32) {
        let mut rest = order;
        for step in &mut steps {
            *step = ALL[rest % ALL.len()];
            rest /= ALL.len();
        }
        if let Err(wrong) = try_steps(&steps, order) {
            panic!("{wrong} after {steps:?}");
        }
    }
}
