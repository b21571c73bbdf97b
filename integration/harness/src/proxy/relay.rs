//! One connection through a [`Proxy`](super::Proxy).

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::mode::{End, Mode, Towards};

/// Long enough for the first part to be read by itself.
const SPLIT_PAUSE: Duration = Duration::from_millis(20);

/// One direction. It outlives a change of the mode, so that no byte is lost by it.
#[derive(Default)]
struct Flow {
    /// Read and not yet written.
    waiting: Vec<u8>,
    /// How many of the bytes that the mode names are left.
    left: usize,
    /// Bytes were swallowed, or the end of the side was: nothing may pass any more.
    has_hole: bool,
    has_ended: bool,
}

/// Why a direction ends: the connection is to be cut in this way.
struct Stop(End);

impl From<std::io::Error> for Stop {
    fn from(_: std::io::Error) -> Self {
        Self(End::Reset)
    }
}

/// Passes bytes between two sides in the ordered mode, up to the end of both.
pub async fn relay(
    mut client: TcpStream,
    mut target: TcpStream,
    mut ordered: watch::Receiver<Mode>,
) {
    let _ = client.set_nodelay(true).and(target.set_nodelay(true));
    let (mut up, mut down) = (Flow::default(), Flow::default());
    loop {
        let mode = *ordered.borrow_and_update();
        if let Mode::Cut(end) = mode {
            return cut(client, target, end, ordered).await;
        }
        if let Mode::SplitAt(_, bytes) | Mode::Truncate(_, bytes, _) = mode {
            (up.left, down.left) = (bytes, bytes);
        }
        let ended = {
            let (mut from_client, mut to_client) = client.split();
            let (mut from_target, mut to_target) = target.split();
            let pumps = async {
                tokio::try_join!(
                    pump(&mut from_client, &mut to_target, &mut up, mode, Towards::Target),
                    pump(&mut from_target, &mut to_client, &mut down, mode, Towards::Client),
                )
            };
            tokio::select! {
                biased;
                changed = ordered.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => Err(Stop(End::Reset)),
                },
                ended = pumps => ended,
            }
        };
        return match ended {
            Ok(_) => (),
            Err(Stop(end)) => cut(client, target, end, ordered).await,
        };
    }
}

/// Passes one direction up to its end. May be dropped and called again at any time.
async fn pump(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    flow: &mut Flow,
    mode: Mode,
    towards: Towards,
) -> Result<(), Stop> {
    while !flow.has_ended {
        match mode {
            Mode::Swallow => {
                flow.has_hole = true;
                flow.waiting.clear();
                // Neither an end nor a reset passes.
                if !matches!(from.read_buf(&mut flow.waiting).await, Ok(1..)) {
                    std::future::pending::<()>().await;
                }
                continue;
            }
            _ if flow.has_hole => return Err(Stop(End::Reset)),
            Mode::Hold => std::future::pending().await,
            Mode::Truncate(at, _, end) if at == towards && flow.left == 0 => return Err(Stop(end)),
            _ => {}
        }
        if flow.waiting.is_empty() && from.read_buf(&mut flow.waiting).await? == 0 {
            to.shutdown().await?;
            flow.has_ended = true;
            break;
        }
        let waiting = flow.waiting.len();
        let len = match mode {
            Mode::Delay(delay) => {
                tokio::time::sleep(delay).await;
                waiting
            }
            Mode::Split => 1,
            Mode::SplitAt(at, _) if at == towards && flow.left > 0 => waiting.min(flow.left),
            Mode::Truncate(at, ..) if at == towards => waiting.min(flow.left),
            _ => waiting,
        };
        let written = to.write(&flow.waiting[..len]).await?;
        flow.waiting.drain(..written);
        let was_left = flow.left;
        flow.left = was_left.saturating_sub(written);
        if matches!(mode, Mode::SplitAt(at, _) if at == towards) && was_left > 0 && flow.left == 0 {
            tokio::time::sleep(SPLIT_PAUSE).await;
        }
    }
    Ok(())
}

async fn cut(
    mut client: TcpStream,
    mut target: TcpStream,
    end: End,
    ordered: watch::Receiver<Mode>,
) {
    match end {
        End::Fin => {
            let _ = client.shutdown().await;
            let _ = target.shutdown().await;
        }
        End::Reset => {
            reset(client);
            reset(target);
        }
        End::HalfOpen => {
            reset(client);
            swallow(target, ordered).await;
        }
    }
}

/// Reads everything from one side, up to its end or until the connection is to be cut.
pub async fn swallow(mut side: TcpStream, mut ordered: watch::Receiver<Mode>) {
    ordered.mark_unchanged();
    let cut = async {
        while ordered.changed().await.is_ok() {
            if matches!(*ordered.borrow_and_update(), Mode::Cut(_)) {
                break;
            }
        }
    };
    let discard = async {
        let mut bytes = vec![0; 16 << 10];
        while matches!(side.read(&mut bytes).await, Ok(1..)) {}
    };
    tokio::select! {
        () = cut => {}
        () = discard => {}
    }
    reset(side);
}

/// Resets a connection.
pub fn reset(side: TcpStream) {
    // It may have been reset by the other side.
    let _ = side.set_zero_linger();
}
