//! `campanile top`: the cluster on a terminal, refreshed each second.

mod numbers;
mod screen;
mod source;
mod table;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use rustix::termios::tcgetwinsize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::TopArgs;
use crate::logging::last_line;

use screen::{Size, picture};
use source::{NoAnswer, Seen, Source};

/// How often the picture changes.
const REFRESH: Duration = Duration::from_secs(1);

/// The terminal's other screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// The exit code of a process that was interrupted, as shells have it.
const INTERRUPTED: u8 = 130;

/// Why the tool ends.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// What was wanted is printed, or nobody reads it any more.
    Done,
    /// A signal.
    Interrupted,
    /// With this sentence.
    Refused(String),
}

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// One line of JSON per refresh.
    Json { once: bool },
    /// A picture that replaces the one before.
    Screen,
    /// One picture.
    Once,
}

/// Shows the cluster until the output is closed or a signal comes.
pub fn run(args: &TopArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.context("cannot start").and_then(|runtime| {
        let source = Source::new(args)?;
        let style = match (args.json, args.once, io::stdout().is_terminal()) {
            (true, once, _) => Style::Json { once },
            (false, false, true) => Style::Screen,
            (false, _, _) => Style::Once,
        };
        runtime.block_on(show(source, style))
    });
    match ended {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => ExitCode::from(INTERRUPTED),
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

async fn show(source: Source, style: Style) -> anyhow::Result<Ended> {
    let mut signals = Signals::new().context("cannot catch signals")?;
    if style != Style::Screen {
        return Ok(tokio::select! {
            () = signals.come() => Ended::Interrupted,
            ended = print(source, style) => ended,
        });
    }
    if write(ENTER).is_err() {
        return Ok(Ended::Done);
    }
    let ended = tokio::select! {
        () = signals.come() => Ended::Interrupted,
        ended = refresh(source) => ended,
    };
    // If the terminal is gone, there is nothing to restore.
    let _ = write(LEAVE);
    Ok(ended)
}

/// Prints to something that is not a terminal, or once.
async fn print(mut source: Source, style: Style) -> Ended {
    let mut ticks = ticks();
    let mut before: Option<Seen> = None;
    let mut complained = None;
    loop {
        ticks.tick().await;
        let is_last = matches!(style, Style::Json { once: true } | Style::Once);
        match source.look().await {
            Err(NoAnswer::Refused(sentence)) => return Ended::Refused(sentence),
            Err(NoAnswer::Away(sentence)) if is_last => return Ended::Refused(sentence),
            Err(NoAnswer::Away(sentence)) => {
                if complained.as_ref() != Some(&sentence) {
                    last_line(&sentence);
                }
                complained = Some(sentence);
            }
            Ok(seen) => {
                complained = None;
                let text = match (style, &before) {
                    (Style::Json { .. }, _) => seen.json() + "\n",
                    // Rates need two looks.
                    (_, None) => {
                        before = Some(seen);
                        continue;
                    }
                    (_, Some(_)) => picture(source.url(), before.as_ref(), &seen, None),
                };
                if write(&text).is_err() || is_last {
                    return Ended::Done;
                }
            }
        }
    }
}

/// Refreshes a terminal until it is gone.
async fn refresh(mut source: Source) -> Ended {
    let mut ticks = ticks();
    let (mut before, mut last): (Option<Seen>, Option<Seen>) = (None, None);
    loop {
        ticks.tick().await;
        let away = match source.look().await {
            Err(NoAnswer::Refused(sentence)) => return Ended::Refused(sentence),
            Err(NoAnswer::Away(sentence)) => Some(sentence),
            Ok(seen) => {
                before = last.replace(seen);
                None
            }
        };
        let size = size();
        let mut text = String::new();
        if let Some(sentence) = &away {
            let since = if last.is_some() { "; below is what was last known" } else { "" };
            text.push_str(&table::cut(&format!("NO ANSWER: {sentence}{since}"), size.columns));
            text.push('\n');
        }
        if let Some(seen) = &last {
            let rows = size.rows.saturating_sub(usize::from(away.is_some()));
            let size = Size { rows, ..size };
            text += &picture(source.url(), before.as_ref(), seen, Some(size));
        }
        if write(&redrawn(&text)).is_err() {
            return Ended::Done;
        }
    }
}

/// A picture in place of the one before: from the top left corner, each line up to its end.
fn redrawn(text: &str) -> String {
    let mut drawn = "\x1b[H".to_owned();
    for (number, line) in text.lines().enumerate() {
        let newline = if number > 0 { "\r\n" } else { "" };
        let _ = write!(drawn, "{newline}{line}\x1b[K");
    }
    drawn + "\x1b[J"
}

fn size() -> Size {
    let size = tcgetwinsize(io::stdout()).ok();
    let known = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    known.map_or(Size { columns: 80, rows: 24 }, |size| Size {
        columns: size.ws_col.into(),
        rows: size.ws_row.into(),
    })
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// The signals that end the tool in order, so that the terminal is as it was.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn come(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_leaves_nothing_of_the_one_before() {
        assert_eq!(redrawn("a\nb\n"), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
        assert_eq!(redrawn(""), "\x1b[H\x1b[J");
    }
}
