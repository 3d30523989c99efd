//! Mounting without opening the mountpoint. fuser opens it first, and so does fusermount3: where autofs (a
//! `x-systemd.automount`, say) waits for this very mount, that would wait for itself. mount(2) by path does not.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::unistd::{getgid, getuid};

use super::Appearance;

/// Mounts as root, with what `fuse_config` asks for; the connection comes back.
pub(super) fn mount_directly(point: &Path, appearance: &Appearance) -> io::Result<OwnedFd> {
    if appearance.kernel.auto_unmount {
        return Err(io::Error::other(
            "auto_unmount does not go with an automount, which would wait for itself: leave it out",
        ));
    }
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,subtype=b2fuse",
        device.as_raw_fd(),
        getuid(),
        getgid()
    );
    if appearance.kernel.allow_other {
        data.push_str(",allow_other");
    }
    let mut flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
    flags.set(MsFlags::MS_RDONLY, appearance.read_only);
    flags.set(MsFlags::MS_NOEXEC, appearance.kernel.no_exec);
    mount(
        Some(appearance.source.as_str()),
        point,
        Some("fuse"),
        flags,
        Some(data.as_str()),
    )?;
    Ok(device.into())
}
