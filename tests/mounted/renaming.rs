//! Renames at their borders: what may take whose name, and who sits in what is moved or removed.

use std::fs;

use crate::support::place::{Bucket, Place};
use crate::support::python::python;
use crate::support::tree::{get, names, put};

crate::scenarios! {
    a_thing_takes_the_name_of_its_like_and_of_an_empty_directory,
    what_cannot_be_renamed_is_refused_and_nothing_moves,
    a_directory_moves_with_all_who_are_in_it,
    who_is_in_a_removed_directory_finds_nothing_there,
    a_directory_moved_many_times_keeps_all_that_was_made_meanwhile,
}

fn a_thing_takes_the_name_of_its_like_and_of_an_empty_directory(place: &mut dyn Place) {
    let script = r"
def socket_at(name):
    with socket.socket(socket.AF_UNIX) as it:
        it.bind(name)

def full(name):
    os.mkdir(name)
    put(f'{name}/within', b'x')

kinds = {
    'file': lambda name: put(name, name.encode()),
    'empty': lambda name: os.mkdir(name),
    'full': full,
    'link': lambda name: os.symlink('nowhere', name),
    'fifo': os.mkfifo,
    'socket': socket_at,
    'device': lambda name: os.mknod(name, 0o600 | stat.S_IFCHR, os.makedev(1, 3)),
    'nothing': lambda name: None,
}
directories = 'empty', 'full'
for source in set(kinds) - {'nothing'}:
    for target in kinds:
        for flags in 0, NOREPLACE:
            old, new = f'{source} to {target} {flags}', f'{target} for {source} {flags}'
            kinds[source](old)
            kinds[target](new)
            before = os.lstat(old)
            if target == 'nothing':
                expected = None
            elif flags:
                expected = 'EEXIST'
            elif source in directories:
                expected = {'empty': None, 'full': 'ENOTEMPTY'}.get(target, 'ENOTDIR')
            else:
                expected = 'EISDIR' if target in directories else None
            if expected:
                there = os.lstat(new)
                refused(expected, renameat2, old, new, flags)
                same(os.lstat(old).st_ino, before.st_ino)
                same(os.lstat(new).st_ino, there.st_ino)
                same(os.lstat(new).st_mode, there.st_mode)
            else:
                renameat2(old, new, flags)
                refused('ENOENT', os.lstat, old)
                after = os.lstat(new)
                same((after.st_ino, after.st_mode, after.st_rdev), (before.st_ino, before.st_mode, before.st_rdev))
                if source == 'full':
                    same(get(f'{new}/within'), b'x')
";
    python(place.path(), script);
    let look = |place: &dyn Place| {
        let all = names(place.path()).into_iter();
        all.map(|name| {
            let path = place.path().join(&name);
            (name, fs::symlink_metadata(path).unwrap().file_type())
        })
        .collect::<Vec<_>>()
    };
    let before = look(place);
    place.remount();
    assert_eq!(look(place), before);
}

fn what_cannot_be_renamed_is_refused_and_nothing_moves(place: &mut dyn Place) {
    let script = r"
os.makedirs('d/e/f')
put('file', b'x')
put('d/e/within', b'y')
long = 'x' * 256
for failure, old, new in (
    ('EINVAL', 'd', 'd/new'), ('EINVAL', 'd', 'd/e/f/new'), ('EINVAL', 'd', 'd/e'),
    ('ENOTEMPTY', 'd/e/f', 'd'), ('ENOTEMPTY', 'd/e', 'd'),
    ('ENOENT', 'none', 'new'), ('ENOENT', 'file', 'none/new'), ('ENOENT', 'none/file', 'new'),
    ('ENOENT', '', 'new'), ('ENOENT', 'file', ''),
    ('ENOTDIR', 'file/x', 'new'), ('ENOTDIR', 'd', 'file/new'), ('ENOTDIR', 'file/', 'new'),
    ('ENOTDIR', 'file', 'new/'), ('ENOTDIR', 'd', 'file'), ('EISDIR', 'file', 'd'),
    ('ENAMETOOLONG', 'file', long), ('ENAMETOOLONG', long, 'new'), ('ENAMETOOLONG', 'd', f'd/{long}'),
    ('EBUSY', 'd/.', 'new'), ('EBUSY', 'd/e/..', 'new'), ('EBUSY', 'file', 'd/.'), ('EBUSY', 'file', 'd/e/..'),
    ('EXDEV', 'file', '/proc/new'), ('EXDEV', 'd', '/proc/new'),
):
    refused(failure, os.rename, old, new)
# Onto itself is no change, and slashes after a directory mean nothing.
ino = os.stat('d').st_ino
os.rename('file', 'file')
os.rename('d', 'd')
os.rename('d/', 'new/')
os.rename('new', 'd/')
same(os.stat('d').st_ino, ino)
same(sorted(os.listdir('.')), ['d', 'file'])
same(get('d/e/within'), b'y')
";
    python(place.path(), script);
    place.remount();
    assert_eq!(names(place.path()), ["d", "file"]);
    assert_eq!(names(&place.path().join("d/e")), ["f", "within"]);
}

fn a_directory_moves_with_all_who_are_in_it(place: &mut dyn Place) {
    let script = r"
top = os.getcwd()
os.makedirs('a/b/c')
os.mkdir('other')
put('a/b/c/stored', b'stored')
put('a/b/stays', b'stays')
reader = descriptor('a/b/c/stored', os.O_RDONLY)
writer = descriptor('a/b/c/stored')
new = descriptor('a/b/c/new', os.O_RDWR | os.O_CREAT)
os.write(new, b'begun')
listing = descriptor('a/b', os.O_RDONLY | os.O_DIRECTORY)
ready, go = os.pipe(), os.pipe()

def inside():
    os.chdir('a/b/c')
    os.write(ready[1], b'x')
    os.read(go[0], 1)
    put('made inside', b'1')
    return [os.getcwd(), sorted(os.listdir('.')), sorted(os.listdir('..')), os.path.realpath('../..')]

child = Child(inside)
os.read(ready[0], 1)
os.chdir('a/b')
os.rename(f'{top}/a', f'{top}/other/A')
os.rename('../b', '../../B')
same(os.getcwd(), f'{top}/other/B')
os.write(go[1], b'x')
same(child.answer(), [f'{top}/other/B/c', ['made inside', 'new', 'stored'], ['c', 'stays'], f'{top}/other'])
os.pwrite(writer, b'S', 0)
os.write(new, b' and ended')
same(os.pread(reader, 100, 0), b'Stored')
same(sorted(os.listdir(listing)), ['c', 'stays'])
put('here', b'2')
same(sorted(os.listdir(listing)), ['c', 'here', 'stays'])
for fd in reader, writer, new:
    same(os.path.dirname(os.readlink(f'/proc/self/fd/{fd}')), f'{top}/other/B/c')
    os.close(fd)
os.rename('here', 'c/stored')
os.rename('c', '../../moved')
same(get('../../moved/stored'), b'2')
";
    python(place.path(), script);
    place.remount();
    let root = place.path();
    assert_eq!(names(root), ["moved", "other"]);
    assert_eq!(names(&root.join("other")), ["A", "B"]);
    assert_eq!(names(&root.join("other/B")), ["stays"]);
    assert_eq!(get(&root.join("moved/new")), b"begun and ended");
    assert_eq!(get(&root.join("moved/stored")), b"2");
    assert_eq!(get(&root.join("moved/made inside")), b"1");
}

fn who_is_in_a_removed_directory_finds_nothing_there(place: &mut dyn Place) {
    let script = r"
top = os.getcwd()
for replaced in False, True:
    os.makedirs('up/d', exist_ok=True)
    fd = descriptor('up/d', os.O_RDONLY | os.O_DIRECTORY)
    os.chdir('up/d')
    if replaced:
        os.mkdir('../new')
        os.rename('../new', f'{top}/up/d')
    else:
        os.rmdir(f'{top}/up/d')
        os.mkdir(f'{top}/up/d')
    put(f'{top}/up/d/another', b'x')
    for where in '.', fd:
        same(os.listdir(where), [])
        same(os.stat(where).st_nlink, 0)
    refused('ENOENT', os.getcwd)
    refused('ENOENT', descriptor, 'x', os.O_CREAT | os.O_WRONLY)
    refused('ENOENT', descriptor, 'another')
    refused('ENOENT', os.mkdir, 'x')
    refused('ENOENT', os.symlink, 'x', 'y')
    refused('ENOENT', os.mkfifo, 'x')
    refused('ENOENT', os.rename, f'{top}/up/d/another', 'x')
    refused('ENOENT', os.open, 'x', os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    refused('ENOENT', os.stat, 'another', dir_fd=fd)
    os.fsync(fd)
    os.fchmod(fd, 0o700)
    os.close(fd)
    os.chdir('..')
    same(os.getcwd(), f'{top}/up')
    same(os.listdir('d'), ['another'])
    os.chdir(top)
    os.unlink('up/d/another')
os.rmdir('up/d')
os.rmdir('up')
";
    python(place.path(), script);
    assert!(names(place.path()).is_empty());
    place.remount();
    assert!(names(place.path()).is_empty());
}

fn a_directory_moved_many_times_keeps_all_that_was_made_meanwhile(place: &mut dyn Place) {
    let script = r"
os.mkdir('0')
# By a descriptor, as the name runs away.
fd = descriptor('0', os.O_RDONLY | os.O_DIRECTORY)

def work(who):
    if who == 0:
        for number in range(30):
            os.rename(str(number), str(number + 1))
        return []
    made = []
    for number in range(40):
        name = f'{who} {number}'
        file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=fd)
        os.write(file, name.encode())
        os.close(file)
        made.append(name)
        if number % 5 == 4:
            os.unlink(name, dir_fd=fd)
            made.pop()
    return made

made = sorted(name for some in at_once(3, work) for name in some)
same(sorted(os.listdir('30')), made)
for name in made:
    same(get(f'30/{name}'), name.encode())
same(len(made), 64)
";
    python(place.path(), script);
    place.remount();
    assert_eq!(names(place.path()), ["30"]);
    let made = names(&place.path().join("30"));
    assert_eq!(made.len(), 64);
    for name in made {
        let content = get(&place.path().join("30").join(&name));
        assert_eq!(content, name.as_encoded_bytes());
    }
}

#[test]
fn exchanging_names_and_leaving_whiteouts_is_refused() {
    let place = Bucket::new();
    put(&place.path().join("a"), b"a");
    put(&place.path().join("b"), b"b");
    let script = r"
for flags in 2, 4, 2 | 1, 8:
    refused('EINVAL', renameat2, 'a', 'b', flags)
same((get('a'), get('b')), (b'a', b'b'))
";
    python(place.path(), script);
}
