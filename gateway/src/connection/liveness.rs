//! Decides whether a client is still there. Pure.

use std::time::{Duration, Instant};

/// What to do about a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it sent something recently, or still has time to answer a ping.
    Fine,
    /// It has sent nothing for a while: send a ping.
    Ask,
    /// It has sent nothing for too long: close it.
    Gone,
}

/// How long a client may be silent.
#[derive(Debug, Clone, Copy)]
pub struct Liveness {
    /// How long a client may be silent before it gets a ping.
    pub ping_after: Duration,
    /// How long a client may be silent before it is given up.
    pub silence_limit: Duration,
}

impl Liveness {
    /// Decides by the times when the client was last `heard` and when it was last `asked` with a ping.
    /// A call that comes late, after the process was stopped, asks before it gives a client up.
    pub fn judge(self, now: Instant, heard: Instant, asked: Option<Instant>) -> Verdict {
        let silence = now.saturating_duration_since(heard);
        let is_asked = asked.is_some_and(|asked| asked >= heard);
        let had_time = asked.is_some_and(|asked| {
            now.saturating_duration_since(asked)
                >= self.silence_limit.saturating_sub(self.ping_after)
        });
        if silence >= self.silence_limit && is_asked && had_time {
            Verdict::Gone
        } else if silence >= self.ping_after && !is_asked {
            Verdict::Ask
        } else {
            Verdict::Fine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_client_is_asked_once_and_then_closed() {
        let second = Duration::from_secs(1);
        let liveness = Liveness { ping_after: 25 * second, silence_limit: 60 * second };
        let heard = Instant::now();
        let judge = |after: u32, asked: Option<u32>| {
            liveness.judge(heard + after * second, heard, asked.map(|asked| heard + asked * second))
        };
        assert_eq!(judge(24, None), Verdict::Fine);
        assert_eq!(judge(25, None), Verdict::Ask);
        assert_eq!(judge(59, Some(25)), Verdict::Fine);
        assert_eq!(judge(60, Some(25)), Verdict::Gone);
        assert_eq!(judge(100, None), Verdict::Ask, "never asked, so it had no chance to answer");
        assert_eq!(judge(134, Some(100)), Verdict::Fine);
        assert_eq!(judge(135, Some(100)), Verdict::Gone);
    }

    #[test]
    fn an_answer_ends_the_silence() {
        let second = Duration::from_secs(1);
        let liveness = Liveness { ping_after: 25 * second, silence_limit: 60 * second };
        let asked = Instant::now();
        let heard = asked + second;
        assert_eq!(liveness.judge(heard + 24 * second, heard, Some(asked)), Verdict::Fine);
        assert_eq!(liveness.judge(heard + 25 * second, heard, Some(asked)), Verdict::Ask);
    }
}
