//! The process is killed at every call that an operation makes, just before the call takes effect and just after.
//!
//! The server lets so many calls through and then answers none, which is seen from its side; so every crash point is met,
//! and none by luck. What a new mount then shows must be the old state or the new one, or a rename's names with the
//! content at one or both; what was told to be stored must be there, and what was told to be removed must not. At the end
//! everything is removed, and must not come back from under a half-done operation.

mod contents;
mod names;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::bucket::Bucket;
use crate::support::emulator::Emulator;
use crate::support::forks;
use crate::support::mount::Mount;
use crate::support::tools::program;
use crate::support::tree::{self, noise, put, walk};

const HIDE: &str = "list_hashfiles: false\n";
const PURGE: &str = "list_hashfiles: false\ndelete: purge\n";
const LARGE: &str = "list_hashfiles: false\nlarge_file: 10MB\npart_size: 5MB\n";
const LATER: &str = "list_hashfiles: false\ndelete: purge\nwrite_back: 1h\n";
/// More calls than any operation here makes.
const TOO_MANY: u64 = 200;

/// When the server falls silent.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Before,
    After,
}

/// An operation and what must be true of it.
struct Case<'a> {
    config: &'a str,
    /// Makes what is there before; all of it is stored.
    prepare: &'a dyn Fn(&Path),
    /// The operation, up to a word that it is stored.
    act: &'a (dyn Fn(&Path) -> io::Result<()> + Sync),
    /// What a new mount shows; true: the operation was told to be done and stored.
    check: &'a dyn Fn(&Path, bool),
}

impl Case<'_> {
    /// Kills at the first call, at the second, and so on, until the operation and the mount come to their end.
    fn at_every_call(&self) {
        for moment in [Moment::Before, Moment::After] {
            let mut call = 0;
            while self.killed_at(moment, call) {
                call += 1;
                assert!(call < TOO_MANY, "the operation goes on for ever");
            }
            assert!(call > 0, "no call was met");
        }
    }

    /// False when the end came before that call.
    fn killed_at(&self, moment: Moment, call: u64) -> bool {
        let emulator = Emulator::start();
        let mut mount = Mount::with(&emulator, self.config);
        (self.prepare)(mount.path());
        mount.remount();
        // Names that are known cost no call.
        walk(mount.path());
        let silence = format!("*:hang@{call}");
        let last = format!("*:late=600:1@{call}");
        match moment {
            Moment::Before => emulator.faults(&[&silence]),
            Moment::After => emulator.faults(&[&last, &silence]),
        }
        let (held, told) = self.act_and_kill(&emulator, &mut mount);
        emulator.faults(&[]);
        eprintln!("{moment:?} call {call}: {held:?}, told to be done: {told}");

        mount.remount();
        (self.check)(mount.path(), told);
        for name in tree::names(mount.path()) {
            let path = mount.path().join(name);
            if path.is_dir() {
                fs::remove_dir_all(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
        }
        mount.unmount();
        let bucket = Bucket::open(&emulator);
        assert_eq!(bucket.visible(), [""; 0], "{:?}", bucket.versions());
        !held.is_empty()
    }

    /// The calls that were held when the process was killed, none where it ended by itself; and whether the operation was
    /// told to be done before.
    fn act_and_kill(&self, emulator: &Emulator, mount: &mut Mount) -> (Vec<String>, bool) {
        let path = mount.path().to_owned();
        std::thread::scope(|scope| {
            let acting = scope.spawn(|| (self.act)(&path));
            let mut ending = false;
            loop {
                let finished = acting.is_finished();
                let held = emulator.server().held();
                if !held.is_empty() {
                    mount.die();
                    let done = acting.join().expect("the operation does not panic");
                    // Not before: the rest of the operation would go into the folder below.
                    mount.detach();
                    let held = held.into_iter().map(|held| held.call).collect();
                    return (held, finished && done.is_ok());
                }
                if finished && !ending {
                    // What is left to do in the background is done at the end.
                    mount.signal(Signal::SIGTERM);
                    ending = true;
                }
                if ending && mount.has_ended() {
                    mount.ends_cleanly();
                    let done = acting.join().expect("the operation does not panic");
                    done.expect("the operation is done when every call is answered");
                    return (Vec::new(), true);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    }
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes by a process of its own: what this one starts meanwhile inherits its descriptors for a moment, and closes them,
/// which stores half of what is being written.
fn dd(path: &Path, content: &[u8], how: &[&str]) -> io::Result<()> {
    let mut child = forks::spawn(
        program("dd")
            .arg(format!("of={}", path.display()))
            .args([
                "bs=1M",
                "iflag=fullblock",
                "oflag=seek_bytes",
                "status=none",
            ])
            .args(how)
            .stdin(Stdio::piped())
            .stderr(Stdio::null()),
    )?;
    let mut input = child.stdin.take().expect("a pipe");
    // It ends early where the mount is gone, and says so by its status.
    let _ = input.write_all(content);
    drop(input);
    if child.wait()?.success() {
        Ok(())
    } else {
        Err(io::Error::other("dd has failed"))
    }
}

/// Replaces a file's content.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    dd(path, content, &[])
}

/// The same up to `fsync`.
fn write_and_sync(path: &Path, content: &[u8]) -> io::Result<()> {
    dd(path, content, &["conv=fsync"])
}

/// The content, `None` where there is no such name; nothing else may come of reading.
#[track_caller]
fn found(path: &Path) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(content) => Some(content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("cannot read {path:?}: {error}"),
    }
}

fn is(path: &Path, content: &[u8]) -> bool {
    found(path).as_deref() == Some(content)
}

/// Fails unless the name has this content or none.
#[track_caller]
fn whole_or_absent(path: &Path, content: &[u8]) {
    if let Some(found) = found(path) {
        assert!(found == content, "{path:?}: {} other bytes", found.len());
    }
}
