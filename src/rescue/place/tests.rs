use std::os::unix::fs::{MetadataExt as _, symlink};

use super::*;

fn new(dir: &Path) -> Place {
    Place::create(&dir.join("r"), List::new("photos", 7)).expect("made")
}

fn write(place: &mut Place, path: &str, bytes: &'static [u8]) -> String {
    let written = place.write(
        path,
        bytes.len() as u64,
        &[(0, Bytes::from_static(bytes))],
        &|| true,
    );
    written.expect("written").expect("not stopped").0
}

#[test]
fn bytes_lie_under_their_names_and_nobody_else_may_read_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut place = new(dir.path());
    let name = write(&mut place, "a/b c", b"content");
    assert_eq!(name, "files/a/b c");
    place.save().expect("saved");
    let place = Place::open(place.dir()).expect("opened");
    let mut text = String::new();
    let mut file = place.file(&name).expect("opened");
    file.read_to_string(&mut text).expect("read");
    assert_eq!(text, "content");
    assert_eq!(file.metadata().expect("known").mode() & 0o7777, 0o600);
    for path in ["", "files", "files/a"] {
        let mode = fs::metadata(place.dir().join(path)).expect("known").mode();
        assert_eq!(mode & 0o7777, 0o700, "{path}");
    }
    let list = fs::metadata(place.dir().join(LIST)).expect("known").mode();
    assert_eq!(list & 0o7777, 0o600);
}

#[test]
fn odd_names_stay_within_the_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut place = new(dir.path());
    let long = "x".repeat(300);
    for odd in [
        "../x",
        "/etc/passwd",
        "a//b",
        "a/../../x",
        "",
        ".",
        "a\0b",
        &long,
    ] {
        let name = write(&mut place, odd, b"x");
        assert!(name.starts_with("files/odd name"), "{odd:?}: {name}");
        place.file(&name).expect("it is there");
    }
    assert_eq!(write(&mut place, "a", b"1"), "files/a");
    assert_eq!(write(&mut place, "a", b"2"), "files/a~2");
    let below = write(&mut place, "a/b", b"3");
    assert!(below.starts_with("files/odd name"), "{below}");
    assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
}

#[test]
fn what_a_list_names_elsewhere_is_not_opened() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut place = new(dir.path());
    write(&mut place, "d/a", b"x");
    place.save().expect("saved");
    let place = Place::open(place.dir()).expect("opened");
    symlink("/etc", place.dir().join("files/etc")).expect("linked");
    symlink("/etc/passwd", place.dir().join("files/passwd")).expect("linked");
    for name in [
        "list.json",
        "files",
        "files/",
        "files/d",
        "files/../list.json",
        "/etc/passwd",
        "files/etc/passwd",
        "files/passwd",
        "../r/files/d/a",
        "",
    ] {
        place.file(name).expect_err(name);
    }
    place.file("files/d/a").expect("opened");
}

#[test]
fn what_is_given_up_goes_after_the_list_and_the_directory_with_the_last() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut place = new(dir.path());
    let name = write(&mut place, "d/e/a", b"x");
    place.save().expect("saved");
    place.give_up(name.clone());
    place.file(&name).expect("not yet");
    place.save().expect("saved");
    assert!(!place.dir().join("files").exists());
    let at = place.dir().to_owned();
    place.remove().expect("removed");
    assert!(!at.exists());
}

#[test]
fn who_is_asked_to_stop_leaves_nothing_half() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut place = new(dir.path());
    let bytes = [(0, Bytes::from(vec![7; 3 * STRIDE]))];
    let asked = std::cell::Cell::new(0);
    let go_on = || {
        asked.set(asked.get() + 1);
        asked.get() < 3
    };
    let written = place.write("a", 3 * STRIDE as u64, &bytes, &go_on);
    assert_eq!(written.expect("no fault"), Err(Stopped));
    assert!(!place.dir().join("files/a").exists());
}

#[test]
fn a_directory_in_use_is_not_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("mine"), "x").expect("written");
    Place::create(dir.path(), List::new("photos", 7)).expect_err("not empty");
}
