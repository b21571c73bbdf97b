//! The allocator: jemalloc, which gives free memory back by itself within two seconds. Where the platform
//! allows it, C code uses it as well: the keys of TLS connections are allocated by aws-lc.
//!
//! After 15,000 clients had come and left, a gateway kept 1.1 times the memory that it had before. With
//! mimalloc it was 2.6 times by default, and 1.3 times at best. With the allocator of glibc it was 1.5
//! times after 2,000 clients, and memory grew page by page when they came. `campanile bench --only
//! idle,storm` measures this.

#![allow(unsafe_code)] // The name of a symbol that C looks for.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What jemalloc reads at its start. A thread of its own gives free memory back after a second, even if
/// nobody allocates any more; two arenas are enough for a few threads.
// SAFETY: the name is jemalloc's own, for a pointer to a string that ends with a zero. It has a prefix
// where jemalloc does not replace `malloc`.
#[cfg_attr(
    any(target_vendor = "apple", target_os = "android", target_os = "dragonfly"),
    unsafe(export_name = "_rjem_malloc_conf")
)]
#[cfg_attr(
    not(any(target_vendor = "apple", target_os = "android", target_os = "dragonfly")),
    unsafe(export_name = "malloc_conf")
)]
pub static CONFIGURATION: &[u8; 70] =
    b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:2\0";
