//! The steps of opening a data directory.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use fjall::PersistMode;
use tracing::warn;

use super::batch::Edit;
use super::directory::Directory;
use super::engine::Engine;
use super::journal::Journals;
use super::mark::StoreMark;
use super::rows::{self, Run, STATE_KEY, StoreState};
use super::{Recovered, StoreError};
use crate::broker::clock::{self, Kernel};

/// Makes the engine's files of a new directory, under another name until they are complete.
///
/// # Errors
/// See [`StoreError`].
pub fn make(directory: &Directory, epoch: u64, run: Run) -> Result<(), StoreError> {
    let dir = directory.path();
    let io = |error| StoreError::io(dir, error);
    let new = directory.new_store();
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let mut engine = Engine::open(dir, &new, 0)?;
    // The first run begins as if one before it had ended cleanly.
    let run = Run { clean: true, ..run };
    let (first, head, floor, next_worker, seen) = (1, 0, 0, 0, None);
    let state = StoreState { changes: 1, epoch, first, head, floor, next_worker, run, seen };
    let state = Edit::Put(STATE_KEY.to_vec(), rows::state_value(&state));
    engine.commit(vec![state], Some(PersistMode::SyncAll))?;
    drop(engine);
    fs::rename(&new, directory.store()).map_err(io)?;
    directory.sync().map_err(io)
}

/// Cuts off an unfinished write, and returns how many bytes that were.
///
/// # Errors
/// [`StoreError::Lost`] if it was acknowledged, [`StoreError::Damaged`] if that is not known. Nothing is
/// touched then.
pub fn cut_torn_end(
    dir: &Path,
    journals: &Journals,
    mark: Option<StoreMark>,
    boot: Option<u128>,
) -> Result<u64, StoreError> {
    let acknowledged = mark.map_or(0, |mark| mark.acknowledged(boot));
    if let Some(found) = journals.last_change
        && found < acknowledged
    {
        return Err(StoreError::Lost { dir: dir.to_owned(), found, acknowledged });
    }
    let Some(tail) = &journals.tail else {
        return Ok(0);
    };
    if mark.is_none() {
        let what = format!(
            "the journal {} is incomplete at byte {}, and the mark that would say whether that was \
             acknowledged is not valid",
            tail.path.display(),
            tail.from
        );
        return Err(StoreError::damaged(dir, what));
    }
    warn!(
        dir = %dir.display(),
        bytes = tail.len_bytes(),
        "the last broker did not finish its last write, which was not acknowledged and is cut off"
    );
    tail.cut().map_err(|error| StoreError::io(dir, error))?;
    Ok(tail.len_bytes())
}

/// Reads the state of the store.
///
/// # Errors
/// See [`StoreError`].
pub fn read_state(engine: &Engine, dir: &Path) -> Result<StoreState, StoreError> {
    let row = engine.row(&STATE_KEY)?.ok_or_else(|| StoreError::damaged(dir, "it has no state"))?;
    rows::state(&row).map_err(|_| StoreError::damaged(dir, "its state is invalid"))
}

/// Reads everything else, and checks that no event is missing.
///
/// # Errors
/// See [`StoreError`].
pub fn read(engine: &Engine, dir: &Path, state: &StoreState) -> Result<Recovered, StoreError> {
    let invalid = |what: &'static str| move |_| StoreError::damaged(dir, what);
    let mut recovered = Recovered {
        epoch: state.epoch,
        head: state.head,
        next_worker: state.next_worker,
        events: Vec::new(),
        ids: Vec::new(),
        trimmed: Vec::new(),
        floor: state.floor,
        torn_bytes: 0,
    };
    let mut next = state.first;
    engine.each_row(rows::event_keys(state.first), |key, value| {
        let record = rows::event(&key, &value).map_err(invalid("an event is invalid"))?;
        if record.sequence != next {
            return Err(StoreError::damaged(dir, format!("event {next} is missing")));
        }
        next += 1;
        recovered.events.push(record);
        Ok(())
    })?;
    if next != state.head + 1 {
        let what = format!("its events end before event {next}, but its state at {}", state.head);
        return Err(StoreError::damaged(dir, what));
    }
    engine.each_row(rows::id_keys(), |key, value| {
        let id = rows::id(&key, &value).map_err(invalid("an idempotency key is invalid"))?;
        recovered.ids.push(id);
        Ok(())
    })?;
    engine.each_row(rows::trimmed_keys(), |key, value| {
        let row = rows::trimmed(&key, &value).map_err(invalid("a trimmed audience is invalid"));
        recovered.trimmed.push(row?);
        Ok(())
    })?;
    Ok(recovered)
}

/// The time on the broker's clock. If no broker has noted it, it is the time of the newest event or key.
pub fn time(state: &StoreState, recovered: &Recovered, now: Kernel) -> Duration {
    let Some(seen) = state.seen else {
        let events = recovered.events.iter().map(|event| event.at);
        let ids = recovered.ids.iter().map(|id| id.at);
        return events.chain(ids).max().unwrap_or_default();
    };
    clock::resume(seen, state.run.boot, now)
}

/// A random epoch other than this one.
pub fn another(epoch: u64, mut random: impl FnMut() -> u64) -> u64 {
    loop {
        let drawn = random();
        if drawn != epoch {
            return drawn;
        }
    }
}

/// The id of this boot of the host; `None` if the system does not say.
pub fn boot() -> Option<u128> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
}
