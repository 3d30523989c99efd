//! Everyday programs: cp, tar, mv, rm, sed, dd, truncate, find.

use std::fs;
use std::path::Path;

use crate::support::place::Place;
use crate::support::tools::{program, run, shell};
use crate::support::tree::{self, CONTENT, EVERYTHING, STORED, get, noise, put};

crate::scenarios! {
    a_tree_copied_in_with_cp_a_stays_whole,
    a_tree_copied_out_with_cp_a_is_whole,
    tar_unpacks_and_packs,
    mv_renames_files_and_directories,
    mv_moves_in_and_out,
    rm_rf_leaves_nothing,
    sed_in_place_replaces_the_file,
    dd_notrunc_patches_the_middle,
    append_adds_at_the_end,
    truncate_shrinks_grows_and_empties,
    sparse_writes_leave_zeros,
    an_editor_saves_by_rename,
    chmod_and_touch_survive_a_remount,
    find_and_checksums_agree,
    many_files_in_one_directory,
    a_deleted_open_file_stays_readable,
    a_file_renamed_while_written_keeps_everything,
    empty_directories_survive_a_remount,
    links_fifos_and_owners_survive_a_remount,
    mapped_memory_reaches_the_file,
    a_rename_leaves_nothing_to_come_back,
}

/// Compares what the mount shows, what it shows after a remount, and what B2 holds.
fn holds(place: &mut dyn Place, expected: &Path) {
    tree::same(expected, place.path(), CONTENT);
    tree::same(
        expected,
        &place.stored(),
        STORED.with_times(tree::Times::No),
    );
    place.remount();
    tree::same(expected, place.path(), CONTENT);
}

/// A twin of the place in a plain directory, on which the same line of shell runs.
fn twin() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Runs a line of shell in the place and in its twin, then compares.
fn both(place: &mut dyn Place, twin: &Path, line: &str) {
    let here = shell(&format!("cd \"$1\"; {line}"), [place.path()]);
    let there = shell(&format!("cd \"$1\"; {line}"), [twin]);
    assert_eq!(here, there, "what `{line}` prints");
    tree::same(twin, place.path(), CONTENT);
}

fn a_tree_copied_in_with_cp_a_stays_whole(place: &mut dyn Place) {
    let source = twin();
    tree::build(source.path(), 1);
    shell("cp -a \"$1\"/. \"$2\"/in", [source.path(), place.path()]);
    let copy = place.path().join("in");
    tree::same(source.path(), &copy, EVERYTHING);
    place.remount();
    tree::same(source.path(), &copy, EVERYTHING);
    tree::same(source.path(), &place.stored().join("in"), STORED);
}

fn a_tree_copied_out_with_cp_a_is_whole(place: &mut dyn Place) {
    let (source, back) = (twin(), twin());
    tree::build(source.path(), 2);
    shell("cp -a \"$1\"/. \"$2\"/in", [source.path(), place.path()]);
    place.remount();
    let line = "cp -a \"$1\"/in/. \"$2\"";
    shell(line, [place.path(), back.path()]);
    tree::same(source.path(), back.path(), EVERYTHING);
}

fn tar_unpacks_and_packs(place: &mut dyn Place) {
    let (source, back) = (twin(), twin());
    tree::build(source.path(), 3);
    shell(
        "tar -C \"$1\" --format=posix -c . | tar -C \"$2\" -xp",
        [source.path(), place.path()],
    );
    tree::same(source.path(), place.path(), EVERYTHING);
    shell(
        "tar -C \"$1\" --format=posix -c . | tar -C \"$2\" -xp",
        [place.path(), back.path()],
    );
    tree::same(source.path(), back.path(), EVERYTHING);
    holds(place, source.path());
}

fn mv_renames_files_and_directories(place: &mut dyn Place) {
    let twin = twin();
    for root in [place.path(), twin.path()] {
        fs::create_dir_all(root.join("dir/deep/er")).unwrap();
        fs::create_dir(root.join("other")).unwrap();
        put(&root.join("a"), b"first");
        put(&root.join("b"), b"second");
        put(&root.join("dir/x"), &noise(1, 10_000));
        put(&root.join("dir/deep/y"), &noise(2, 70_000));
        put(&root.join("dir/deep/er/z"), b"");
    }
    both(place, twin.path(), "mv a c");
    both(place, twin.path(), "mv c b");
    both(place, twin.path(), "mv dir moved");
    both(place, twin.path(), "mv moved other/");
    both(
        place,
        twin.path(),
        "mv -n b other/moved/x; cat other/moved/x | sha1sum",
    );
    both(place, twin.path(), "mv other/moved/deep/y .");
    both(
        place,
        twin.path(),
        "mv -T other/moved/deep/er other/empty 2>&1",
    );
    both(place, twin.path(), "mv y Y && mv Y y");
    holds(place, twin.path());
    both(
        place,
        twin.path(),
        "mv other/moved dir && rmdir dir 2>/dev/null || ls dir",
    );
    holds(place, twin.path());
}

fn mv_moves_in_and_out(place: &mut dyn Place) {
    let (original, source, back) = (twin(), twin(), twin());
    tree::build(original.path(), 4);
    shell("cp -a \"$1\"/. \"$2\"/t", [original.path(), source.path()]);
    shell("mv \"$1\"/t \"$2\"/", [source.path(), place.path()]);
    tree::same(original.path(), &place.path().join("t"), EVERYTHING);
    assert!(tree::names(source.path()).is_empty());
    place.remount();
    shell("mv \"$1\"/t \"$2\"/", [place.path(), back.path()]);
    tree::same(original.path(), &back.path().join("t"), EVERYTHING);
    assert!(tree::names(place.path()).is_empty());
    place.remount();
    assert!(tree::names(place.path()).is_empty());
}

fn rm_rf_leaves_nothing(place: &mut dyn Place) {
    tree::build(&place.path().join("t"), 5);
    put(&place.path().join("keep"), b"kept");
    shell("rm -rf \"$1\"/t", [place.path()]);
    assert_eq!(tree::names(place.path()), ["keep"]);
    place.remount();
    assert_eq!(tree::names(place.path()), ["keep"]);
    assert_eq!(get(&place.path().join("keep")), b"kept");
    assert_eq!(tree::names(&place.stored()), ["keep"]);
}

fn sed_in_place_replaces_the_file(place: &mut dyn Place) {
    let twin = twin();
    for root in [place.path(), twin.path()] {
        put(
            &root.join("text"),
            "one two three\n".repeat(5000).as_bytes(),
        );
    }
    both(place, twin.path(), "sed -i s/two/2/ text");
    both(
        place,
        twin.path(),
        "sed -i.old -e s/one/1/ -e 7d text && wc text text.old",
    );
    holds(place, twin.path());
}

fn dd_notrunc_patches_the_middle(place: &mut dyn Place) {
    let twin = twin();
    for root in [place.path(), twin.path()] {
        put(&root.join("f"), &noise(6, 3_000_000));
        put(&root.join("patch"), &noise(7, 50_000));
    }
    place.remount();
    let quiet = "status=none conv=notrunc";
    both(
        place,
        twin.path(),
        &format!("dd if=patch of=f bs=1000 seek=777 {quiet}"),
    );
    both(
        place,
        twin.path(),
        &format!("dd if=patch of=f bs=7 seek=3 count=1 {quiet}"),
    );
    both(
        place,
        twin.path(),
        &format!("dd if=patch of=f bs=1000 seek=2990 {quiet}"),
    );
    both(
        place,
        twin.path(),
        &format!("dd if=patch of=f bs=1 count=1 {quiet},fsync"),
    );
    both(
        place,
        twin.path(),
        &format!("dd if=patch of=new bs=4096 oflag=append {quiet}"),
    );
    holds(place, twin.path());
}

fn append_adds_at_the_end(place: &mut dyn Place) {
    let twin = twin();
    for root in [place.path(), twin.path()] {
        put(&root.join("f"), &noise(8, 1_500_001));
    }
    place.remount();
    both(
        place,
        twin.path(),
        "for i in 1 2 3 4 5; do echo line $i >> f; done; tail -n 6 f | tail -c 35",
    );
    both(place, twin.path(), "seq 1 20000 | tee -a f log | wc -c");
    both(
        place,
        twin.path(),
        "{ echo a; echo b; sync log; echo c; } >> log; tail -n 3 log",
    );
    holds(place, twin.path());
}

fn truncate_shrinks_grows_and_empties(place: &mut dyn Place) {
    let twin = twin();
    for root in [place.path(), twin.path()] {
        put(&root.join("f"), &noise(9, 1_000_000));
        put(&root.join("g"), &noise(10, 1_000_000));
        put(&root.join("h"), &noise(11, 4_000));
    }
    both(place, twin.path(), "truncate -s 123457 f; stat -c %s f");
    both(
        place,
        twin.path(),
        "truncate -s +400000 f; stat -c %s f; tail -c 5 f | od -c",
    );
    both(place, twin.path(), "truncate -s 0 g; echo again >> g");
    both(
        place,
        twin.path(),
        "truncate -s 100 h; truncate -s 200 h; : > f; truncate -s 5 f",
    );
    both(place, twin.path(), "truncate -s 70000 new; stat -c %s new");
    holds(place, twin.path());
}

fn sparse_writes_leave_zeros(place: &mut dyn Place) {
    let twin = twin();
    let quiet = "status=none conv=notrunc";
    both(
        place,
        twin.path(),
        &format!("echo end | dd of=s bs=1M seek=3 {quiet}; sha1sum s"),
    );
    both(
        place,
        twin.path(),
        &format!("echo mid | dd of=s bs=1 seek=1500000 {quiet}; sha1sum s"),
    );
    both(
        place,
        twin.path(),
        &format!("echo begin | dd of=s bs=1 {quiet}; sha1sum s"),
    );
    holds(place, twin.path());
}

fn an_editor_saves_by_rename(place: &mut dyn Place) {
    let file = place.path().join("notes.txt");
    put(&file, b"draft 0");
    for draft in 1..=5 {
        let text = format!("draft {draft}");
        let temporary = place.path().join(".notes.txt.swp");
        put(&temporary, text.as_bytes());
        fs::File::open(&temporary).unwrap().sync_all().unwrap();
        fs::rename(&temporary, &file).unwrap();
        fs::File::open(place.path()).unwrap().sync_all().unwrap();
        assert_eq!(get(&file), text.as_bytes());
    }
    assert_eq!(tree::names(place.path()), ["notes.txt"]);
    let stored = place.stored();
    assert_eq!(tree::names(&stored), ["notes.txt"]);
    assert_eq!(get(&stored.join("notes.txt")), b"draft 5");
}

fn chmod_and_touch_survive_a_remount(place: &mut dyn Place) {
    let line = "cd \"$1\"; stat -c '%n %a %Y %y %s' script private dir dir/in";
    shell(
        "cd \"$1\"; mkdir dir; echo x > script; echo y > private; echo z > dir/in; \
         chmod 755 script; chmod 600 private; chmod 751 dir; chmod 640 dir/in; \
         touch -d '2001-02-03 04:05:06.123456789' script private dir/in; \
         touch -d '1999-12-31 23:59:59.987654321' dir",
        [place.path()],
    );
    let before = shell(line, [place.path()]);
    assert!(
        before.contains("script 755 981173106 2001-02-03 04:05:06.123456789"),
        "{before}"
    );
    assert!(
        before.contains("dir 751 946684799 1999-12-31 23:59:59.987654321"),
        "{before}"
    );
    place.remount();
    assert_eq!(shell(line, [place.path()]), before);
    shell(
        "cd \"$1\"; chmod 700 script; touch -d @1000000000 dir/in",
        [place.path()],
    );
    let before = shell(line, [place.path()]);
    assert!(before.contains("script 700 981173106"), "{before}");
    assert!(before.contains("dir/in 640 1000000000"), "{before}");
    place.remount();
    assert_eq!(shell(line, [place.path()]), before);
}

fn find_and_checksums_agree(place: &mut dyn Place) {
    let source = twin();
    tree::build(source.path(), 12);
    shell("cp -a \"$1\"/. \"$2\"", [source.path(), place.path()]);
    place.remount();
    let look = "cd \"$1\"; find . -type f -printf '%p %s\\n' | sort; \
                find . -type f -print0 | sort -z | xargs -0 sha1sum; find . -type d | sort; \
                du -a --apparent-size --block-size=1 | wc -l";
    assert_eq!(shell(look, [place.path()]), shell(look, [source.path()]));
    shell("diff -r \"$1\" \"$2\"", [source.path(), place.path()]);
}

fn many_files_in_one_directory(place: &mut dyn Place) {
    // More than one page of a listing (1,000 rows).
    let twin = twin();
    both(
        place,
        twin.path(),
        "mkdir many; cd many; for i in $(seq 1500); do echo $i > f$i; done; ls | wc -l",
    );
    place.remount();
    both(
        place,
        twin.path(),
        "cd many; ls | sort | sha1sum; cat f1 f999 f1000 f1001 f1500; ls nothing 2>/dev/null || echo none",
    );
    both(place, twin.path(), "cd many; rm f*7; ls | wc -l");
    holds(place, twin.path());
    both(place, twin.path(), "rm -r many; ls");
    holds(place, twin.path());
}

fn a_deleted_open_file_stays_readable(place: &mut dyn Place) {
    use std::io::{Read, Seek, SeekFrom, Write};
    let path = place.path().join("f");
    let content = noise(13, 300_000);
    put(&path, &content);
    place.remount();
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!path.exists());
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert_eq!(tree::first_difference(&content, &read), None);
    file.seek(SeekFrom::Start(100)).unwrap();
    file.write_all(b"still writable").unwrap();
    file.seek(SeekFrom::Start(90)).unwrap();
    let mut some = [0; 30];
    file.read_exact(&mut some).unwrap();
    assert_eq!(&some[10..24], b"still writable");
    put(&path, b"another file");
    file.sync_all().unwrap();
    drop(file);
    assert_eq!(get(&path), b"another file");
    place.remount();
    assert_eq!(get(&path), b"another file");
    assert_eq!(get(&place.stored().join("f")), b"another file");
}

fn a_file_renamed_while_written_keeps_everything(place: &mut dyn Place) {
    use std::io::Write;
    fs::create_dir(place.path().join("d")).unwrap();
    let mut file = fs::File::create(place.path().join("d/part")).unwrap();
    file.write_all(&noise(14, 100_000)).unwrap();
    fs::rename(place.path().join("d/part"), place.path().join("d/whole")).unwrap();
    file.write_all(&noise(15, 100_000)).unwrap();
    fs::rename(place.path().join("d"), place.path().join("e")).unwrap();
    file.write_all(b"the end").unwrap();
    drop(file);
    let expected = [noise(14, 100_000), noise(15, 100_000), b"the end".to_vec()].concat();
    place.remount();
    assert_eq!(tree::names(place.path()), ["e"]);
    assert_eq!(tree::names(&place.path().join("e")), ["whole"]);
    let found = get(&place.path().join("e/whole"));
    assert_eq!(tree::first_difference(&expected, &found), None);
    let stored = get(&place.stored().join("e/whole"));
    assert_eq!(tree::first_difference(&expected, &stored), None);
}

fn empty_directories_survive_a_remount(place: &mut dyn Place) {
    let twin = twin();
    both(place, twin.path(), "mkdir -p a/b/c d; touch d/file");
    holds(place, twin.path());
    both(place, twin.path(), "rm d/file; ls -A d a/b/c");
    holds(place, twin.path());
    both(
        place,
        twin.path(),
        "rmdir a/b/c; ls -A a/b; rmdir a 2>/dev/null || echo not empty",
    );
    holds(place, twin.path());
    both(place, twin.path(), "rmdir a/b a d; ls -A");
    holds(place, twin.path());
}

fn links_fifos_and_owners_survive_a_remount(place: &mut dyn Place) {
    let look = "cd \"$1\"; stat -c '%N %F %u %g' f to-f nowhere p; cat to-f; ls";
    shell(
        "cd \"$1\"; echo x > f; ln -s f to-f; ln -s no/where nowhere; mkfifo p; chown 1234:5678 f p",
        [place.path()],
    );
    let before = shell(look, [place.path()]);
    assert!(
        before.contains("'to-f' -> 'f' symbolic link 0 0"),
        "{before}"
    );
    assert!(before.contains("'f' regular file 1234 5678"), "{before}");
    place.remount();
    assert_eq!(shell(look, [place.path()]), before);
    shell(
        "cd \"$1\"; mv to-f moved; rm nowhere p; cat moved",
        [place.path()],
    );
    place.remount();
    assert_eq!(
        shell("cd \"$1\"; ls; cat moved", [place.path()]),
        "f\nmoved\nx\n"
    );
}

fn mapped_memory_reaches_the_file(place: &mut dyn Place) {
    let path = place.path().join("mapped");
    put(&path, &vec![b'a'; 10_000]);
    let script = "import mmap, sys\n\
                  with open(sys.argv[1], 'r+b') as file, mmap.mmap(file.fileno(), 0) as memory:\n    \
                  memory[5000:5005] = b'hello'\n";
    run(program("python3").args(["-c", script]).arg(&path));
    let mut expected = vec![b'a'; 10_000];
    expected[5000..5005].copy_from_slice(b"hello");
    assert_eq!(tree::first_difference(&expected, &get(&path)), None);
    let stored = place.stored().join("mapped");
    assert_eq!(tree::first_difference(&expected, &get(&stored)), None);
}

fn a_rename_leaves_nothing_to_come_back(place: &mut dyn Place) {
    let root = place.path().to_owned();
    put(&root.join("b"), b"old");
    // A file that is not stored yet takes the name of a stored one, and leaves it again.
    let new = fs::File::create(root.join("a")).unwrap();
    fs::rename(root.join("a"), root.join("b")).unwrap();
    fs::rename(root.join("b"), root.join("c")).unwrap();
    drop(new);
    assert_eq!(tree::names(&root), ["c"]);
    place.remount();
    assert_eq!(tree::names(&root), ["c"]);
    assert_eq!(get(&root.join("c")), b"");
}
