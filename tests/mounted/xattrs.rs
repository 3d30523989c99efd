//! Extended attributes as programs use them: `setfattr`, `cp`, `tar`, `rsync`, Python.

use serde_json::json;

use crate::scenarios;
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::place::{Bucket, Place};
use crate::support::tools::{both, finish, program, run, shell};
use crate::support::{bucket, tree};

scenarios![
    attributes_are_set_listed_and_removed,
    attributes_of_a_tree_go_with_cp_tar_and_rsync,
    attributes_of_files_without_a_name_are_kept_to_their_end,
    errors_are_those_of_linux,
];

fn python(place: &dyn Place, script: &str) {
    shell(
        "cd \"$1\"; python3 -c \"$2\"",
        [place.path().as_os_str(), script.as_ref()],
    );
}

fn attributes_are_set_listed_and_removed(place: &mut dyn Place) {
    python(
        place,
        r"
import os
open('f', 'w').close(); os.mkdir('d')
every = bytes(range(1, 256))
long = 'user.' + 'l' * 200
for x in ('f', 'd'):
    os.setxattr(x, 'user.one', b'1')
    os.setxattr(x, 'user.Empty', b'')
    os.setxattr(x, long, every)
    os.setxattr(x, 'user.gone', b'x')
    os.removexattr(x, 'user.gone')
    os.setxattr(x, 'user.one', b'2', os.XATTR_REPLACE)
",
    );
    place.remount();
    python(
        place,
        r"
import os
every = bytes(range(1, 256))
long = 'user.' + 'l' * 200
for x in ('f', 'd'):
    assert sorted(os.listxattr(x)) == sorted(['user.one', 'user.Empty', long]), os.listxattr(x)
    assert os.getxattr(x, 'user.one') == b'2'
    assert os.getxattr(x, 'user.Empty') == b''
    assert os.getxattr(x, long) == every
",
    );
}

/// What the tree holds, attributes included.
fn shown(place: &dyn Place, tree: &str) -> String {
    shell(
        "cd \"$1/$2\"; getfattr -RPhd --absolute-names . | sort; find . -printf '%p %m %T@ %l\\n' | sort",
        [place.path().as_os_str(), tree.as_ref()],
    )
}

fn attributes_of_a_tree_go_with_cp_tar_and_rsync(place: &mut dyn Place) {
    shell(
        "cd \"$1\"; mkdir -p t/d/empty; echo 1 > t/a; echo 2 > t/d/b; ln -s a t/link
         setfattr -n user.x -v 'of a' t/a; setfattr -n user.y -v 0x00ff10 t/d/b
         setfattr -n user.z -v of-d t/d; setfattr -n user.e -v empty t/d/empty
         chmod 2750 t/d
         touch -hd '2001-02-03 04:05:06.123456789' t/a t/d/b t/link t/d/empty t/d t
         cp -a t copied
         rsync -aX t/ synced; rsync -aX t/ synced
         tar --xattrs -cf t.tar t; mkdir unpacked
         tar --xattrs --xattrs-include='user.*' -C unpacked --strip-components=1 -xf t.tar",
        [place.path()],
    );
    place.remount();
    let truth = shown(place, "t");
    assert_eq!(truth.matches("user.").count(), 4, "{truth}");
    // The roots of the copies have times of their own.
    let below = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with(". "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for copy in ["copied", "synced", "unpacked"] {
        assert_eq!(below(&shown(place, copy)), below(&truth), "{copy}");
    }
    let again = shell(
        "cd \"$1\"; rsync -aXc --itemize-changes t/ synced; rsync -aXc --itemize-changes synced/ t",
        [place.path()],
    );
    assert_eq!(again, "");
}

fn attributes_of_files_without_a_name_are_kept_to_their_end(place: &mut dyn Place) {
    python(
        place,
        r"
import os
fd = os.open('f', os.O_RDWR | os.O_CREAT)
os.setxattr(fd, 'user.a', b'1')
os.unlink('f')
assert os.getxattr(fd, 'user.a') == b'1'
os.setxattr(fd, 'user.b', b'2')
assert sorted(os.listxattr(fd)) == ['user.a', 'user.b']
os.close(fd)
open('f', 'w').close()
assert os.listxattr('f') == []
",
    );
    place.remount();
    python(
        place,
        "import os\nassert os.listxattr('f') == []\nassert os.listdir('.') == ['f']\n",
    );
}

fn errors_are_those_of_linux(place: &mut dyn Place) {
    python(
        place,
        r"
import errno, os
open('f', 'w').close(); os.symlink('f', 's'); os.mkfifo('p')
def fails(code, call, *args, **more):
    try: call(*args, **more)
    except OSError as e: assert e.errno == code, (e, errno.errorcode[code], call, args)
    else: raise AssertionError((call, args))
fails(errno.ENODATA, os.getxattr, 'f', 'user.a')
fails(errno.ENODATA, os.removexattr, 'f', 'user.a')
fails(errno.ENODATA, os.setxattr, 'f', 'user.a', b'1', os.XATTR_REPLACE)
os.setxattr('f', 'user.a', b'1', os.XATTR_CREATE)
fails(errno.EEXIST, os.setxattr, 'f', 'user.a', b'1', os.XATTR_CREATE)
fails(errno.EPERM, os.setxattr, 'p', 'user.a', b'1')
fails(errno.EPERM, os.setxattr, 's', 'user.a', b'1', follow_symlinks=False)
assert os.getxattr('s', 'user.a') == b'1'
fails(errno.ENOENT, os.getxattr, 'absent', 'user.a')
fails(errno.EOPNOTSUPP, os.setxattr, 'f', 'nonsense.a', b'1')
fails(errno.ERANGE, os.setxattr, 'f', 'user.' + 'x' * 251, b'1')
",
    );
}

#[test]
fn too_much_is_no_space_left() {
    let place = Bucket::new();
    let said = finish(program("python3").current_dir(place.path()).args([
        "-c",
        "import os\nopen('f', 'w').close()\nos.setxattr('f', 'user.a', b'x' * 1500)\n\
         os.setxattr('f', 'user.b', b'x' * 1500)\n",
    ]));
    assert!(both(&said).contains("No space left on device"), "{said:?}");
}

#[test]
fn what_b2_knows_is_read_by_name_and_copied_nowhere() {
    let mut place = Bucket::new();
    shell(
        "cd \"$1\"; printf abc > f; cp -a f g; setfattr -n user.own -v 1 f",
        [place.path()],
    );
    place.remount();
    let read = |name: &str| {
        shell(
            "getfattr --absolute-names --only-values -n \"$2\" \"$1/f\"",
            [place.path().as_os_str(), name.as_ref()],
        )
    };
    assert_eq!(
        read("user.b2.sha1"),
        "a9993e364706816aba3e25717850c26c9cd0d89d"
    );
    assert_eq!(read("user.b2.info.xattr-own"), "1");
    assert!(read("user.b2.file_id").starts_with("4_z"));
    assert!(read("user.b2.upload_timestamp").parse::<u64>().is_ok());
    let listed = shell("getfattr -m - --absolute-names \"$1/f\"", [place.path()]);
    assert_eq!(listed.matches("user.").count(), 1, "{listed}");
}

#[test]
fn a_file_of_a_public_bucket_says_where_anybody_can_download_it() {
    let place = Bucket::new();
    let path = place.path().join("d e").join("f+g.txt");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    tree::put(&path, b"content");
    let url = || {
        finish(
            program("getfattr")
                .args(["--absolute-names", "--only-values", "-n", "user.b2.url"])
                .arg(&path),
        )
    };
    let private = url();
    assert!(!private.status.success());
    assert!(
        both(&private).contains("No such attribute"),
        "{}",
        both(&private)
    );
    let bucket = bucket::Bucket::open(&place.emulator);
    bucket.call(
        "b2_update_bucket",
        &json!({"accountId": bucket.account_id, "bucketId": bucket.id, "bucketType": "allPublic"}),
    );
    let public = url();
    assert!(public.status.success(), "{}", both(&public));
    let address = String::from_utf8(public.stdout).unwrap();
    let get =
        "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())";
    let got = run(program("python3").args(["-c", get, &address]));
    assert_eq!(got, "content\n");
}

#[test]
fn a_content_type_that_was_set_goes_with_cp_and_rsync_which_then_find_nothing_to_do() {
    let emulator = Emulator::start();
    let mut mount = Mount::new(&emulator);
    let root = mount.path().to_owned();
    shell(
        "cd $1; mkdir one; for f in a.txt b.html c; do echo $f > one/$f; done
         setfattr -n user.b2.content_type -v 'text/x-mine; charset=utf-8' one/a.txt
         setfattr -n user.b2.content_type -v application/octet-stream one/b.html
         touch -d 2001-02-03 one
         cp -a one by-cp
         rsync -aX one/ by-rsync",
        [&root],
    );
    mount.remount();
    for _ in 0..2 {
        let moved = shell(
            "cd $1; for to in by-cp by-rsync; do rsync -aXi one/ $to; done",
            [&root],
        );
        assert_eq!(moved, "");
    }
    for at in ["one", "by-cp", "by-rsync"] {
        let types = shell(
            "cd $1/$2; for f in a.txt b.html c; do getfattr --only-values -n user.b2.content_type $f; echo; done
             getfattr -d -m - c",
            [root.as_os_str(), at.as_ref()],
        );
        let chosen = "text/x-mine; charset=utf-8\napplication/octet-stream\n";
        assert_eq!(types, format!("{chosen}application/octet-stream\n"), "{at}");
    }
    // What has none on another filesystem loses it, once.
    let disk = tempfile::tempdir().expect("a temporary directory");
    shell(
        "cp -a --no-preserve=xattr $1/one/. $2",
        [&root, disk.path()],
    );
    let sync = || shell("rsync -aXi $2/ $1/by-rsync", [&root, disk.path()]);
    assert_eq!(sync().lines().count(), 2);
    assert_eq!(sync(), "");
    emulator.forget_counters();
    mount.remount();
    assert_eq!(sync(), "");
    mount.unmount();
    assert!(
        emulator.calls("b2_copy_file") <= 2,
        "each once, unless it was stored before"
    );
    let invalid = Mount::new(&emulator);
    let refused = finish(
        program("setfattr")
            .args(["-n", "user.b2.content_type", "-v", "nonsense"])
            .arg(invalid.path().join("one/c")),
    );
    assert!(
        both(&refused).contains("Invalid argument"),
        "{}",
        both(&refused)
    );
}
