//! Whole trees with all that rsync, tar, cpio and zip can carry of them: kinds, modes, owners, times.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::support::place::{Bucket, Place};
use crate::support::tools::{both, finish, program, shell};
use crate::support::tree::{self, Compare, EVERYTHING, Times};

crate::scenarios! {
    rsync_finds_nothing_to_do_in_either_direction,
    rsync_updates_what_changed_of_everything,
    tar_carries_a_tree_in_and_out,
    cpio_carries_a_tree_in_and_out,
    zip_carries_a_tree_in_and_out,
}

/// What a real tree has: the source of this project, and one of each kind of file and of mode.
fn source() -> TempDir {
    let source = tempfile::tempdir().expect("a temporary directory");
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["src", "docs", "Cargo.toml", "Cargo.lock", "LICENSE"] {
        let line = "cp -a \"$1\" \"$2\"/";
        shell(line, [project.join(part), source.path().to_owned()]);
    }
    let line = "
        cd \"$1\"
        mkdir empty empty/in-it sticky setgid private read-only
        chmod 1777 sticky; chmod 2775 setgid; chmod 700 private; chmod 2755 setgid
        echo run > setuid; chmod 4755 setuid
        echo run > setgid/file; chmod 2711 setgid/file
        echo all > bits; chmod 6777 bits
        echo no > none; chmod 400 none
        echo r > read-only/r; chmod 444 read-only/r
        : > zero
        ln -s src/main.rs link; ln -s src to-directory; ln -s no/where dangling
        ln -s \"$(printf 'x%.0s' $(seq 900))\" long
        ln -s 'with space/and grüße' 'odd link'
        mkfifo fifo; mkfifo -m 622 sticky/other-fifo
        setfattr -n user.mime_type -v text/plain setuid; setfattr -n user.Odd -v 0x00ff setgid
        touch -d '2001-02-03 04:05:06.789012345' setuid none fifo empty/in-it
        touch -h -d '2002-03-04 05:06:07.891234567' link to-directory dangling long 'odd link'
        touch -d '1969-07-20 20:17:40.123456789' bits
        touch -d '2100-01-01 00:00:00.5' zero
        chmod 555 read-only
        touch -d '1999-12-31 23:59:59.999999999' empty sticky read-only
    ";
    shell(line, [source.path()]);
    if nix::unistd::geteuid().is_root() {
        let line = "cd \"$1\"; chown 1234:5678 zero sticky; chown 1:2 none; chmod 000 none; chown -h 77:88 link fifo; \
                    chown 1234:5678 setuid; chmod 4755 setuid";
        shell(line, [source.path()]);
    }
    age(source.path());
    source
}

/// Sets back what was changed just now: of a time in the second in which it copies rsync leaves the fraction.
fn age(tree: &Path) {
    let line = "find \"$1\" -newermt '1 hour ago' ! -newermt 'tomorrow' -print0 | \
                xargs -0r touch -h -d '2005-03-18 01:58:31.222222222'";
    shell(line, [tree]);
}

fn empty() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn rsync(arguments: &[&str], from: &Path, to: &Path) -> Output {
    finish(
        program("rsync")
            .args(arguments)
            .arg(format!("{}/", from.display()))
            .arg(format!("{}/", to.display())),
    )
}

#[track_caller]
fn copied(arguments: &[&str], from: &Path, to: &Path) {
    let output = rsync(arguments, from, to);
    assert!(output.status.success(), "{}", both(&output));
    assert!(output.stderr.is_empty(), "{}", both(&output));
}

/// Fails on any difference that rsync would mend, content included.
#[track_caller]
fn nothing_to_do(arguments: &[&str], one: &Path, other: &Path) {
    for (from, to) in [(one, other), (other, one)] {
        let mut all = arguments.to_vec();
        all.extend(["--checksum", "--itemize-changes", "--dry-run", "--delete"]);
        let output = rsync(&all, from, to);
        assert!(output.status.success(), "{}", both(&output));
        assert_eq!(both(&output), "", "from {from:?} to {to:?}");
    }
}

/// What archives of the old kinds hold.
const SECONDS: Compare = Compare {
    times: Times::Seconds,
    link_times: false,
    ..EVERYTHING
};

const ALL: &[&str] = &["-a", "-H", "-A", "-X", "--numeric-ids"];

fn rsync_finds_nothing_to_do_in_either_direction(place: &mut dyn Place) {
    let source = source();
    let at = place.path().join("tree");
    fs::create_dir(&at).unwrap();
    copied(ALL, source.path(), &at);
    nothing_to_do(ALL, source.path(), &at);
    place.remount();
    nothing_to_do(ALL, source.path(), &at);
    tree::same(source.path(), &at, EVERYTHING);
    let back = empty();
    copied(ALL, &at, back.path());
    nothing_to_do(ALL, source.path(), back.path());
    tree::same(source.path(), back.path(), EVERYTHING);
}

fn rsync_updates_what_changed_of_everything(place: &mut dyn Place) {
    let source = source();
    let at = place.path().join("tree");
    fs::create_dir(&at).unwrap();
    copied(ALL, source.path(), &at);
    place.remount();
    // One change of each kind, of which no other shows: a mode, a time, a target, a kind, an owner.
    let line = "
        cd \"$1\"
        chmod 711 setuid; chmod 750 empty; chmod 644 fifo
        touch -d '2011-11-11 11:11:11.111111111' LICENSE private
        ln -sfn elsewhere link; rm to-directory; mkdir to-directory
        rm dangling; echo now a file > dangling
        rm zero; ln -s Cargo.toml zero
        rm -r sticky; mkfifo sticky
        mv docs documents
        rm -r src/b2
        chmod 755 read-only; rm read-only/r; chmod 511 read-only
    ";
    shell(line, [source.path()]);
    if nix::unistd::geteuid().is_root() {
        shell("chown 4:5 \"$1\"/Cargo.toml", [source.path()]);
    }
    age(source.path());
    let mut all = ALL.to_vec();
    all.push("--delete");
    copied(&all, source.path(), &at);
    nothing_to_do(ALL, source.path(), &at);
    place.remount();
    nothing_to_do(ALL, source.path(), &at);
    tree::same(source.path(), &at, EVERYTHING);
}

/// One object is one file: the second name of a file is an error that rsync tells, and without `-H` it is a
/// file of its own.
#[test]
fn rsync_tells_of_hard_links_that_it_cannot_make() {
    let place = Bucket::new();
    let source = empty();
    shell(
        "cd \"$1\"; echo content > a; ln a b; echo other > c",
        [source.path()],
    );
    let at = place.path();
    let output = rsync(&["-a", "-H"], source.path(), at);
    assert_eq!(output.status.code(), Some(23), "{}", both(&output));
    let said = both(&output);
    let failed = |line: &&str| line.contains("link") && line.contains("Operation not permitted");
    assert_eq!(said.lines().filter(failed).count(), 1, "{said}");
    // One of the two names, and what has no second name.
    assert_eq!(tree::names(at).len(), 2);
    assert!(at.join("c").exists());
    copied(&["-a"], source.path(), at);
    assert_eq!(tree::names(at), ["a", "b", "c"]);
    tree::same(source.path(), at, EVERYTHING);
}

/// ACLs are not kept, and rsync says so instead of leaving them out.
#[test]
fn rsync_tells_of_acls_that_it_cannot_set() {
    let place = Bucket::new();
    let source = empty();
    shell(
        "cd \"$1\"; echo content > f; setfacl -m u:1234:rw f; echo plain > plain",
        [source.path()],
    );
    let output = rsync(&["-a", "-A"], source.path(), place.path());
    assert_eq!(output.status.code(), Some(23), "{}", both(&output));
    let said = both(&output);
    assert!(said.contains("Operation not supported"), "{said}");
    assert_eq!(tree::names(place.path()), ["f", "plain"]);
}

fn tar_carries_a_tree_in_and_out(place: &mut dyn Place) {
    let (source, back) = (source(), empty());
    let pack = "tar -C \"$1\" --format=posix --numeric-owner --sort=name -cf - .";
    let unpack = "tar -C \"$2\" --numeric-owner -xpf -";
    let at = place.path().join("tree");
    fs::create_dir(&at).unwrap();
    shell(
        &format!("{pack} 2>&1 | {unpack} 2>&1"),
        [source.path(), &at],
    );
    place.remount();
    tree::same(source.path(), &at, EVERYTHING);
    shell(&format!("{pack} 2>&1 | {unpack} 2>&1"), [&at, back.path()]);
    tree::same(source.path(), back.path(), EVERYTHING);
    // Archives on the mount, one of them appended to, and compared by tar itself.
    let line = "
        cd \"$2\"
        tar -C \"$1\" --format=posix --numeric-owner -czf all.tar.gz .
        tar -C \"$1\" --format=posix --numeric-owner -cf some.tar src
        tar -C \"$1\" --format=posix --numeric-owner -rf some.tar docs empty setuid fifo link none
        tar -C \"$1\" -df all.tar.gz
        tar -C \"$1\" -df some.tar
        tar -tf some.tar | sort | sha1sum
    ";
    let listed = shell(line, [source.path(), place.path()]);
    place.remount();
    let line = "
        cd \"$2\"
        tar -C \"$1\" -df all.tar.gz
        tar -C \"$1\" -df some.tar
        tar -tf some.tar | sort | sha1sum
    ";
    assert_eq!(shell(line, [source.path(), place.path()]), listed);
}

fn cpio_carries_a_tree_in_and_out(place: &mut dyn Place) {
    let (source, back) = (source(), empty());
    let carry = "
        cd \"$1\"
        find . -mindepth 1 -depth -print0 | cpio --quiet -0 -o -H newc > \"$3\"/archive.cpio
        cd \"$2\"
        cpio --quiet -i -d -m --preserve-modification-time --no-absolute-filenames < \"$3\"/archive.cpio
    ";
    // Its times are seconds from 1970 on, in 32 bits.
    shell("touch -d @86400 \"$1\"/bits", [source.path()]);
    shell("touch -d @4102444800 \"$1\"/zero", [source.path()]);
    let at = place.path().join("tree");
    fs::create_dir(&at).unwrap();
    shell(carry, [source.path(), &at, place.path()]);
    place.remount();
    tree::same(source.path(), &at, SECONDS);
    shell(carry, [&at, back.path(), place.path()]);
    tree::same(source.path(), back.path(), SECONDS);
    // And in pass-through mode, which reads and writes names as find gives them.
    let other = place.path().join("passed");
    fs::create_dir(&other).unwrap();
    let pass = "cd \"$1\"; find . -mindepth 1 -depth -print0 | cpio --quiet -0 -p -d -m \"$2\"";
    shell(pass, [&at, &other]);
    place.remount();
    tree::same(source.path(), &other, SECONDS);
}

fn zip_carries_a_tree_in_and_out(place: &mut dyn Place) {
    let (source, back) = (source(), empty());
    // What the format holds: files, directories, links; modes; times in seconds from 1980 on.
    shell(
        "cd \"$1\"; rm fifo sticky/other-fifo; touch -d @1000000000 bits",
        [source.path()],
    );
    let line = "
        cd \"$1\"; zip -q -r -y -X \"$2\"/without.zip .; zip -q -r -y \"$2\"/all.zip .
        unzip -q -t \"$2\"/all.zip
        mkdir \"$2\"/tree; cd \"$2\"/tree; unzip -q -K -X \"$2\"/all.zip
    ";
    shell(line, [source.path(), place.path()]);
    place.remount();
    let same = |found: &Path| {
        let difference = tree::difference(source.path(), found, SECONDS);
        assert_eq!(difference, None, "{found:?}");
    };
    same(&place.path().join("tree"));
    let line = "unzip -q -t \"$1\"/without.zip; cd \"$2\"; unzip -q -K -X \"$1\"/all.zip";
    shell(line, [place.path(), back.path()]);
    same(back.path());
    // Members are replaced and removed in place.
    let line = "
        cd \"$1\"; echo new > new
        zip -q all.zip new; zip -q -d all.zip 'src/*'; unzip -qq -t all.zip; unzip -Z1 all.zip | sort
    ";
    let changed = shell(line, [place.path()]);
    let names: BTreeSet<&str> = changed.lines().collect();
    assert!(
        names.contains("new") && names.contains("LICENSE"),
        "{changed}"
    );
    assert!(
        !names.iter().any(|name| name.starts_with("src/m")),
        "{changed}"
    );
    place.remount();
    assert_eq!(
        shell("unzip -Z1 \"$1\"/all.zip | sort", [place.path()]),
        changed
    );
}
