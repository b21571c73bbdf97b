//! What is watched, what has beaten lately, and the last line if something has not. Pure: the watchdog's
//! thread asks once per turn.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// The intended length of a turn.
pub const TURN: Duration = Duration::from_secs(1);

/// After this many turns without a beat, something counts as hung.
const MAX_TURNS: u32 = 5;

/// After this many turns without a beat, something is late. Some beat once per turn, so one turn without a
/// beat means nothing.
const LATE_TURNS: u32 = 2;

/// How many hung ones the last line names. The others are counted.
const MAX_NAMES: usize = 4;

/// Identifies something that is watched.
pub type Key = u64;

/// What something that is watched did during the last turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It has beaten.
    Beat,
    /// It waits in the kernel, or something else on its thread does. This may take any time and is not a
    /// fault.
    InKernel,
    /// It has not beaten.
    Nothing {
        /// How long its thread was ready to run, but got no CPU.
        starved: Duration,
    },
}

/// Everything that is watched.
#[derive(Debug, Default)]
pub struct Core {
    watched: BTreeMap<Key, Watched>,
    next: Key,
    late_turns: u64,
}

#[derive(Debug)]
struct Watched {
    name: Cow<'static, str>,
    /// How long it has not beaten, not counting the time for which it got no CPU.
    silent: Duration,
    /// How many turns it has not beaten in a row.
    missed: u32,
    is_reported: bool,
}

impl Core {
    /// Watches one more from the next turn on.
    pub fn watch(&mut self, name: Cow<'static, str>) -> Key {
        let key = self.next;
        self.next += 1;
        self.watched
            .insert(key, Watched { name, silent: Duration::ZERO, missed: 0, is_reported: false });
        key
    }

    pub fn forget(&mut self, key: Key) {
        self.watched.remove(&key);
    }

    /// One turn has passed, however long it took. If something has not beaten for [`MAX_TURNS`] turns,
    /// returns the last line of the process; each is reported only once. The line also names what is one
    /// turn short of that, because a task that waits for a hung actor may have beaten last a little
    /// before the actor did, or after it.
    ///
    /// A turn counts as [`TURN`] at most, minus the time for which the thread got no CPU. So a process
    /// that was stopped, or that gets hardly any CPU time, does not count as hung. An endless loop is
    /// found even then, only later.
    pub fn turn(&mut self, mut seen: impl FnMut(Key) -> Seen) -> Option<String> {
        let (mut is_over, mut is_late) = (false, false);
        for (key, watched) in &mut self.watched {
            match seen(*key) {
                Seen::Beat | Seen::InKernel => {
                    (watched.silent, watched.missed) = (Duration::ZERO, 0);
                }
                Seen::Nothing { starved } => {
                    watched.silent += TURN.saturating_sub(starved);
                    watched.missed += 1;
                }
            }
            is_late |= watched.missed >= LATE_TURNS;
            is_over |= watched.silent >= TURN * MAX_TURNS && !watched.is_reported;
        }
        self.late_turns += u64::from(is_late);
        let suspects = self.watched.values_mut().filter(|watched| {
            is_over && watched.silent >= TURN * (MAX_TURNS - 1) && !watched.is_reported
        });
        let hung: Vec<_> = suspects
            .map(|watched| {
                watched.is_reported = true;
                watched.name.as_ref()
            })
            .collect();
        has_hung(&hung)
    }

    /// In how many turns something had not beaten for [`LATE_TURNS`], for whatever reason.
    pub fn late_turns(&self) -> u64 {
        self.late_turns
    }

    /// The names of everything that is watched, in the order in which it came.
    #[cfg(any(test, feature = "sabotage"))]
    pub fn names(&self) -> impl Iterator<Item = (Key, &str)> {
        self.watched.iter().map(|(key, watched)| (*key, watched.name.as_ref()))
    }
}

/// How every last line ends.
const SO: &str = "so this process ends: a supervisor restarts it and clients resume";

/// The last line of a process in which these have hung; `None` if there are none.
fn has_hung(names: &[&str]) -> Option<String> {
    let (last, others) = names.split_last()?;
    let seconds = (TURN * MAX_TURNS).as_secs();
    let said = if others.is_empty() {
        format!("{last} has")
    } else if names.len() <= MAX_NAMES {
        format!("{} and {last} have", others.join(", "))
    } else {
        let (named, more) = names.split_at(MAX_NAMES);
        format!("{} and {} more have", named.join(", "), more.len())
    };
    Some(format!("{said} not answered for {seconds} s, {SO}"))
}

/// The last line of a process in which this has panicked.
pub fn has_panicked(name: &str) -> String {
    format!("{name} panicked, {SO}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Seen = Seen::Nothing { starved: Duration::ZERO };

    fn watch<const N: usize>(names: [&'static str; N]) -> (Core, [Key; N]) {
        let mut core = Core::default();
        let keys = names.map(|name| core.watch(name.into()));
        (core, keys)
    }

    /// Lets all do the same for a number of turns. Returns the last line, and the turn in which it came.
    fn turns(core: &mut Core, turns: u32, seen: Seen) -> Option<(u32, String)> {
        (1..=turns).find_map(|turn| core.turn(|_| seen).map(|line| (turn, line)))
    }

    #[test]
    fn five_turns_without_a_beat_end_the_process_with_a_name() {
        let (mut core, _) = watch(["registry 1"]);
        let line = "registry 1 has not answered for 5 s, so this process ends: a supervisor \
                    restarts it and clients resume";
        assert_eq!(turns(&mut core, 20, SILENT), Some((5, line.to_owned())));
        assert_eq!(turns(&mut core, 20, SILENT), None, "it is reported once");
    }

    #[test]
    fn a_turn_is_late_when_something_was_silent_for_two() {
        let (mut core, [a, _]) = watch(["a", "b"]);
        let starved = Seen::Nothing { starved: TURN };
        for (seen, late) in
            [(SILENT, 0), (Seen::Beat, 0), (SILENT, 0), (starved, 1), (SILENT, 2), (Seen::Beat, 2)]
        {
            core.turn(|key| if key == a { seen } else { Seen::InKernel });
            assert_eq!(core.late_turns(), late);
        }
    }

    #[test]
    fn one_beat_in_five_turns_is_enough() {
        let (mut core, [a]) = watch(["a"]);
        for turn in 1..=100 {
            let seen = if turn % 5 == 0 { Seen::Beat } else { SILENT };
            assert_eq!(
                core.turn(|key| {
                    assert_eq!(key, a);
                    seen
                }),
                None,
                "turn {turn}"
            );
        }
        assert!(turns(&mut core, 5, SILENT).is_some());
    }

    #[test]
    fn a_wait_in_the_kernel_does_not_count_as_hung() {
        let (mut core, _) = watch(["writer"]);
        assert_eq!(turns(&mut core, 4, SILENT), None);
        assert_eq!(turns(&mut core, 1_000, Seen::InKernel), None);
        assert_eq!(turns(&mut core, 20, SILENT).map(|(turn, _)| turn), Some(5));
    }

    #[test]
    fn a_turn_counts_less_without_a_cpu() {
        let starved = |millis| Seen::Nothing { starved: Duration::from_millis(millis) };
        let (mut core, _) = watch(["busy"]);
        assert_eq!(turns(&mut core, 1_000, starved(1_000)), None);
        assert_eq!(turns(&mut core, 1_000, starved(30_000)), None);
        assert_eq!(turns(&mut core, 1_000, starved(900)).map(|(turn, _)| turn), Some(50));
    }

    #[test]
    fn only_what_is_watched_now_has_to_beat() {
        let (mut core, [a]) = watch(["a"]);
        assert_eq!(turns(&mut core, 4, SILENT), None);
        core.forget(a);
        core.watch("b".into());
        assert_eq!(core.names().map(|(_, name)| name).collect::<Vec<_>>(), ["b"]);
        let (turn, line) = turns(&mut core, 20, SILENT).unwrap();
        assert!(turn == 5 && line.starts_with("b has"), "{turn} {line}");
    }

    #[test]
    fn a_task_is_named_together_with_its_hung_actor() {
        let (mut core, [_, link]) = watch(["broker", "link"]);
        assert_eq!(core.turn(|key| if key == link { SILENT } else { Seen::Beat }), None);
        let (turn, line) = turns(&mut core, 20, SILENT).unwrap();
        assert!(turn == 4 && line.starts_with("broker and link have not"), "{turn} {line}");
        assert_eq!(turns(&mut core, 20, SILENT), None);
    }

    #[test]
    fn several_are_named_together_and_many_are_counted() {
        let said = |names: &[&'static str]| {
            let mut core = Core::default();
            for name in names {
                core.watch((*name).into());
            }
            turns(&mut core, 5, SILENT).unwrap().1
        };
        assert!(said(&["a", "b"]).starts_with("a and b have not answered"));
        assert!(said(&["a", "b", "c", "d"]).starts_with("a, b, c and d have not answered"));
        assert!(
            said(&["a", "b", "c", "d", "e", "f"]).starts_with("a, b, c, d and 2 more have not")
        );
    }

    #[test]
    fn only_the_silent_one_of_several_is_named() {
        let (mut core, [_, b, _]) = watch(["a", "b", "c"]);
        let line = (0..5).find_map(|_| core.turn(|key| if key == b { SILENT } else { Seen::Beat }));
        assert!(line.unwrap().starts_with("b has not answered for 5 s"));
    }
}
