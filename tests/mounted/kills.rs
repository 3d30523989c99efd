//! The process is killed at every call that an operation makes, just before the call takes effect and just after.
//!
//! The server lets so many calls through and then answers none, which is seen from its side; so every crash point is met,
//! and none by luck. What a new mount then shows must be the old state or the new one, or a rename's names with the
//! content at one or both; what was told to be stored must be there, and what was told to be removed must not. At the end
//! everything is removed, and must not come back from under a half-done operation.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::bucket::Bucket;
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::tools::program;
use crate::support::tree::{names, noise, put, walk};

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
        for name in names(mount.path()) {
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
                    // What is left to do behind its back is done at the end.
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
    let mut child = program("dd")
        .arg(format!("of={}", path.display()))
        .args([
            "bs=1M",
            "iflag=fullblock",
            "oflag=seek_bytes",
            "status=none",
        ])
        .args(how)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
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

#[test]
fn a_file_rename_never_leaves_neither() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            let (a, b) = (root.join("a"), root.join("b"));
            whole_or_absent(&a, b"content");
            whole_or_absent(&b, b"content");
            assert!(a.exists() || b.exists());
            if told {
                assert!(b.exists() && !a.exists());
            }
        };
        Case {
            config,
            prepare: &|root| put(&root.join("a"), b"content"),
            act: &|root| {
                fs::rename(root.join("a"), root.join("b"))?;
                sync(root)
            },
            check: &check,
        }
        .at_every_call();
    }
}

#[test]
fn a_rename_over_a_file_shows_the_old_or_the_new_one() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            let (tmp, f) = (root.join("tmp"), root.join("f"));
            whole_or_absent(&tmp, b"new");
            assert!(is(&f, b"old") || is(&f, b"new"), "{:?}", found(&f));
            assert!(is(&f, b"new") || is(&tmp, b"new"), "{:?}", found(&f));
            if told {
                assert!(is(&f, b"new") && !tmp.exists());
            }
        };
        Case {
            config,
            prepare: &|root| {
                put(&root.join("f"), b"old");
                put(&root.join("tmp"), b"new");
            },
            act: &|root| {
                fs::rename(root.join("tmp"), root.join("f"))?;
                sync(root)
            },
            check: &check,
        }
        .at_every_call();
    }
}

/// As editors do: `f` always has a content, also where nothing is sent before the end.
#[test]
fn a_file_that_is_replaced_by_a_new_one_never_has_no_content() {
    for config in [HIDE, PURGE, LATER] {
        let check = |root: &Path, told: bool| {
            let f = root.join("f");
            assert!(is(&f, b"old") || is(&f, b"new"), "{:?}", found(&f));
            whole_or_absent(&root.join("tmp"), b"new");
            if told {
                assert!(is(&f, b"new"), "{:?}", found(&f));
            }
        };
        Case {
            config,
            prepare: &|root| put(&root.join("f"), b"old"),
            act: &|root| {
                write(&root.join("tmp"), b"new")?;
                fs::rename(root.join("tmp"), root.join("f"))?;
                sync(&root.join("f"))?;
                sync(root)
            },
            check: &check,
        }
        .at_every_call();
    }
}

/// Nothing waits for B2 here but the end of the mount.
#[test]
fn what_was_replaced_outlives_a_second_rename_of_what_replaced_it() {
    let check = |root: &Path, _: bool| {
        let (f, g) = (root.join("f"), root.join("g"));
        let kept = is(&f, b"old") || is(&f, b"new") || is(&g, b"new");
        assert!(kept, "{:?} {:?}", found(&f), found(&g));
    };
    Case {
        config: LATER,
        prepare: &|root| put(&root.join("f"), b"old"),
        act: &|root| {
            write(&root.join("tmp"), b"new")?;
            fs::rename(root.join("tmp"), root.join("f"))?;
            fs::rename(root.join("f"), root.join("g"))
        },
        check: &check,
    }
    .at_every_call();
}

#[test]
fn a_directory_rename_has_every_file_under_one_of_both_names() {
    const FILES: [&str; 4] = ["a", "b", "sub/c", "sub/d"];
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            for name in FILES {
                let (d, e) = (root.join("d").join(name), root.join("e").join(name));
                whole_or_absent(&d, name.as_bytes());
                whole_or_absent(&e, name.as_bytes());
                assert!(d.exists() || e.exists(), "{name}");
            }
            let empty = |top: &str| root.join(top).join("empty").is_dir();
            assert!(empty("d") || empty("e"));
            if told {
                assert_eq!(names(root), ["e"]);
            }
        };
        Case {
            config,
            prepare: &|root| {
                fs::create_dir_all(root.join("d/sub")).unwrap();
                fs::create_dir(root.join("d/empty")).unwrap();
                for name in FILES {
                    put(&root.join("d").join(name), name.as_bytes());
                }
            },
            act: &|root| {
                fs::rename(root.join("d"), root.join("e"))?;
                sync(root)
            },
            check: &check,
        }
        .at_every_call();
    }
}

#[test]
fn a_removal_shows_no_older_version() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            whole_or_absent(&root.join("f"), b"third");
            if told {
                assert!(!root.join("f").exists());
            }
            assert!(is(&root.join("f2"), b"another"));
        };
        Case {
            config,
            prepare: &|root| {
                for content in ["first", "second", "third"] {
                    put(&root.join("f"), content.as_bytes());
                }
                put(&root.join("f2"), b"another");
            },
            act: &|root| {
                fs::remove_file(root.join("f"))?;
                sync(root)
            },
            check: &check,
        }
        .at_every_call();
    }
}

#[test]
fn a_small_file_is_the_old_one_or_the_new_one() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            let f = root.join("f");
            assert!(is(&f, b"old") || is(&f, b"new"), "{:?}", found(&f));
            whole_or_absent(&root.join("made"), b"made");
            if told {
                assert!(is(&f, b"new") && is(&root.join("made"), b"made"));
            }
        };
        Case {
            config,
            prepare: &|root| put(&root.join("f"), b"old"),
            act: &|root| {
                write_and_sync(&root.join("f"), b"new")?;
                write_and_sync(&root.join("made"), b"made")
            },
            check: &check,
        }
        .at_every_call();
    }
}

#[test]
fn a_large_file_is_the_old_one_or_the_new_one() {
    let (old, new) = (noise(1, 12_000_000), noise(2, 12_000_000));
    let check = |root: &Path, told: bool| {
        let f = root.join("f");
        let good = is(&f, &new) || (is(&f, &old) && !told);
        assert!(good, "{:?} bytes", found(&f).map(|found| found.len()));
    };
    Case {
        config: LARGE,
        prepare: &|root| put(&root.join("f"), &old),
        act: &|root| write_and_sync(&root.join("f"), &new),
        check: &check,
    }
    .at_every_call();
}

#[test]
fn a_large_file_that_is_patched_and_grown_is_the_old_one_or_a_synced_one() {
    let old = noise(3, 12_000_000);
    let mut patched = old.clone();
    patched[6_000_000..6_000_005].copy_from_slice(b"patch");
    let grown = [&patched[..], b"and more"].concat();
    let check = |root: &Path, told: bool| {
        let f = root.join("f");
        let older = is(&f, &old) || is(&f, &patched);
        let good = is(&f, &grown) || (older && !told);
        assert!(good, "{:?} bytes", found(&f).map(|found| found.len()));
    };
    Case {
        config: LARGE,
        prepare: &|root| put(&root.join("f"), &old),
        act: &|root| {
            let keep = "conv=notrunc,fsync";
            dd(&root.join("f"), b"patch", &[keep, "seek=6000000"])?;
            dd(&root.join("f"), b"and more", &[keep, "seek=12000000"])
        },
        check: &check,
    }
    .at_every_call();
}

#[test]
fn a_change_of_attributes_never_costs_the_content() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            let f = root.join("f");
            assert!(is(&f, b"content"), "{:?}", found(&f));
            let mode = fs::metadata(&f).unwrap().permissions().mode() & 0o777;
            assert!(mode == 0o600 || (mode == 0o644 && !told), "{mode:o}");
        };
        Case {
            config,
            prepare: &|root| {
                put(&root.join("f"), b"older");
                put(&root.join("f"), b"content");
            },
            act: &|root| {
                fs::set_permissions(root.join("f"), fs::Permissions::from_mode(0o600))?;
                sync(&root.join("f"))
            },
            check: &check,
        }
        .at_every_call();
    }
}

#[test]
fn a_new_directory_is_there_once_it_was_told() {
    let check = |root: &Path, told: bool| {
        let sub = root.join("d/sub");
        assert!(sub.is_dir() || !told);
        assert!(is(&root.join("d/f"), b"content"));
    };
    Case {
        config: HIDE,
        prepare: &|root| {
            fs::create_dir(root.join("d")).unwrap();
            put(&root.join("d/f"), b"content");
        },
        act: &|root| {
            fs::create_dir(root.join("d/sub"))?;
            sync(&root.join("d/sub"))
        },
        check: &check,
    }
    .at_every_call();
}

#[test]
fn a_directory_outlives_its_last_file() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            assert!(root.join("d").is_dir());
            whole_or_absent(&root.join("d/last"), b"content");
            if told {
                assert!(!root.join("d/last").exists());
            }
        };
        Case {
            config,
            prepare: &|root| {
                fs::create_dir(root.join("d")).unwrap();
                put(&root.join("d/last"), b"content");
            },
            act: &|root| {
                fs::remove_file(root.join("d/last"))?;
                sync(&root.join("d"))
            },
            check: &check,
        }
        .at_every_call();
    }
}

#[test]
fn a_directory_that_was_removed_stays_so() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            if told {
                assert!(!root.join("d").exists());
            }
            assert!(is(&root.join("f"), b"content"));
        };
        Case {
            config,
            prepare: &|root| {
                fs::create_dir(root.join("d")).unwrap();
                put(&root.join("f"), b"content");
            },
            act: &|root| {
                fs::remove_dir(root.join("d"))?;
                sync(root)
            },
            check: &check,
        }
        .at_every_call();
    }
}
