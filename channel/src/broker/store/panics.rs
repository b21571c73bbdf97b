//! Panics of the storage engine, with which it answers to some damage.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls the engine. If it panics, the message of the panic is the error.
pub fn contained<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("the storage engine has panicked: {}", text.unwrap_or_default())
    })
}
