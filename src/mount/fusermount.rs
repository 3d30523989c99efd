//! fusermount3, which is setuid: users who are not root unmount by it.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether it has unmounted; `lazily` also what is in use.
pub(super) fn unmount(path: &Path, lazily: bool) -> io::Result<bool> {
    let options: &[&str] = if lazily { &["-u", "-z"] } else { &["-u"] };
    for helper in ["fusermount3", "fusermount"] {
        match Command::new(helper)
            .args(options)
            .arg("--")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
        {
            Ok(status) => return Ok(status.success()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other(
        "fusermount3 is not installed (package fuse3)",
    ))
}
