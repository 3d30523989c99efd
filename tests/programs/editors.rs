//! Editors: each has its own way to replace a file, and none may cost the content, the mode, the owner,
//! or leave anything beside it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::support::bucket;
use crate::support::place::Place;
use crate::support::tools::{program, run};
use crate::support::tree::{get, names, put};

crate::scenarios! {
    vim_saves_by_renaming,
    vim_saves_by_copying,
    vim_saves_in_place,
    vim_recovers_from_its_swap_file,
    emacs_saves_with_a_backup_by_renaming,
    emacs_saves_with_a_backup_by_copying,
    emacs_saves_through_a_temporary_file,
    emacs_locks_what_it_edits,
}

const TEXT: &str = "first line\nsecond line\nthird line\n";

fn myself() -> (u32, u32) {
    (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    )
}

/// Whose the file is; somebody else's where this user can give it away.
fn owner() -> (u32, u32) {
    match myself() {
        (0, _) => (1234, 5678),
        me => me,
    }
}

/// A file with a mode, and, for root, an owner of its own, stored in the bucket.
fn text(place: &mut dyn Place) -> PathBuf {
    let folder = place.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("text");
    put(&file, TEXT.as_bytes());
    let (user, group) = owner();
    std::os::unix::fs::chown(&file, Some(user), Some(group)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    place.remount();
    file
}

/// The file as it was but for its first line; `beside` it in its directory, at once and after another mount;
/// and no version is left in the bucket that the editor made on its way.
#[track_caller]
fn edited(place: &mut dyn Place, file: &Path, first: &str, beside: &[&str]) {
    edited_by(owner(), place, file, first, beside);
}

#[track_caller]
fn edited_by(owner: (u32, u32), place: &mut dyn Place, file: &Path, first: &str, beside: &[&str]) {
    let expected = TEXT.replace("first line", first);
    for remount in [false, true] {
        if remount {
            place.remount();
        }
        let found = String::from_utf8(get(file)).unwrap();
        assert_eq!(found, expected, "remounted: {remount}");
        let meta = fs::metadata(file).unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o640, "remounted: {remount}");
        assert_eq!((meta.uid(), meta.gid()), owner, "remounted: {remount}");
        let mut all: Vec<OsString> = beside.iter().map(Into::into).collect();
        all.push("text".into());
        all.sort();
        assert_eq!(names(file.parent().unwrap()), all, "remounted: {remount}");
    }
    if let Some(emulator) = place.bucket() {
        let mut visible: Vec<String> = beside.iter().map(|name| format!("folder/{name}")).collect();
        visible.push("folder/text".to_owned());
        visible.sort();
        let mut found = bucket::Bucket::open(emulator).visible();
        found.retain(|name| !name.ends_with(".bzEmpty"));
        assert_eq!(found, visible);
    }
}

/// Edits in vim without anybody's settings: swap file on, `set` as given, then the lines of `commands`.
fn vim(file: &Path, set: &str, commands: &[&str]) {
    let mut command = program("vim");
    command
        .args(["-u", "NONE", "-i", "NONE", "-N", "-es"])
        .args(["-c", "set swapfile updatecount=1 backupskip="])
        .arg("-c")
        .arg(format!("set {set}"));
    for line in commands {
        command.args(["-c", line]);
    }
    run(command
        .args(["-c", "qa!"])
        .arg(file)
        .env("HOME", "/nonexistent"));
}

/// Saves thrice, twice of it by one vim.
fn vim_saves(place: &mut dyn Place, set: &str, beside: &[&str]) {
    let file = text(place);
    vim(
        &file,
        set,
        &["1s/.*/one/", "w", "preserve", "1s/.*/two/", "w"],
    );
    edited(place, &file, "two", beside);
    vim(&file, set, &["1s/.*/three/", "x"]);
    edited(place, &file, "three", beside);
    if beside.contains(&"text~") {
        let backup = String::from_utf8(get(&file.with_file_name("text~"))).unwrap();
        assert_eq!(backup, TEXT.replace("first line", "two"));
    }
    // A file that was not there.
    let new = file.with_file_name("new");
    vim(&new, set, &["normal ihello", "w", "normal oagain", "w"]);
    assert_eq!(get(&new), b"hello\nagain\n");
    place.remount();
    assert_eq!(get(&new), b"hello\nagain\n");
}

fn vim_saves_by_renaming(place: &mut dyn Place) {
    vim_saves(
        place,
        "backup backupcopy=no backupdir=. writebackup",
        &["text~"],
    );
}

fn vim_saves_by_copying(place: &mut dyn Place) {
    vim_saves(place, "nobackup backupcopy=yes writebackup fsync", &[]);
}

fn vim_saves_in_place(place: &mut dyn Place) {
    vim_saves(place, "nobackup nowritebackup backupcopy=auto", &[]);
}

fn vim_recovers_from_its_swap_file(place: &mut dyn Place) {
    let file = text(place);
    let swap = file.with_file_name(".text.swp");
    // The swap file of a vim that is killed before it saves.
    let mut killed = crate::held::Held::start("vim", |command| {
        command
            .args(["-u", "NONE", "-i", "NONE", "-N", "-es"])
            .args(["-c", "set swapfile updatecount=1", "-c", "1s/.*/unsaved/"])
            .args(["-c", "preserve"])
            .args(["-c", "call writefile(['ready'], '/dev/stdout')"])
            .args(["-c", "sleep 1000"])
            .arg(&file);
    });
    assert_eq!(killed.line().as_deref(), Some("ready"));
    assert!(swap.exists());
    killed.kill();
    place.remount();
    assert!(swap.exists());
    assert_eq!(get(&file), TEXT.as_bytes());
    run(program("vim")
        .args(["-u", "NONE", "-i", "NONE", "-N", "-es", "-r"])
        .arg(&file)
        .args(["-c", "w!", "-c", "qa!"]));
    fs::remove_file(&swap).unwrap();
    edited(place, &file, "unsaved", &[]);
}

/// Edits in emacs without anybody's settings, but so that it makes backups below `/tmp`, too: does as `set` says,
/// puts each of `lines` in place of the first line and saves, does as `then` says.
fn emacs(file: &Path, set: &str, lines: &[&str], then: &str) -> String {
    let edits: Vec<String> = lines
        .iter()
        .map(|line| {
            format!(
                "(goto-char (point-min)) (delete-region (point) (line-end-position)) \
                 (insert \"{line}\") (save-buffer)"
            )
        })
        .collect();
    let edits = edits.join(" ");
    let program_text = format!(
        "(progn (setq backup-enable-predicate (lambda (_) t)) {set} (find-file \"{}\") {edits} {then})",
        file.display()
    );
    run(program("emacs")
        .args([
            "--batch",
            "--no-init-file",
            "--no-site-file",
            "--eval",
            &program_text,
        ])
        .env("HOME", "/nonexistent"))
}

fn emacs_saves_with_a_backup_by_renaming(place: &mut dyn Place) {
    let file = text(place);
    emacs(&file, "(setq backup-by-copying nil)", &["one", "two"], "");
    // Of what was there before emacs came.
    let backup = file.with_file_name("text~");
    assert_eq!(get(&backup), TEXT.as_bytes());
    edited(place, &file, "two", &["text~"]);
    emacs(&file, "(setq version-control t)", &["three"], "");
    assert_eq!(get(&backup), TEXT.as_bytes());
    edited(place, &file, "three", &["text.~1~", "text~"]);
}

fn emacs_saves_with_a_backup_by_copying(place: &mut dyn Place) {
    let file = text(place);
    emacs(&file, "(setq backup-by-copying t)", &["one", "two"], "");
    assert_eq!(get(&file.with_file_name("text~")), TEXT.as_bytes());
    edited(place, &file, "two", &["text~"]);
}

fn emacs_saves_through_a_temporary_file(place: &mut dyn Place) {
    let file = text(place);
    let set = "(setq make-backup-files nil file-precious-flag t write-region-inhibit-fsync nil)";
    emacs(&file, set, &["one", "two", "three"], "");
    // It keeps the mode and takes the file over, anywhere.
    edited_by(myself(), place, &file, "three", &[]);
}

/// The lock is a symbolic link to nowhere, `.#text`, there as long as there are unsaved changes; beside it the
/// automatic save, `#text#`.
fn emacs_locks_what_it_edits(place: &mut dyn Place) {
    let file = text(place);
    let locked = "(insert \"unsaved \") \
                  (do-auto-save t t) \
                  (princ (file-symlink-p (concat (file-name-directory buffer-file-name) \".#text\"))) \
                  (princ \"\\n\") \
                  (princ (directory-files \".\" nil \"text\"))";
    let said = emacs(
        &file,
        "(setq create-lockfiles t make-backup-files nil auto-save-default t)",
        &["one"],
        locked,
    );
    let mut said = said.lines();
    let lock = said.next().unwrap_or_default();
    assert!(lock.contains('@'), "{lock}");
    let there = said.next().unwrap_or_default();
    assert!(there.contains(".#text"), "{there}");
    // It is killed by its end in batch mode with changes unsaved: the lock goes, the automatic save stays or not,
    // as emacs likes.
    let save = file.with_file_name("#text#");
    if save.exists() {
        assert!(get(&save).starts_with(b"one"));
        fs::remove_file(&save).unwrap();
    }
    edited(place, &file, "one", &[]);
}
