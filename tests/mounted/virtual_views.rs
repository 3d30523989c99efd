//! What `ls`, `stat`, `df` and the tools around them show, and what is refused.

use std::fs;

use crate::support::place::{Bucket, Place};
use crate::support::tools::{both, finish, program, shell};
use crate::support::tree::{get, put};

/// The row of df(1) for the mount.
fn df(place: &Bucket, options: &str) -> Vec<String> {
    let shown = shell(&format!("df {options} \"$1\""), [place.path()]);
    let row = shown.lines().nth(1).expect("a row");
    row.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn df_shows_room() {
    let row = df(&Bucket::new(), "--output=fstype,size,avail,iavail -B1");
    assert_eq!(row[0], "fuse.b2fuse");
    let number = |text: &str| text.parse::<u64>().unwrap_or(0);
    assert!(number(&row[1]) >= 1 << 40, "{row:?}");
    assert!(number(&row[2]) >= 1 << 40, "{row:?}");
    assert!(number(&row[3]) >= 1 << 20, "{row:?}");
}

#[test]
fn df_shows_the_size_that_is_configured_and_what_is_known_to_be_used() {
    let mut place = Bucket::with("quota: 1GiB\n");
    put(&place.path().join("f"), &vec![1; 3 << 20]);
    fs::create_dir(place.path().join("d")).unwrap();
    put(&place.path().join("d/g"), &vec![1; 1 << 20]);
    for _ in 0..2 {
        shell("ls -R \"$1\"", [place.path()]);
        let row = df(&place, "--output=size,used,avail -B1M");
        assert_eq!(row, ["1024", "4", "1020"]);
        place.remount();
    }
}

#[test]
fn ls_and_stat_show_ordinary_files() {
    let place = Bucket::new();
    put(&place.path().join("f"), b"12345");
    fs::create_dir(place.path().join("d")).unwrap();
    let shown = shell(
        "cd \"$1\"; stat -c '%n %F %a %s %U' f d; ls -ld . | cut -c1",
        [place.path()],
    );
    assert!(shown.contains("f regular file 644 5 "), "{shown}");
    assert!(shown.contains("d directory 755 "), "{shown}");
    assert!(shown.ends_with("d\n"), "{shown}");
    let shown = shell("ls -la \"$1\"", [place.path()]);
    assert_eq!(shown.lines().count(), 5, "total, ., .., d, f:\n{shown}");
}

#[test]
fn inode_numbers_are_stable_and_distinct() {
    let place = Bucket::new();
    shell("cd \"$1\"; touch a b; mkdir c; touch c/a", [place.path()]);
    let inodes = |()| shell("cd \"$1\"; stat -c %i a b c c/a", [place.path()]);
    let first = inodes(());
    assert_eq!(first, inodes(()));
    let mut numbers: Vec<&str> = first.lines().collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 4);
    let listed = shell(
        "cd \"$1\"; ls -i1 | sort -k2 | awk '{print $1}'",
        [place.path()],
    );
    assert!(first.starts_with(&listed), "{first} against {listed}");
}

#[test]
fn hard_links_are_refused() {
    let place = Bucket::new();
    put(&place.path().join("f"), b"x");
    let refused = fs::hard_link(place.path().join("f"), place.path().join("g"));
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EPERM));
}

#[test]
fn a_read_only_mount_refuses_changes_and_shows_everything() {
    let place = Bucket::new();
    put(&place.path().join("f"), b"x");
    let mount = crate::support::mount::Mount::with(&place.emulator, "read_only: true\n");
    assert_eq!(get(&mount.path().join("f")), b"x");
    for line in [
        "echo y > f",
        "touch g",
        "mkdir d",
        "rm f",
        "mv f g",
        "chmod 600 f",
    ] {
        let output = finish(program("bash").args(["-c", line]).current_dir(mount.path()));
        assert!(!output.status.success(), "{line}");
        assert!(
            both(&output).contains("Read-only file system"),
            "{line}: {}",
            both(&output)
        );
    }
}

#[test]
fn nothing_reaches_the_command_line_of_the_process() {
    let place = Bucket::new();
    let line = fs::read(format!("/proc/{}/cmdline", place.mount.pid())).unwrap();
    let line = String::from_utf8_lossy(&line);
    assert!(!line.contains(place.emulator.key()), "{line}");
    assert!(!place.mount.messages().contains(place.emulator.key()));
}

#[test]
fn exchanging_renames_are_refused() {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    let place = Bucket::new();
    let (a, b) = (place.path().join("a"), place.path().join("b"));
    put(&a, b"a");
    put(&b, b"b");
    let refused = renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE);
    assert_eq!(refused, Err(nix::errno::Errno::EINVAL));
    assert_eq!((get(&a), get(&b)), (b"a".to_vec(), b"b".to_vec()));
}
