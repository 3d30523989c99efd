use super::*;
use crate::mount::point::parse;

fn mount(device: &str) -> Mounted {
    let line = format!("9 1 {device} / /mnt/x rw - fuse.b2fuse photos rw,user_id=0\n");
    parse(line.as_bytes()).remove(0)
}

fn uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// A file as another process would have it: locks of one process through two descriptors are two locks.
fn served(dir: &Path, device: &str) -> Served {
    Served::begin(dir, uid(), &mount(device)).expect("a file")
}

#[test]
fn who_waits_hears_the_verdict_when_the_process_is_gone() {
    for (stored, outcome) in [(true, Outcome::Stored), (false, Outcome::NotStored)] {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("b2fuse");
        let served = served(&dir, "0:51");
        assert!(find(&dir, uid(), "0:5").is_none());
        let server = find(&dir, uid(), "0:51").expect("it lives");
        assert_eq!(server.pid, std::process::id().to_string());
        let lock = served.file.try_clone().expect("another descriptor");
        served.ended(stored);
        assert_eq!(fs::read_dir(&dir).expect("listed").count(), 0);
        let waiting = std::thread::spawn(move || server.wait());
        assert!(!waiting.is_finished());
        // What the end of the process does.
        let lock = Flock::lock(lock, FlockArg::LockExclusive).expect("the same lock");
        lock.unlock().expect("let go");
        let heard = waiting.join().expect("no panic").expect("heard");
        assert_eq!(heard, outcome);
    }
}

#[test]
fn a_process_that_was_killed_serves_nothing_and_has_not_stored_everything() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("b2fuse");
    let killed = served(&dir, "0:51");
    let server = find(&dir, uid(), "0:51").expect("it lives");
    let path = killed.path.clone();
    let socket = killed.socket();
    fs::write(&socket, "").expect("made");
    drop(killed);
    assert_eq!(server.wait().expect("heard"), Outcome::NotStored);
    assert!(path.exists());
    assert!(find(&dir, uid(), "0:51").is_none());
    // Whose file has gone already.
    let stray = dir.join("0-9-1.sock");
    fs::write(&stray, "").expect("made");
    let other = served(&dir, "0:52");
    assert!(!path.exists(), "cleared by the next one");
    assert!(!socket.exists() && !stray.exists(), "so are their sockets");
    assert!(other.path.exists());
}

#[test]
fn of_two_with_one_number_the_one_that_began_last_serves() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("b2fuse");
    let first = served(&dir, "0:51");
    // As if of another process.
    let moved = dir.join("0-51-other");
    fs::rename(&first.path, &moved).expect("renamed");
    let long_ago = SystemTime::UNIX_EPOCH;
    first.file.set_modified(long_ago).expect("set");
    let second = served(&dir, "0:51");
    let found = find(&dir, uid(), "0:51").expect("one");
    let found = found.file.metadata().expect("there").ino();
    assert_eq!(found, second.file.metadata().expect("there").ino());
    assert!(moved.exists(), "it lives, too");
}

#[test]
fn directories_that_others_can_change_are_not_believed() {
    let dir = tempfile::tempdir().expect("a directory");
    let open = dir.path().join("open");
    DirBuilder::new().mode(0o700).create(&open).expect("made");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&open, mode).expect("set");
    assert!(Served::begin(&open, uid(), &mount("0:1")).is_err());
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path(), &link).expect("made");
    assert!(!belongs_to(&link, uid()));
    assert!(!belongs_to(dir.path(), uid() + 1));
}

#[test]
fn files_lie_where_their_user_may_write() {
    let none = |_: &str| None;
    let named = |name: &str| (name == "XDG_RUNTIME_DIR").then(|| "/x".into());
    let roots = [PathBuf::from("/run/b2fuse"), "/tmp/b2fuse-0".into()];
    assert_eq!(places(0, &named), roots);
    let other = uid() + 7;
    let others = [
        PathBuf::from(format!("/run/user/{other}/b2fuse")),
        format!("/tmp/b2fuse-{other}").into(),
    ];
    // Where somebody else's are does not stand in the environment.
    assert_eq!(places(other, &named), others);
    assert_eq!(places(other, &none), others);
}
