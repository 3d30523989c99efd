//! Fifos, sockets, device nodes, programs that run from the mount, and hard links, which there are none of.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::support::place::{Bucket, Place};
use crate::support::python::python;
use crate::support::tools::{both, finish, program, shell};
use crate::support::tree::{self, get, names, put};

crate::scenarios! {
    fifos_carry_data_between_processes,
    sockets_are_bound_and_found_by_their_name,
    device_nodes_stay_what_they_are,
    programs_and_scripts_run,
    a_program_that_runs_cannot_be_written_to,
    a_program_runs_on_when_its_name_goes,
}

fn fifos_carry_data_between_processes(place: &mut dyn Place) {
    const CARRY: &str = r"
def carry(name, size):
    def writes():
        with open(name, 'wb') as end:
            end.write(b'x' * size)
    child = Child(writes)
    same(len(get(name)), size)
    child.answer()
    same(os.lstat(name).st_size, 0)
";
    let script = r"
os.mkdir('d')
os.mkfifo('d/fifo', 0o640)
carry('d/fifo', 300_000)
# Renamed while both ends are open.
reader = descriptor('d/fifo', os.O_RDONLY | os.O_NONBLOCK)
writer = descriptor('d/fifo', os.O_WRONLY)
os.write(writer, b'before ')
os.rename('d/fifo', 'd/pipe')
os.chmod('d/pipe', 0o600)
os.write(descriptor('d/pipe', os.O_WRONLY), b'after')
same(os.read(reader, 100), b'before after')
os.mkfifo('gone')
held = descriptor('gone', os.O_RDWR)
os.unlink('gone')
os.write(held, b'still')
same(os.read(held, 100), b'still')
same(os.fstat(held).st_nlink, 0)
";
    python(place.path(), &(CARRY.to_owned() + script));
    place.remount();
    let script = r"
assert stat.S_ISFIFO(os.stat('d/pipe').st_mode)
same(stat.S_IMODE(os.stat('d/pipe').st_mode), 0o600)
os.rename('d', 'e')
carry('e/pipe', 100_000)
same(os.listdir('.'), ['e'])
";
    python(place.path(), &(CARRY.to_owned() + script));
}

fn sockets_are_bound_and_found_by_their_name(place: &mut dyn Place) {
    let script = r"
def asks(name, kind):
    with socket.socket(socket.AF_UNIX, kind) as it:
        it.connect(name)
        it.send(b'asked')
        if kind == socket.SOCK_STREAM:
            return it.recv(100).decode()

with socket.socket(socket.AF_UNIX) as server:
    server.bind('socket')
    refused('EADDRINUSE', socket.socket(socket.AF_UNIX).bind, 'socket')
    assert stat.S_ISSOCK(os.stat('socket').st_mode)
    refused('ECONNREFUSED', asks, 'socket', socket.SOCK_STREAM)
    server.listen(5)
    for name in 'socket', 'moved', 'd/again':
        if name != 'socket':
            os.makedirs('d', exist_ok=True)
            os.rename(before, name)
            os.chmod(name, 0o700)
        before = name
        child = Child(asks, name, socket.SOCK_STREAM)
        peer, _ = server.accept()
        same(peer.recv(100), b'asked')
        peer.send(b'answer')
        same(child.answer(), 'answer')
refused('ECONNREFUSED', asks, 'd/again', socket.SOCK_STREAM)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
    server.bind('datagrams')
    Child(asks, 'datagrams', socket.SOCK_DGRAM).answer()
    same(server.recv(100), b'asked')
    os.unlink('datagrams')
    refused('ENOENT', asks, 'datagrams', socket.SOCK_DGRAM)
";
    python(place.path(), script);
    place.remount();
    let script = r"
assert stat.S_ISSOCK(os.stat('d/again').st_mode)
same(stat.S_IMODE(os.stat('d/again').st_mode), 0o700)
refused('ECONNREFUSED', socket.socket(socket.AF_UNIX).connect, 'd/again')
os.unlink('d/again')
with socket.socket(socket.AF_UNIX) as server:
    server.bind('d/again')
    server.listen(1)
    Child(lambda: socket.socket(socket.AF_UNIX).connect('d/again')).answer()
";
    python(place.path(), script);
}

fn device_nodes_stay_what_they_are(place: &mut dyn Place) {
    let script = r"
os.mkdir('d')
os.mknod('d/null', 0o640 | stat.S_IFCHR, os.makedev(1, 3))
os.mknod('d/large', 0o600 | stat.S_IFBLK, os.makedev(259, 70000))
os.mknod('d/plain', 0o644 | stat.S_IFREG)
os.rename('d/null', 'd/NULL')
os.rename('d', 'e')
";
    python(place.path(), script);
    for _ in 0..2 {
        let script = r"
def seen(name):
    it = os.lstat(f'e/{name}')
    return oct(it.st_mode), os.major(it.st_rdev), os.minor(it.st_rdev), it.st_size

same(seen('NULL'), ('0o20640', 1, 3, 0))
same(seen('large'), ('0o60600', 259, 70000, 0))
same(seen('plain'), ('0o100644', 0, 0, 0))
";
        python(place.path(), script);
        place.remount();
    }
    shell(
        "cp -a \"$1\"/e \"$1\"/copy; cd \"$1\"/copy; test -c NULL; test -b large; rm -r ../e ../copy",
        [place.path()],
    );
    assert!(names(place.path()).is_empty());
}

fn programs_and_scripts_run(place: &mut dyn Place) {
    let script = r"
shutil.copy(shutil.which('cat'), 'cat')
put('sh', b'#!/bin/sh\necho $1 from $0\n')
put('mine', b'#!./cat\nthe text\n')
put('plain', b'no program')
os.chmod('sh', 0o755)
os.chmod('mine', 0o755)
";
    python(place.path(), script);
    for _ in 0..2 {
        let script = r"
def says(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

same(says('./sh', 'hello'), 'hello from ./sh\n')
same(says('./mine'), '#!./cat\nthe text\n')
same(says('./cat', 'plain'), 'no program')
refused('EACCES', os.execv, './plain', ['x'])
os.chmod('plain', 0o755)
refused('ENOEXEC', os.execv, './plain', ['x'])
os.chmod('plain', 0o644)
";
        python(place.path(), script);
        place.remount();
    }
}

/// What the kernel of the machine does is what it does here.
fn a_program_that_runs_cannot_be_written_to(place: &mut dyn Place) {
    let script = r"
shutil.copy(shutil.which('cat'), 'cat')
running = subprocess.Popen(['./cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
running.stdin.write(b'x')
running.stdin.flush()
same(running.stdout.read(1), b'x')
refused('ETXTBSY', descriptor, 'cat', os.O_WRONLY)
refused('ETXTBSY', descriptor, 'cat', os.O_RDWR)
refused('ETXTBSY', descriptor, 'cat', os.O_RDWR | os.O_TRUNC)
refused('ETXTBSY', os.truncate, 'cat', 0)
running.communicate()
writer = descriptor('cat')
refused('ETXTBSY', os.execv, './cat', ['cat'])
os.close(writer)
subprocess.run(['./cat', '/dev/null'], check=True)
";
    python(place.path(), script);
}

fn a_program_runs_on_when_its_name_goes(place: &mut dyn Place) {
    let script = r"
for name in 'one', 'two':
    shutil.copy(os.path.realpath('/bin/bash'), name)
";
    python(place.path(), script);
    place.remount();
    let script = r"
running = [subprocess.Popen([f'./{name}', '-c', 'read x; for i in 1 2 3; do printf %s $((i * 7)); done; ulimit -n >/dev/null; echo $x'],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE) for name in ('one', 'two')]
os.unlink('one')
put('new', b'#!/bin/sh\necho another\n')
os.chmod('new', 0o755)
os.rename('new', 'two')
for program in running:
    same(program.communicate(b'told\n')[0], b'71421told\n')
same(subprocess.run(['./two'], capture_output=True).stdout, b'another\n')
same(os.listdir('.'), ['two'])
";
    python(place.path(), script);
}

/// Programs that can do without a hard link are told so by the right error, the others fail and say why.
#[test]
fn there_are_no_hard_links_and_programs_know_what_to_do() {
    let place = Bucket::new();
    let root = place.path();
    let outside = tempfile::tempdir().expect("a temporary directory");
    let script = r"
put('f', b'x')
os.symlink('f', 'link')
os.mkfifo('fifo')
for name in 'f', 'link', 'fifo':
    refused('EPERM', os.link, name, 'new', follow_symlinks=False)
refused('EEXIST', os.link, 'f', 'link', follow_symlinks=False)
refused('ENOENT', os.link, 'none', 'new')
same(sorted(os.listdir('.')), ['f', 'fifo', 'link'])
same(os.stat('f').st_nlink, 1)
os.unlink('link')
os.unlink('fifo')
";
    python(root, script);
    // `ln` and `cp -l` are nothing but links.
    for line in ["ln f g", "cp -l f g"] {
        let refused = finish(program("bash").args(["-c", line]).current_dir(root));
        let said = both(&refused);
        assert!(!refused.status.success(), "{line}");
        assert!(said.contains("Operation not permitted"), "{line}: {said}");
    }
    assert_eq!(names(root), ["f"]);
    // git goes on with copies.
    shell(
        "export HOME=\"$2\" GIT_CONFIG_NOSYSTEM=1; cd \"$1\"; git init -q repository; cd repository; \
         git config user.name n; git config user.email e; echo text > file; git add file; \
         git commit -q -m one; git clone -q \"$1\"/repository \"$1\"/clone; git -C \"$1\"/clone fsck; \
         cmp file \"$1\"/clone/file",
        [root, outside.path()],
    );
    // Of two linked names `cp`, `rsync` and `tar` bring the first, and say that the second is missing;
    // told not to link, they bring both.
    let linked = outside.path().join("linked");
    std::fs::create_dir(&linked).unwrap();
    put(&linked.join("a"), b"content");
    std::fs::hard_link(linked.join("a"), linked.join("b")).unwrap();
    for (number, (linking, copying)) in [
        (
            "cp -a linked/. $to",
            "cp -a --no-preserve=links linked/. $to",
        ),
        ("rsync -aH linked/ $to", "rsync -a linked/ $to"),
        (
            "tar -C linked -c . | tar -C $to -x",
            "tar -C linked --hard-dereference -c . | tar -C $to -x",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let to = root.join(format!("copy {number}"));
        std::fs::create_dir(&to).unwrap();
        let copy = |line: &str| {
            let mut bash = program("bash");
            let line = line.replace("$to", "\"$1\"");
            finish(
                bash.args(["-o", "pipefail", "-c", &line, "bash"])
                    .arg(&to)
                    .current_dir(outside.path()),
            )
        };
        let refused = copy(linking);
        let said = both(&refused);
        assert!(!refused.status.success(), "{linking}");
        assert!(
            said.contains("Operation not permitted"),
            "{linking}: {said}"
        );
        assert_eq!(names(&to).len(), 1, "{linking}");
        let copied = copy(copying);
        assert!(copied.status.success(), "{copying}: {}", both(&copied));
        assert_eq!(names(&to), ["a", "b"], "{copying}");
        assert_eq!(get(&to.join("b")), b"content");
    }
}

#[test]
fn a_hard_link_is_a_copy_made_by_b2_where_that_is_wanted() {
    let mut place = Bucket::with("hard_links: copy\n");
    let root = place.path().to_owned();
    let content = tree::noise(7, 300_000);
    put(&root.join("f"), &content);
    shell(
        "cd \"$1\"; chmod 640 f; touch -d 2001-02-03 f; setfattr -n user.a -v 1 f; ln -s f s; mkdir d; sync -f .",
        [&root],
    );
    place.emulator.forget_counters();
    shell(
        "cd \"$1\"; ln f g; cp -l f d/h; ln -P s t; ! ln f g; ! ln d e",
        [&root],
    );
    // What is not stored yet is as good.
    let mut open = fs::File::create(root.join("open")).unwrap();
    open.write_all(b"unsent").unwrap();
    fs::hard_link(root.join("open"), root.join("linked")).unwrap();
    drop(open);
    let sent = place.emulator.counters().bytes_in;
    assert!(sent < 1000, "{sent}");
    for _ in 0..2 {
        for name in ["f", "g", "d/h"] {
            assert!(get(&root.join(name)) == content, "{name}");
            let shown = "stat -c '%a %Y %h' \"$1\"; getfattr --absolute-names --only-values -n user.a \"$1\"";
            assert_eq!(shell(shown, [root.join(name)]), "640 981158400 1\n1");
        }
        assert_eq!(fs::read_link(root.join("t")).unwrap(), Path::new("f"));
        assert_eq!(get(&root.join("linked")), b"unsent");
        place.remount();
    }
    // Files of their own from then on.
    put(&root.join("g"), b"other");
    fs::remove_file(root.join("f")).unwrap();
    place.remount();
    assert!(get(&root.join("d/h")) == content);
    assert_eq!(get(&root.join("g")), b"other");
}
