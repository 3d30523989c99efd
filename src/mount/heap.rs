//! What the process takes of the machine's memory stays near what it uses.
//!
//! The budget counts bytes in use; what is given back to the C library stays with the process as long as something
//! lies behind it. So large buffers get pages of their own (mallopt(3)), all threads share a few heaps, and whole pages
//! that are free in the midst of these are given back when there are many of them (malloc_trim(3)).

use std::time::Duration;

use crate::io::Io;

/// From this size on, in bytes, a buffer has pages of its own, which go back as soon as it is freed.
#[cfg(target_env = "gnu")]
const OWN_PAGES: i32 = 256 << 10;
/// Heaps: with one, threads that list and threads that answer wait for each other; each more leaves more unused, which
/// a mount of little memory has no room for.
#[cfg(target_env = "gnu")]
const HEAPS: i32 = 2;
/// From this `memory` on, in bytes, there are so many heaps; else one.
const MUCH: u64 = 256 << 20;
/// As much as may be free at the end of the heap before it is given back, in bytes.
#[cfg(target_env = "gnu")]
const SPARE: i32 = 8 << 20;
/// How often it is looked whether there is much to give back.
const EVERY: Duration = Duration::from_millis(200);
/// The process may have so much more than is counted, in bytes, before pages are looked for, and again when it has
/// grown by so much.
const FREE: u64 = 16 << 20;
const GROWN: u64 = 8 << 20;

/// Sets the allocator up; before any other thread runs.
#[allow(unsafe_code)]
pub fn set_up() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets numbers inside the allocator; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, SPARE);
    }
}

/// Lets a mount of much memory, in bytes, have more heaps; before any other thread runs, after which the C library takes
/// no other number.
#[allow(unsafe_code)]
pub(super) fn suit(memory: u64) {
    if memory < MUCH {
        return;
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number inside the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}

/// Gives free pages back now and then, as long as the mount lives.
pub(super) async fn keep_small(io: Io) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut rest = 0;
    loop {
        ticks.tick().await;
        let Some(over) = resident().map(|all| all.saturating_sub(io.memory_used())) else {
            return;
        };
        rest = rest.min(over);
        if over < FREE.max(rest + GROWN) {
            continue;
        }
        let _ = tokio::task::spawn_blocking(trim).await;
        // What is left is in use, by the inode table say.
        rest = resident().map_or(over, |all| all.saturating_sub(io.memory_used()));
    }
}

/// What of the process is in the machine's memory, in bytes; `None` without /proc.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_size())
}

fn page_size() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().map_or(4096, |size| size as u64)
}

/// Gives free pages back.
#[allow(unsafe_code)]
fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time, by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_resident_is_told() {
        let all = resident().expect("there is /proc");
        assert!(all > 1 << 20 && all < 1 << 40, "{all}");
    }
}
