//! What this machine has for a mount: the kernel's device, fusermount3, the mountpoint, the rescue directory.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, geteuid};

use super::{Finding, existing, rescue_root};
use crate::mount::{KernelOptions, RescueTo, point, rescuer};

/// Tells what there is.
pub fn system(
    kernel: &KernelOptions,
    rescue: &RescueTo,
    mountpoint: Option<&Path>,
    tell: &mut dyn FnMut(Finding),
) {
    let root = geteuid().is_root();
    tell(device(
        &File::options().read(true).write(true).open("/dev/fuse"),
    ));
    if !root {
        let path = std::env::var_os("PATH").unwrap_or_default();
        tell(helper(std::env::split_paths(&path)));
    }
    if kernel.allow_other && !root {
        tell(others(
            &std::fs::read_to_string("/etc/fuse.conf").unwrap_or_default(),
        ));
    }
    if let Some(dir) = mountpoint {
        tell(place(dir, root));
    }
    tell(kept(rescue, mountpoint));
}

fn device(opened: &io::Result<File>) -> Finding {
    match opened {
        Ok(_) => Finding::good("/dev/fuse: can be used"),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Finding::bad(
            "/dev/fuse: is not there: modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN",
        ),
        Err(e) => Finding::bad(format!(
            "/dev/fuse: cannot be opened: {e}: let this user read and write it (mode 666)"
        )),
    }
}

fn helper(mut places: impl Iterator<Item = PathBuf>) -> Finding {
    const SET_USER_ID: u32 = 0o4000;
    let found = places.find_map(|dir| {
        let both = ["fusermount3", "fusermount"].map(|name| dir.join(name));
        both.into_iter().find(|path| path.is_file())
    });
    let Some(path) = found else {
        return Finding::bad(
            "fusermount3: is not installed: install the package fuse3, or mount as root",
        );
    };
    let mode = path.metadata().map_or(0, |file| file.permissions().mode());
    let path = path.display();
    if mode & SET_USER_ID == 0 {
        Finding::bad(format!(
            "fusermount3: {path} is not setuid root, so only root can mount: install the package fuse3 anew"
        ))
    } else {
        Finding::good(format!("fusermount3: {path}"))
    }
}

fn others(configured: &str) -> Finding {
    if configured
        .lines()
        .any(|line| line.trim() == "user_allow_other")
    {
        Finding::good("allow_other: /etc/fuse.conf has user_allow_other")
    } else {
        Finding::bad(
            "allow_other: only root may, unless /etc/fuse.conf has the line user_allow_other: add it, or leave allow_other out",
        )
    }
}

fn place(dir: &Path, root: bool) -> Finding {
    let shown = dir.display();
    if point::under_autofs(dir).is_some() {
        return Finding::good(format!("mountpoint: {shown}, where autofs waits"));
    }
    if dir
        .metadata()
        .is_err_and(|fault| fault.raw_os_error() == Some(libc::ENOTCONN))
    {
        return Finding::warning(format!(
            "mountpoint: {shown} holds the remains of a mount whose program has ended: the next mount detaches them"
        ));
    }
    match point::check(dir, false) {
        Err(fault) => Finding::bad(format!("mountpoint: {fault:#}")),
        Ok(_) if !root && access(dir, AccessFlags::W_OK).is_err() => Finding::bad(format!(
            "mountpoint: {shown} is not yours to write, which fusermount3 asks for: chown it, or name another directory"
        )),
        Ok(_) => Finding::good(format!("mountpoint: {shown} is empty and free")),
    }
}

fn kept(rescue: &RescueTo, mountpoint: Option<&Path>) -> Finding {
    let Some(root) = rescue_root(rescue) else {
        return Finding::warning(
            "rescue: off: what cannot be stored at the end of a mount would be lost: name a directory with rescue",
        );
    };
    let shown = root.display();
    let point = mountpoint.and_then(|dir| dir.canonicalize().ok());
    if let Some(fault) = point.and_then(|point| rescuer::check(&root, &point).err()) {
        return Finding::bad(fault.to_string());
    }
    let there = existing(&root);
    let writable = there.is_some_and(|dir| {
        dir.is_dir() && access(dir, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
    });
    if writable {
        Finding::good(format!("rescue: {shown} can be written"))
    } else {
        let there = there.unwrap_or(&root).display();
        Finding::bad(format!(
            "rescue: {shown} cannot be made or written ({there} is not writable): name another directory with rescue"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Verdict;
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_its_remedy() {
        let missing = device(&Err(io::Error::from(io::ErrorKind::NotFound)));
        assert!(missing.text.contains("modprobe fuse"), "{missing:?}");
        let denied = device(&Err(io::Error::from(io::ErrorKind::PermissionDenied)));
        assert_eq!(denied.verdict, Verdict::Bad);
        let none = helper([PathBuf::from("/nonexistent")].into_iter());
        assert!(none.text.contains("install the package fuse3"), "{none:?}");
        for (text, verdict) in [
            ("user_allow_other\n", Verdict::Good),
            ("# user_allow_other\n", Verdict::Bad),
            ("", Verdict::Bad),
        ] {
            assert_eq!(others(text).verdict, verdict, "{text}");
        }
    }

    #[test]
    fn fusermount_must_be_setuid() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fusermount3");
        std::fs::write(&path, "").expect("written");
        for (mode, verdict) in [(0o755, Verdict::Bad), (0o4755, Verdict::Good)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("mode set");
            let found = helper([dir.path().to_owned()].into_iter());
            assert_eq!(found.verdict, verdict, "{found:?}");
        }
    }

    #[test]
    fn the_rescue_directory_may_be_made_where_its_parent_can_be_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let below = RescueTo::Dir(dir.path().join("a/b"));
        assert_eq!(kept(&below, None).verdict, Verdict::Good);
        assert!(!dir.path().join("a").exists(), "nothing is made");
        let inside = kept(&below, Some(dir.path()));
        assert!(
            inside.text.contains("is below the mountpoint"),
            "{inside:?}"
        );
        std::fs::write(dir.path().join("file"), "").expect("written");
        let unfit = RescueTo::Dir(dir.path().join("file/a"));
        assert_eq!(kept(&unfit, None).verdict, Verdict::Bad);
        assert_eq!(kept(&RescueTo::Off, None).verdict, Verdict::Warning);
    }
}
