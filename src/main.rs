//! The `b2fuse` command: parse, run, exit code.

fn main() -> std::process::ExitCode {
    one_heap();
    b2fuse::cli::main()
}

/// Lets all threads share one heap. With a heap for each, as glibc would have it, blocks that one thread
/// has freed stay with its heap, and the process outgrows the configured memory by more than it may.
#[allow(unsafe_code)]
fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number inside the allocator; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
