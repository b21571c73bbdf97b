//! The binary; what it does is in `lib.rs`.

mod allocator;

use std::process::ExitCode;

fn main() -> ExitCode {
    campanile::run()
}
