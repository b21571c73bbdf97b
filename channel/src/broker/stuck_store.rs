//! For tests: a store whose disk can get stuck.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use super::record::Changes;
use super::store::StoreError;
use super::writer::DurableStore;

/// Holds every call into the store while it is shut.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    is_shut: bool,
    calls: Vec<&'static str>,
}

impl Gate {
    /// Lets no call through from now on.
    pub fn shut(&self) {
        self.0.0.lock().unwrap().is_shut = true;
    }

    /// Lets all calls through.
    pub fn open(&self) {
        self.0.0.lock().unwrap().is_shut = false;
        self.0.1.notify_all();
    }

    /// The names of all calls so far.
    pub fn calls(&self) -> Vec<&'static str> {
        self.0.0.lock().unwrap().calls.clone()
    }

    fn pass(&self, call: &'static str) {
        let mut state = self.0.0.lock().unwrap();
        state.calls.push(call);
        drop(self.0.1.wait_while(state, |state| state.is_shut).unwrap());
    }
}

/// A store that keeps nothing but the head.
#[derive(Debug, Default)]
pub struct StuckStore {
    gate: Gate,
    head: u64,
}

impl StuckStore {
    /// A store whose calls wait at this gate.
    pub fn new(gate: &Gate) -> Self {
        Self { gate: gate.clone(), head: 0 }
    }
}

impl DurableStore for StuckStore {
    fn dir(&self) -> &Path {
        Path::new("stuck")
    }

    fn head(&self) -> u64 {
        self.head
    }

    fn write(&mut self, changes: &[Changes]) -> Result<(), StoreError> {
        self.gate.pass("write");
        let last = changes.iter().filter_map(|changes| changes.events.last()).next_back();
        self.head = last.map_or(self.head, |record| record.sequence);
        Ok(())
    }

    fn set_next_worker(&mut self, _: u64) -> Result<(), StoreError> {
        self.gate.pass("set_next_worker");
        Ok(())
    }

    fn set_epoch(&mut self, _: u64) -> Result<(), StoreError> {
        self.gate.pass("set_epoch");
        Ok(())
    }

    fn note_time(&mut self) -> Result<(), StoreError> {
        self.gate.pass("note_time");
        Ok(())
    }

    fn close(self) -> Result<(), StoreError> {
        self.gate.pass("close");
        Ok(())
    }
}
