//! Whether a name is looked up because somebody creates it.
//!
//! Linux looks a name up before it creates it, and says nothing of the flags; where it is there, O_EXCL fails without
//! another request. A virtual hash file would so be in the way of `cp -r`, git and others that copy a tree with `.sha1`
//! files of its own. The calling thread waits in its call meanwhile, and /proc/TID/syscall (proc(5)) shows that.

/// Whether a thread waits in a call that creates a file and fails if there is one. Unknown is no: of a thread in another
/// namespace, say, or of one that may not be looked at.
pub(super) fn creates(tid: u32) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{tid}/syscall"));
    call.is_ok_and(|call| is_exclusive(&call))
}

/// The number of the call, then its arguments in hexadecimal.
fn is_exclusive(call: &str) -> bool {
    const WANTED: u64 = (libc::O_CREAT | libc::O_EXCL) as u64;
    let mut words = call.split_ascii_whitespace();
    let number = words.next().and_then(|number| number.parse().ok());
    let place = match number {
        Some(libc::SYS_openat) => 2,
        #[cfg(target_arch = "x86_64")]
        Some(libc::SYS_open) => 1,
        _ => return false,
    };
    let flags = words.nth(place).and_then(|flags| flags.strip_prefix("0x"));
    let flags = flags.and_then(|flags| u64::from_str_radix(flags, 16).ok());
    flags.is_some_and(|flags| flags & WANTED == WANTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_insist_on_a_new_file_are_known() {
        let openat = libc::SYS_openat;
        for (flags, exclusive) in [
            ("0xc1", true),
            ("0x800c1", true),
            ("0x241", false),
            ("x", false),
        ] {
            let call = format!("{openat} 0xffffff9c 0x7ffd 0xFLAGS 0x1b4 0x0 0x0 0x7ffe 0x7f93\n");
            assert_eq!(
                is_exclusive(&call.replace("0xFLAGS", flags)),
                exclusive,
                "{flags}"
            );
        }
        for other in ["running", "-1 0x7ffd 0x7f93", "", "0 0x3 0xc1 0xc1 0xc1"] {
            assert!(!is_exclusive(other), "{other}");
        }
    }

    #[test]
    fn a_thread_that_does_something_else_creates_nothing() {
        assert!(!creates(std::process::id()));
        assert!(!creates(u32::MAX));
    }
}
