//! The FUSE session: mounting, forwarding what the kernel should forget, unmounting.
//!
//! fuser 0.18 would unmount by path when its session ends or is dropped, also when that path meanwhile
//! shows somebody else's mount. So it never gets to: its session is always forgotten, and this module
//! unmounts by itself, after it has seen that its connection lives (so that no other mount can have its
//! device number) and that the topmost mount on the path has that number.

mod direct;

use std::ffi::OsStr;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use fuser::{BackgroundSession, INodeNo, MountOption, Notifier, SessionACL};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::fusermount;
use super::point::{self, Mounted, Reserved};
use crate::fs::{Adapter, Dispatch, Gate};
use crate::vfs::Vfs;

/// How a mount can be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmounted {
    /// Nobody uses it any more.
    Clean,
    /// The path is free; programs that have files open there keep them until they close them.
    Detached,
    /// It was not there any more.
    Already,
    /// Another mount lies on it, which is not ours to take away.
    Covered,
}

/// How the mount presents itself.
#[derive(Debug, Clone)]
pub(super) struct Appearance {
    /// What the table of mounts shows in front.
    pub(super) source: String,
    pub(super) bucket: String,
    pub(super) read_only: bool,
    pub(super) kernel: KernelOptions,
}

/// What the kernel is asked for besides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelOptions {
    /// Let other users of the machine in.
    pub allow_other: bool,
    /// Run no program from the mount.
    pub no_exec: bool,
    /// Have fusermount3 unmount it when the process is gone, however that ended.
    pub auto_unmount: bool,
}

/// A mounted filesystem. Dropped without `unmount`, it detaches the mount.
pub(super) struct Session {
    point: PathBuf,
    mount: Mounted,
    /// The connection to the kernel, to ask whether it lives.
    connection: OwnedFd,
    fuse: ManuallyDrop<BackgroundSession>,
    gate: Arc<Gate>,
    ended: bool,
}

impl Session {
    /// Mounts on a checked mountpoint and serves from threads of its own.
    pub(super) fn mount(
        vfs: &Vfs,
        runtime: &tokio::runtime::Handle,
        reserved: &Reserved,
        appearance: &Appearance,
    ) -> anyhow::Result<Self> {
        let point = reserved.path.as_path();
        let dispatch = Dispatch::new(runtime.clone());
        let gate = dispatch.gate();
        let adapter = Adapter::new(vfs.clone(), dispatch);
        let config = fuse_config(appearance);
        reserved.still_free()?;
        let session = if reserved.autofs {
            direct::mount_directly(point, appearance).and_then(|device| {
                fuser::Session::from_fd(adapter, device, config.acl, config).inspect_err(|_| {
                    let _ = umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
                })
            })
        } else {
            fuser::Session::new(adapter, point, &config)
        };
        let (connection, fuse) = session
            .and_then(|session| Ok((session.as_fd().try_clone_to_owned()?, session.spawn()?)))
            .map_err(|e| explain(&e, point, appearance))?;
        let fuse = ManuallyDrop::new(fuse);
        let mount = point::topmost(point).ok().flatten().ok_or_else(|| {
            anyhow!(
                "{} is mounted, yet not in /proc/self/mountinfo",
                point.display()
            )
        });
        let mount = match mount {
            Ok(mount) => mount,
            Err(e) => {
                let _ = umount2(point, MntFlags::MNT_DETACH);
                return Err(e);
            }
        };
        point::raise_read_ahead(&mount);
        forward_invalidations(vfs, &fuse.notifier(), runtime).context("cannot start a thread")?;
        Ok(Self {
            point: point.to_owned(),
            mount,
            connection,
            fuse,
            gate,
            ended: false,
        })
    }

    /// The mount, as the kernel's table has it.
    pub(super) fn mounted(&self) -> &Mounted {
        &self.mount
    }

    /// Whether the kernel has let go: unmounted, and no file open any more.
    pub(super) fn is_finished(&self) -> bool {
        self.fuse.guard.is_finished()
    }

    /// Waits until the kernel has let go.
    pub(super) async fn finished(&self) {
        while !self.is_finished() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Refuses further requests and waits for those that run.
    pub(super) async fn close_gate(&self) {
        self.gate.close().await;
    }

    /// Unmounts, lazily when programs still use the mount. Blocks while the kernel writes back what
    /// programs have mapped, so never on a thread that serves.
    pub(super) fn unmount(&mut self) -> io::Result<Unmounted> {
        let result = self.take_away();
        self.ended = result.is_ok();
        result
    }

    /// Whether the kernel still sends requests although the session has ended: fuser gave up.
    pub(super) fn is_broken(&self) -> bool {
        self.is_finished() && self.is_connected()
    }

    /// True as long as the filesystem lives in the kernel: mounted, or detached and in use.
    fn is_connected(&self) -> bool {
        let mut fds = [PollFd::new(self.connection.as_fd(), PollFlags::empty())];
        let _ = poll(&mut fds, PollTimeout::ZERO);
        !fds[0]
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLERR))
    }

    fn take_away(&self) -> io::Result<Unmounted> {
        if !self.is_connected() {
            return Ok(Unmounted::Already);
        }
        let path = &self.point;
        if point::topmost(path)?.as_ref() != Some(&self.mount) {
            return Ok(if point::is_there(&self.mount)? {
                Unmounted::Covered
            } else {
                Unmounted::Detached
            });
        }
        match umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => return Ok(Unmounted::Clean),
            Err(Errno::EINVAL) => return Ok(Unmounted::Already),
            Err(Errno::EPERM) => return by_helper(path),
            Err(Errno::EBUSY) => {}
            Err(e) => return Err(e.into()),
        }
        umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
        Ok(Unmounted::Detached)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.take_away();
        }
    }
}

/// Only root may unmount; others have fusermount3.
fn by_helper(path: &Path) -> io::Result<Unmounted> {
    if fusermount::unmount(path, false)? {
        Ok(Unmounted::Clean)
    } else if fusermount::unmount(path, true)? {
        Ok(Unmounted::Detached)
    } else {
        Err(io::Error::other("fusermount3 -u -z failed"))
    }
}

fn fuse_config(appearance: &Appearance) -> fuser::Config {
    let mut config = fuser::Config::default();
    config.mount_options = vec![
        MountOption::DefaultPermissions,
        // A comma would end the option, and a backslash change what follows; no bucket's name has one.
        MountOption::FSName(appearance.source.replace([',', '\\'], "_")),
        // `MountOption::Subtype` is dropped when root mounts without a helper.
        MountOption::CUSTOM("subtype=b2fuse".to_owned()),
        MountOption::NoAtime,
    ];
    if appearance.read_only {
        config.mount_options.push(MountOption::RO);
    }
    if appearance.kernel.no_exec {
        config.mount_options.push(MountOption::NoExec);
    }
    if appearance.kernel.allow_other {
        config.acl = SessionACL::All;
    }
    if appearance.kernel.auto_unmount {
        config.mount_options.push(MountOption::AutoUnmount);
        if !appearance.kernel.allow_other {
            // fuser wants one of the two.
            config.acl = SessionACL::RootAndOwner;
        }
    }
    // One thread could not answer what another needs while it copies; more than a few gain nothing.
    config.n_threads = Some(thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4)));
    config
}

/// Words for a mount that failed.
fn explain(error: &io::Error, point: &Path, appearance: &Appearance) -> anyhow::Error {
    let point = point.display();
    let text = error.to_string();
    let device = Path::new("/dev/fuse");
    if appearance.kernel.allow_other && text.contains("user_allow_other") {
        return anyhow!(
            "allow_other: only root may, unless /etc/fuse.conf has the line user_allow_other: add it, or leave allow_other out"
        );
    }
    if error.kind() == io::ErrorKind::NotFound {
        return if device.exists() {
            anyhow!(
                "cannot mount on {point}: fusermount3 is not installed: install the package fuse3, or mount as root"
            )
        } else {
            anyhow!("cannot mount on {point}: there is no /dev/fuse: load it with: modprobe fuse")
        };
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        return anyhow!(
            "cannot mount on {point}: {error}: may this user write there and to /dev/fuse?"
        );
    }
    anyhow!("cannot mount on {point}: {}", text.trim())
}

/// Tells the kernel what to forget. Threads of their own: the kernel takes locks for it that a request may hold whose
/// answer is still to come, so no session thread and no worker of the runtime may wait here. Two of them: who opens a
/// file may wait until an inode is forgotten, and hold the lock of a directory that a name needs.
fn forward_invalidations(
    vfs: &Vfs,
    notifier: &Notifier,
    runtime: &tokio::runtime::Handle,
) -> io::Result<()> {
    let all = || (vfs.clone(), notifier.clone(), runtime.clone());
    let (vfs, notifier, runtime) = all();
    thread::Builder::new()
        .name("inodes".to_owned())
        .spawn(move || {
            loop {
                let stale = runtime.block_on(vfs.next_stale_inode());
                if !goes_on(notifier.inval_inode(INodeNo(stale.ino.0), 0, 0)) {
                    vfs.kernel_has_gone();
                    return;
                }
            }
        })?;
    let (vfs, notifier, runtime) = all();
    thread::Builder::new()
        .name("entries".to_owned())
        .spawn(move || {
            loop {
                let stale = runtime.block_on(vfs.next_stale_entry());
                let name = OsStr::from_bytes(&stale.name);
                if !goes_on(notifier.inval_entry(INodeNo(stale.parent.0), name)) {
                    return;
                }
            }
        })?;
    Ok(())
}

/// Whether there is still a kernel to tell.
fn goes_on(told: io::Result<()>) -> bool {
    match told {
        Ok(()) => true,
        Err(error) => {
            log::debug!("the kernel did not forget: {error}");
            error.raw_os_error() != Some(libc::ENODEV)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_says_what_it_is() {
        let appearance = Appearance {
            source: "b2fuse:a,b".into(),
            bucket: "a,b".into(),
            read_only: true,
            kernel: KernelOptions::default(),
        };
        let config = fuse_config(&appearance);
        assert!(
            config
                .mount_options
                .contains(&MountOption::DefaultPermissions)
        );
        assert!(config.mount_options.contains(&MountOption::RO));
        assert!(
            config
                .mount_options
                .contains(&MountOption::FSName("b2fuse:a_b".into()))
        );
        assert_eq!(config.acl, SessionACL::Owner);
        assert!(config.n_threads >= Some(2));
    }
}
