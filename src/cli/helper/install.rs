//! `b2fuse install-helper [--dir DIR]`: the links by which mount(8) and umount(8) find b2fuse.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use clap::Parser;

use super::{MOUNT, UMOUNT};
use crate::cli::{FAILURE, refused};
use crate::mount;

/// Makes the links by which mount(8), umount(8) and /etc/fstab find b2fuse.
#[derive(Debug, Parser)]
#[command(name = "b2fuse install-helper", version)]
pub(in crate::cli) struct Options {
    /// Where mount(8) looks for helpers
    #[arg(long, value_name = "DIR", default_value = "/sbin", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
}

pub(in crate::cli) fn run(arguments: &[OsString]) -> u8 {
    let name = OsString::from("b2fuse install-helper");
    let options = match Options::try_parse_from(std::iter::once(&name).chain(arguments)) {
        Ok(options) => options,
        Err(usage) => return refused(&usage),
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(fault) => {
            mount::say(&format!("cannot tell where this program lies: {fault}"));
            return FAILURE;
        }
    };
    // Root will run it at every start of the machine.
    if let Ok(metadata) = program.metadata()
        && (metadata.uid() != 0 || metadata.mode() & 0o022 != 0)
    {
        mount::say(&format!(
            "warning: others than root may write {}, which root will run: better install it as root into /usr/local/bin",
            program.display()
        ));
    }
    for name in MOUNT.iter().chain(&UMOUNT) {
        let link = options.dir.join(name);
        match set(&link, &program) {
            Ok(()) => mount::tell(&format!("{} -> {}", link.display(), program.display())),
            Err(fault) => {
                mount::say(&format!("cannot make {}: {fault}", link.display()));
                return FAILURE;
            }
        }
    }
    0
}

/// Makes the link, in the place of an older one; what is no link stays.
fn set(link: &Path, program: &Path) -> io::Result<()> {
    match fs::symlink_metadata(link) {
        Ok(there) if !there.is_symlink() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "something else is there, no link",
        )),
        Ok(_) if fs::read_link(link)? == program => Ok(()),
        Ok(_) => {
            // Put in its place at once: mount(8) may run meanwhile.
            let mut beside = link.as_os_str().to_owned();
            beside.push(".new");
            let beside = PathBuf::from(beside);
            let _ = fs::remove_file(&beside);
            symlink(program, &beside)?;
            fs::rename(&beside, link)
        }
        Err(_) => symlink(program, link),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_made_and_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let link = dir.path().join("mount.b2fuse");
        let (old, new) = (Path::new("/old/b2fuse"), Path::new("/new/b2fuse"));
        for program in [old, old, new] {
            set(&link, program).expect("made");
            assert_eq!(fs::read_link(&link).expect("a link"), program);
        }
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
        fs::remove_file(&link).expect("removed");
        fs::write(&link, "a script of somebody's").expect("written");
        set(&link, new).expect_err("it stays");
        assert!(fs::symlink_metadata(&link).expect("there").is_file());
    }
}
