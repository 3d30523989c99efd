//! b2fuse as mount(8), umount(8) and /etc/fstab call it: `mount.b2fuse`, `umount.fuse.b2fuse` and the like are links to the
//! one program, which tells by its name what it is asked for. Here are their arguments and exit codes; mounting itself is what
//! it always is, in the background.

pub(super) mod fstab;
pub(super) mod install;
pub(super) mod mount;
mod source;
pub(super) mod umount;

use std::ffi::{CStr, OsStr, OsString};
use std::path::Path;

/// Names under which mount(8) looks for a helper: of the type `b2fuse`, and of `fuse.b2fuse`.
const MOUNT: [&str; 2] = ["mount.b2fuse", "mount.fuse.b2fuse"];
/// The same for umount(8), which knows a mount by the kernel's name of its type.
const UMOUNT: [&str; 2] = ["umount.b2fuse", "umount.fuse.b2fuse"];

/// Exit codes of mount(8).
mod exit {
    /// The invocation or the configuration is wrong.
    pub(super) const USAGE: u8 = 1;
    /// The system did not let it.
    pub(super) const SYSTEM: u8 = 2;
    /// Not mounted, not unmounted, or not everything is stored.
    pub(super) const FAILURE: u8 = 32;
}

/// Runs the helper that the program was called as, if it was called as one.
pub(super) fn run(called: &OsStr, arguments: &[OsString]) -> Option<u8> {
    let name = Path::new(called).file_name()?.to_str()?;
    if MOUNT.contains(&name) {
        Some(mount::run(name, arguments))
    } else if UMOUNT.contains(&name) {
        Some(umount::run(name, arguments))
    } else {
        None
    }
}

/// Programs are found also where whoever calls leaves `PATH` out; empty, it would mean the working directory.
#[allow(unsafe_code, reason = "the environment is changed")]
pub(super) fn have_a_path() {
    const NAME: &CStr = c"PATH";
    const PATH: &CStr = c"/usr/sbin:/usr/bin:/sbin:/bin";
    if std::env::var_os("PATH").is_some_and(|path| !path.is_empty()) {
        return;
    }
    // SAFETY: this is the only thread: nothing has been started or said yet.
    unsafe {
        libc::setenv(NAME.as_ptr(), PATH.as_ptr(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_are_no_helpers() {
        for name in ["b2fuse", "/usr/bin/b2fuse", "mount.b2", "", "/"] {
            assert!(run(OsStr::new(name), &[]).is_none(), "{name}");
        }
    }
}
