//! What the kernel is asked for when the session starts.

use fuser::{InitFlags, KernelConfig};

/// 256 pages are the kernel's limit unless root raises it.
const MAX_WRITE: u32 = 1 << 20;
/// More calls for the same bytes cost a fast line something below this.
const LEAST_WRITE: u32 = 128 << 10;
/// Of the configured memory, what one write may bring at once: hundreds of programs that wait hold as much each.
const WRITE_SHARE: u64 = 1024;
/// Requests that read-ahead may have under way; the kernel counts no others.
const MAX_BACKGROUND: u16 = 64;

/// What a network filesystem wants; an older kernel does without.
const WANTED: &[InitFlags] = &[
    // A listing carries sizes and times: one round trip for names and attributes.
    InitFlags::FUSE_DO_READDIRPLUS,
    // Else lookups in one directory queue behind each other.
    InitFlags::FUSE_PARALLEL_DIROPS,
    // An overwrite must not look like open and truncate.
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    // Cached pages go when size or time changed at the other end.
    InitFlags::FUSE_AUTO_INVAL_DATA,
    InitFlags::FUSE_CACHE_SYMLINKS,
    // A handle (name_to_handle_at(2), NFS) opens also after the kernel has dropped what it knew: it looks `.` up.
    InitFlags::FUSE_EXPORT_SUPPORT,
    // Parts of one large O_DIRECT read at once.
    InitFlags::FUSE_ASYNC_DIO,
    // The kernel remembers that a file has no capabilities instead of asking before each write; in turn
    // set-user-id bits are ours to clear (`Vfs::drop_privileges`).
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
];

/// `memory`: the configured ceiling, in bytes.
pub(super) fn ask(config: &mut KernelConfig, memory: u64) {
    // Each answers with the nearest value it accepts, or with what the kernel lacks.
    let _ = config.set_max_write(max_write(memory));
    let _ = config.set_max_background(MAX_BACKGROUND);
    for &wanted in WANTED {
        let _ = config.add_capabilities(wanted);
    }
}

/// The most that one write brings, in bytes.
fn max_write(memory: u64) -> u32 {
    let share = u32::try_from(memory / WRITE_SHARE).unwrap_or(MAX_WRITE);
    share.clamp(LEAST_WRITE, MAX_WRITE).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_brings_no_more_than_fits_a_small_memory() {
        for (memory, write) in [
            (24, 128),
            (64, 128),
            (512, 512),
            (700, 1024),
            (1 << 20, 1024),
        ] {
            assert_eq!(max_write(memory << 20), write << 10, "{memory} MiB");
        }
    }

    /// fuser 0.18 offers these and does not honour them: SETXATTR_EXT panics its thread, ABORT_ERROR
    /// makes a clean end an error, and the kernel would own sizes with WRITEBACK_CACHE.
    #[test]
    fn nothing_is_asked_for_that_fuser_cannot_do() {
        let broken = InitFlags::FUSE_SETXATTR_EXT
            | InitFlags::FUSE_ABORT_ERROR
            | InitFlags::FUSE_SECURITY_CTX
            | InitFlags::FUSE_ALLOW_IDMAP
            | InitFlags::FUSE_SUBMOUNTS
            | InitFlags::FUSE_HAS_RESEND
            | InitFlags::FUSE_OVER_IO_URING
            | InitFlags::FUSE_REQUEST_TIMEOUT
            | InitFlags::FUSE_WRITEBACK_CACHE
            | InitFlags::FUSE_POSIX_LOCKS
            | InitFlags::FUSE_FLOCK_LOCKS;
        assert!(WANTED.iter().all(|wanted| !broken.intersects(*wanted)));
    }
}
