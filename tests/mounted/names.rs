//! Names at the borders of what Linux and B2 allow.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::support::place::{Bucket, Place};
use crate::support::tools::shell;
use crate::support::tree::{self, CONTENT, ODD_NAMES, STORED, Times, get, put};

crate::scenarios! {
    odd_names_work_for_files_and_directories,
    odd_names_can_be_renamed_and_removed,
    nfc_and_nfd_are_two_names,
    case_matters,
    components_as_long_as_pathconf_says_work_and_longer_ones_do_not,
}

fn odd_names_work_for_files_and_directories(place: &mut dyn Place) {
    let twin = tempfile::tempdir().expect("a temporary directory");
    for root in [place.path(), twin.path()] {
        for name in ODD_NAMES {
            let directory = root.join("d").join(name);
            fs::create_dir_all(&directory).unwrap();
            put(&directory.join(name), name.as_bytes());
            put(&root.join(name), name.as_bytes());
        }
    }
    tree::same(twin.path(), place.path(), CONTENT);
    place.remount();
    tree::same(twin.path(), place.path(), CONTENT);
    for name in ODD_NAMES {
        assert_eq!(
            get(&place.path().join("d").join(name).join(name)),
            name.as_bytes()
        );
    }
    tree::same(twin.path(), &place.stored(), STORED.with_times(Times::No));
}

fn odd_names_can_be_renamed_and_removed(place: &mut dyn Place) {
    let root = place.path().to_owned();
    put(&root.join("start"), b"content");
    let mut last = "start";
    for name in ODD_NAMES {
        fs::rename(root.join(last), root.join(name)).unwrap();
        assert_eq!(tree::names(&root), [OsStr::new(name)]);
        last = name;
    }
    assert_eq!(get(&root.join(last)), b"content");
    for name in ODD_NAMES {
        put(&root.join(name), b"x");
    }
    place.remount();
    for name in ODD_NAMES {
        fs::remove_file(root.join(name)).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        assert!(!root.join(name).exists());
    }
    assert!(tree::names(&root).is_empty());
    place.remount();
    assert!(tree::names(&root).is_empty());
}

fn nfc_and_nfd_are_two_names(place: &mut dyn Place) {
    let (nfc, nfd) = ("caf\u{e9}", "cafe\u{301}");
    put(&place.path().join(nfc), b"composed");
    assert!(!place.path().join(nfd).exists());
    put(&place.path().join(nfd), b"decomposed");
    place.remount();
    assert_eq!(tree::names(place.path()).len(), 2);
    assert_eq!(get(&place.path().join(nfc)), b"composed");
    assert_eq!(get(&place.path().join(nfd)), b"decomposed");
    fs::remove_file(place.path().join(nfc)).unwrap();
    assert_eq!(tree::names(place.path()), [nfd]);
}

fn case_matters(place: &mut dyn Place) {
    put(&place.path().join("File"), b"F");
    put(&place.path().join("file"), b"f");
    fs::rename(place.path().join("file"), place.path().join("FILE")).unwrap();
    place.remount();
    assert_eq!(tree::names(place.path()), ["FILE", "File"]);
    assert_eq!(get(&place.path().join("FILE")), b"f");
    assert_eq!(get(&place.path().join("File")), b"F");
}

fn components_as_long_as_pathconf_says_work_and_longer_ones_do_not(place: &mut dyn Place) {
    let root = place.path().to_owned();
    let most = rustix::fs::statvfs(&root).unwrap().f_namemax as usize;
    for letter in ["x", "ü", "🦀"] {
        let mut name = letter.repeat(most / letter.len());
        name += &"a".repeat(most - name.len());
        assert_eq!(name.len(), most);
        fs::create_dir(root.join(&name)).unwrap();
        put(&root.join(&name).join(&name), name.as_bytes());
        place.remount();
        assert_eq!(get(&root.join(&name).join(&name)), name.as_bytes());
        let longer = name + "y";
        assert_eq!(
            errno(fs::File::create(root.join(&longer))),
            Some(libc::ENAMETOOLONG)
        );
        assert_eq!(
            errno(fs::create_dir(root.join(&longer))),
            Some(libc::ENAMETOOLONG)
        );
        // What others have made under such a name is shown.
        let looked_up = errno(fs::metadata(root.join(&longer)));
        assert!(
            [Some(libc::ENAMETOOLONG), Some(libc::ENOENT)].contains(&looked_up),
            "{looked_up:?}"
        );
    }
    assert_eq!(tree::names(&root).len(), 3);
}

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// A path below `root` whose B2 name has exactly `len` bytes, in directories that exist.
fn path_of(root: &Path, len: usize) -> std::path::PathBuf {
    let folder = "d".repeat(200);
    let mut path = root.to_owned();
    let mut used = 0;
    for _ in 0..4 {
        path.push(&folder);
        used += folder.len() + 1;
    }
    fs::create_dir_all(&path).unwrap();
    path.join("f".repeat(len - used))
}

#[test]
fn names_of_1024_bytes_work_and_of_1025_do_not() {
    let mut place = Bucket::new();
    let root = place.path().to_owned();
    let longest = path_of(&root, 1024);
    put(&longest, b"the longest name");
    place.remount();
    assert_eq!(get(&longest), b"the longest name");
    let longer = path_of(&root, 1025);
    assert_eq!(errno(fs::File::create(&longer)), Some(libc::ENAMETOOLONG));
    assert_eq!(
        errno(fs::rename(&longest, &longer)),
        Some(libc::ENAMETOOLONG)
    );
    assert_eq!(get(&longest), b"the longest name");
    assert_eq!(
        get(&place.stored().join(longest.strip_prefix(&root).unwrap())),
        b"the longest name"
    );
    // A directory whose new name would make names beneath it too long stays where it is.
    let folder = root.join("d".repeat(200));
    assert_eq!(
        errno(fs::rename(&folder, root.join("e".repeat(201)))),
        Some(libc::ENAMETOOLONG)
    );
    assert_eq!(get(&longest), b"the longest name");
}

#[test]
fn control_characters_are_refused_when_the_file_is_created() {
    let place = Bucket::new();
    let root = place.path();
    for name in ["new\nline", "tab\t", "bell\u{7}", "del\u{7f}", "\u{1}"] {
        let refused = errno(fs::File::create(root.join(name)));
        assert!(
            matches!(refused, Some(libc::EINVAL | libc::EILSEQ)),
            "create {name:?}: {refused:?}"
        );
        let refused = errno(fs::create_dir(root.join(name)));
        assert!(
            matches!(refused, Some(libc::EINVAL | libc::EILSEQ)),
            "mkdir {name:?}: {refused:?}"
        );
        put(&root.join("good"), b"x");
        let refused = errno(fs::rename(root.join("good"), root.join(name)));
        assert!(
            matches!(refused, Some(libc::EINVAL | libc::EILSEQ)),
            "rename to {name:?}: {refused:?}"
        );
        assert_eq!(errno(fs::metadata(root.join(name))), Some(libc::ENOENT));
        assert_eq!(tree::names(root), ["good"]);
    }
}

#[test]
fn names_that_are_not_utf8_are_refused_when_the_file_is_created() {
    let place = Bucket::new();
    let path = place.path().join(OsStr::from_bytes(b"latin1 \xe9"));
    assert_eq!(errno(fs::File::create(&path)), Some(libc::EILSEQ));
    assert_eq!(errno(fs::create_dir(&path)), Some(libc::EILSEQ));
    assert_eq!(errno(fs::metadata(&path)), Some(libc::ENOENT));
    assert!(tree::names(place.path()).is_empty());
}

#[test]
fn the_clear_error_reaches_the_shell() {
    let place = Bucket::new();
    let said = shell("touch \"$1\"/$'new\\nline' 2>&1 || true", [place.path()]);
    assert!(
        said.contains("Invalid argument") || said.contains("Invalid or incomplete multibyte"),
        "{said}"
    );
}
