//! Files that are open while their names go: removed, replaced, renamed, the directory with them.

use crate::support::bucket::Bucket as Versions;
use crate::support::place::Place;
use crate::support::python::python;
use crate::support::tree::{get, names};

crate::scenarios! {
    a_removed_file_works_on_for_whoever_has_it_open,
    a_replaced_file_works_on_for_whoever_has_it_open,
    a_file_in_a_removed_directory_works_on,
    what_has_no_name_can_be_opened_by_its_descriptor,
    what_is_written_after_a_rename_is_under_the_new_name,
    of_two_open_files_the_one_renamed_over_the_other_stays,
    mapped_pages_go_where_they_belong_whoever_appends,
    a_descriptor_may_stop_and_begin_to_append,
}

/// What nobody may find in the bucket, and all that a descriptor can do with a file without a name.
const NAMELESS: &str = r"
LATE = b'never stored'
CONTENT = bytes(range(256)) * 3


def works_on(fd, content):
    same(os.fstat(fd).st_nlink, 0)
    same(os.pread(fd, 1 << 20, 0), content)
    os.pwrite(fd, LATE, 5)
    os.fsync(fd)
    os.ftruncate(fd, 300)
    os.fchmod(fd, 0o640)
    os.utime(fd, ns=(10**18 + 7, 10**18 + 9))
    os.fdatasync(fd)
    os.fsync(fd)
    seen = os.fstat(fd)
    same((seen.st_size, stat.S_IMODE(seen.st_mode)), (300, 0o640))
    same((seen.st_mtime_ns, seen.st_nlink), (10**18 + 9, 0))
    expected = (content[:5].ljust(5, b'\0') + LATE + content[5 + len(LATE):] + bytes(300))[:300]
    same(os.pread(fd, 1 << 20, 0), expected)
    with mmap.mmap(fd, 0) as memory:
        memory[100:100 + len(LATE)] = LATE
        memory.flush()
    again = descriptor(f'/proc/self/fd/{fd}', os.O_RDWR | os.O_APPEND)
    os.write(again, LATE)
    os.close(again)
    expected = expected[:100] + LATE + expected[100 + len(LATE):] + LATE
    same(os.pread(fd, 1 << 20, 0), expected)
    same(os.fstat(fd).st_nlink, 0)
    return expected


def four_kinds(here):
    '''Stored before, stored just now, not stored yet, and not even written to.'''
    put(f'{here}/fresh', CONTENT)
    fds = {name: descriptor(f'{here}/{name}') for name in ('stored', 'fresh')}
    for name in ('unsent', 'empty'):
        fds[name] = descriptor(f'{here}/{name}', os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.write(fds['unsent'], CONTENT)
    return fds, {name: descriptor(f'{here}/{name}', os.O_RDONLY) for name in fds}


def all_work_on(fds, readers):
    for name, fd in fds.items():
        expected = works_on(fd, b'' if name == 'empty' else CONTENT)
        os.close(fd)
        same(os.pread(readers[name], 1 << 20, 0), expected)
        same(os.fstat(readers[name]).st_nlink, 0)
        os.close(readers[name])


os.makedirs('d', exist_ok=True)
";

fn begin(place: &mut dyn Place) {
    python(
        place.path(),
        &(NAMELESS.to_owned() + "put('d/stored', CONTENT)"),
    );
    place.remount();
}

fn nothing_was_stored_late(place: &dyn Place) {
    let Some(emulator) = place.bucket() else {
        return;
    };
    let bucket = Versions::open(emulator);
    for version in bucket.versions() {
        if version.action == "upload" {
            let content = bucket.download(&version.id);
            let late = content.windows(12).any(|bytes| bytes == b"never stored");
            assert!(!late, "{version:?}");
        }
    }
}

fn a_removed_file_works_on_for_whoever_has_it_open(place: &mut dyn Place) {
    begin(place);
    let script = r"
fds, readers = four_kinds('d')
for name in fds:
    os.unlink(f'd/{name}')
    refused('ENOENT', os.stat, f'd/{name}')
same(os.listdir('d'), [])
put('d/fresh', b'another')
all_work_on(fds, readers)
same(os.listdir('d'), ['fresh'])
";
    python(place.path(), &(NAMELESS.to_owned() + script));
    place.remount();
    assert_eq!(names(&place.path().join("d")), ["fresh"]);
    assert_eq!(get(&place.path().join("d/fresh")), b"another");
    nothing_was_stored_late(place);
}

fn a_replaced_file_works_on_for_whoever_has_it_open(place: &mut dyn Place) {
    begin(place);
    let script = r"
fds, readers = four_kinds('d')
for number, name in enumerate(fds):
    put('new', b'instead of ' + name.encode())
    held = descriptor('new') if number % 2 else None
    os.rename('new', f'd/{name}')
    if held:
        os.pwrite(held, b'I', 0)
        os.close(held)
all_work_on(fds, readers)
for number, name in enumerate(fds):
    same(get(f'd/{name}'), (b'Instead of ' if number % 2 else b'instead of ') + name.encode())
same(os.listdir('.'), ['d'])
";
    python(place.path(), &(NAMELESS.to_owned() + script));
    place.remount();
    for (number, name) in ["stored", "fresh", "unsent", "empty"].iter().enumerate() {
        let first = if number % 2 == 1 { "I" } else { "i" };
        let content = format!("{first}nstead of {name}");
        assert_eq!(get(&place.path().join("d").join(name)), content.as_bytes());
    }
    nothing_was_stored_late(place);
}

fn a_file_in_a_removed_directory_works_on(place: &mut dyn Place) {
    begin(place);
    let script = r"
fds, readers = four_kinds('d')
for name in fds:
    os.unlink(f'd/{name}')
os.rmdir('d')
os.mkdir('e')
os.rename('e', 'd')
put('d/stored', b'anew')
all_work_on(fds, readers)
same(get('d/stored'), b'anew')
";
    python(place.path(), &(NAMELESS.to_owned() + script));
    place.remount();
    assert_eq!(names(place.path()), ["d"]);
    assert_eq!(names(&place.path().join("d")), ["stored"]);
    assert_eq!(get(&place.path().join("d/stored")), b"anew");
    nothing_was_stored_late(place);
}

/// O_PATH holds a file without opening it.
fn what_has_no_name_can_be_opened_by_its_descriptor(place: &mut dyn Place) {
    begin(place);
    let script = r"
put('d/fresh', CONTENT)
held = [descriptor(f'd/{name}', os.O_PATH) for name in ('stored', 'fresh')]
os.unlink('d/stored')
put('d/new', b'other')
os.rename('d/new', 'd/fresh')
for fd in held:
    same(get(f'/proc/self/fd/{fd}'), CONTENT)
    with open(f'/proc/self/fd/{fd}', 'r+b') as file:
        works_on(file.fileno(), CONTENT)
same(get('d/fresh'), b'other')
";
    python(place.path(), &(NAMELESS.to_owned() + script));
    place.remount();
    assert_eq!(names(&place.path().join("d")), ["fresh"]);
    assert_eq!(get(&place.path().join("d/fresh")), b"other");
    nothing_was_stored_late(place);
}

fn what_is_written_after_a_rename_is_under_the_new_name(place: &mut dyn Place) {
    begin(place);
    let script = r"
# A log is turned over while its writer goes on.
log = descriptor('log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for turn in range(5):
    os.write(log, f'{turn} before\n'.encode())
    os.rename('log', f'log.{turn}')
    os.write(log, f'{turn} after\n'.encode())
    os.close(log)
    same(get(f'log.{turn}'), f'{turn} before\n{turn} after\n'.encode())
    log = descriptor('log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.close(log)
# A stored file, and the directories above it.
fd = descriptor('d/stored')
os.mkdir('top')
os.rename('d', 'top/e')
os.pwrite(fd, b'1', 0)
os.rename('top/e/stored', 'top/moved')
os.pwrite(fd, b'2', 1)
os.fsync(fd)
os.rename('top', 'peak')
os.pwrite(fd, b'3', 2)
same(os.readlink(f'/proc/self/fd/{fd}'), os.getcwd() + '/peak/moved')
same(os.fstat(fd).st_ino, os.stat('peak/moved').st_ino)
os.close(fd)
";
    python(place.path(), &(NAMELESS.to_owned() + script));
    place.remount();
    let root = place.path();
    let logs = ["log", "log.0", "log.1", "log.2", "log.3", "log.4", "peak"];
    assert_eq!(names(root), logs);
    assert_eq!(get(&root.join("log.3")), b"3 before\n3 after\n");
    assert_eq!(get(&root.join("peak/moved"))[..5], *b"123\x03\x04");
    assert_eq!(names(&root.join("peak")), ["e", "moved"]);
}

fn of_two_open_files_the_one_renamed_over_the_other_stays(place: &mut dyn Place) {
    begin(place);
    let script = r"
put('d/other', b'other content')
winner, loser = descriptor('d/other'), descriptor('d/stored')
os.pwrite(winner, b'O', 0)
os.pwrite(loser, b'unseen', 0)
os.rename('d/other', 'd/stored')
os.pwrite(loser, LATE, 50)
os.pwrite(winner, b'C', 6)
os.close(loser)
os.pwrite(winner, b'!', 13)
os.close(winner)
same(get('d/stored'), b'Other Content!')
";
    python(place.path(), &(NAMELESS.to_owned() + script));
    place.remount();
    assert_eq!(get(&place.path().join("d/stored")), b"Other Content!");
    nothing_was_stored_late(place);
}

/// The kernel writes dirty pages through any descriptor of the file that may write.
fn mapped_pages_go_where_they_belong_whoever_appends(place: &mut dyn Place) {
    let script = r"
put('f', b'a' * 10000)
fd = descriptor('f', os.O_RDWR | os.O_APPEND)
other = descriptor('f', os.O_WRONLY | os.O_APPEND)
with mmap.mmap(fd, 0) as memory:
    memory[5000:5005] = b'hello'
    memory.flush()
    os.write(other, b'end')
    memory[0] = ord('A')
    memory.flush()
os.fsync(fd)
same(get('f'), b'A' + b'a' * 4999 + b'hello' + b'a' * 4995 + b'end')
";
    python(place.path(), script);
    place.remount();
    let content = get(&place.path().join("f"));
    assert_eq!(content.len(), 10_003);
    assert_eq!(content[5000..5005], *b"hello");
}

fn a_descriptor_may_stop_and_begin_to_append(place: &mut dyn Place) {
    let script = r"
put('f', b'0123456789')
fd = descriptor('f', os.O_RDWR | os.O_APPEND)
os.pwrite(fd, b'ab', 0)
flags = fcntl.fcntl(fd, fcntl.F_GETFL)
fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_APPEND)
os.pwrite(fd, b'XY', 0)
fcntl.fcntl(fd, fcntl.F_SETFL, flags)
os.pwrite(fd, b'cd', 0)
os.close(fd)
same(get('f'), b'XY23456789abcd')
";
    python(place.path(), script);
    place.remount();
    assert_eq!(get(&place.path().join("f")), b"XY23456789abcd");
}
