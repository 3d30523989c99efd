//! Several processes of one mount at once: appending, racing for a name, locking, sharing memory.

use crate::support::place::{Bucket, Place};
use crate::support::python::python;
use crate::support::tree::{get, names};

crate::scenarios! {
    records_appended_by_several_are_all_there_and_whole,
    ranges_written_by_several_are_all_there,
    a_name_made_exclusively_has_one_winner,
    lock_files_keep_others_out,
    of_many_renames_onto_one_name_the_last_is_whole,
    a_thing_moved_to_and_fro_by_several_is_in_one_place,
    locks_hold_between_processes_and_end_with_them,
    a_shared_mapping_is_seen_by_others,
}

fn records_appended_by_several_are_all_there_and_whole(place: &mut dyn Place) {
    let script = r"
RECORDS = 1500

def record(who, number):
    return f'{who} {number} '.encode() + b'x' * (number * 7 % 90) + b'\n'

def work(who):
    fd = descriptor('log', os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in range(RECORDS):
        os.write(fd, record(who, number))
        if number % 600 == who * 100:
            os.close(fd)
            fd = descriptor('log', os.O_RDWR | os.O_APPEND)

at_once(4, work)
lines = get('log').splitlines(keepends=True)
for who in range(4):
    mine = [line for line in lines if line.startswith(b'%d ' % who)]
    same(mine, [record(who, number) for number in range(RECORDS)])
same(len(lines), 4 * RECORDS)
";
    python(place.path(), script);
    let content = get(&place.path().join("log"));
    place.remount();
    assert_eq!(get(&place.path().join("log")), content);
}

fn ranges_written_by_several_are_all_there(place: &mut dyn Place) {
    let script = r"
PIECE, COUNT = 1000, 300

def work(who):
    fd = descriptor('f', os.O_RDWR | os.O_CREAT)
    for number in range(who, COUNT, 3):
        os.pwrite(fd, bytes([number % 251]) * PIECE, number * PIECE)
        if number % 50 == who:
            os.fsync(fd)

at_once(3, work)
same(get('f'), b''.join(bytes([number % 251]) * PIECE for number in range(COUNT)))
";
    python(place.path(), script);
    let content = get(&place.path().join("f"));
    place.remount();
    assert_eq!(get(&place.path().join("f")), content);
}

fn a_name_made_exclusively_has_one_winner(place: &mut dyn Place) {
    let script = r"
ROUNDS = 15
ways = {
    'file': lambda name, who: os.close(descriptor(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
    'dir': lambda name, who: os.mkdir(name),
    'link': lambda name, who: os.symlink(str(who), name),
    'fifo': lambda name, who: os.mkfifo(name),
    'moved': lambda name, who: renameat2(f'mine {who}', name, NOREPLACE),
}

def work(who):
    won = []
    for number in range(ROUNDS):
        put(f'mine {who}', str(who).encode())
        for way, make in ways.items():
            failure = code(make, f'{way} {number}', who)
            assert failure in (None, 'EEXIST'), (way, failure)
            if failure is None:
                won.append(f'{way} {number}')
    os.unlink(f'mine {who}') if os.path.exists(f'mine {who}') else None
    return won

won = at_once(5, work)
names = [f'{way} {number}' for way in ways for number in range(ROUNDS)]
same(sorted(name for some in won for name in some), sorted(names))
for who, some in enumerate(won):
    for name in some:
        if name.startswith('link'):
            same(os.readlink(name), str(who))
        if name.startswith('moved'):
            same(get(name), str(who).encode())
same(sorted(os.listdir('.')), sorted(names))
";
    python(place.path(), script);
    let before = names(place.path());
    assert_eq!(before.len(), 75);
    place.remount();
    assert_eq!(names(place.path()), before);
}

fn lock_files_keep_others_out(place: &mut dyn Place) {
    let script = r"
TIMES = 25

def locked(take, release):
    while code(take) == 'EEXIST':
        time.sleep(0.001)
    number = int(get('counter'))
    put('counter', str(number + 1).encode())
    release()

def work(who):
    for _ in range(TIMES):
        locked(lambda: os.close(descriptor('lock', os.O_CREAT | os.O_EXCL)), lambda: os.unlink('lock'))
        locked(lambda: os.mkdir('lock'), lambda: os.rmdir('lock'))

put('counter', b'0')
at_once(4, work)
same(get('counter'), str(4 * 2 * TIMES).encode())
same(os.listdir('.'), ['counter'])
";
    python(place.path(), script);
    place.remount();
    assert_eq!(names(place.path()), ["counter"]);
    assert_eq!(get(&place.path().join("counter")), b"200");
}

fn of_many_renames_onto_one_name_the_last_is_whole(place: &mut dyn Place) {
    let script = r"
def content(who, number):
    return f'{who} {number}\n'.encode() * (1000 + 100 * number)

def work(who):
    if who == 0:
        seen = set()
        while not os.path.exists('end'):
            read = get('target')
            first = read.split(b'\n', 1)[0]
            same(read, content(*map(int, first.split())))
            seen.add(first)
        return len(seen)
    for number in range(25):
        put(f'{who}.new', content(who, number))
        os.rename(f'{who}.new', 'target')
    if who == 1:
        put('end', b'')

put('target', content(9, 0))
seen = at_once(4, work)[0]
assert seen > 1, seen
assert get('target') in [content(who, 24) for who in (1, 2, 3)]
same(sorted(os.listdir('.')), ['end', 'target'])
";
    python(place.path(), script);
    let content = get(&place.path().join("target"));
    place.remount();
    assert_eq!(names(place.path()), ["end", "target"]);
    assert_eq!(get(&place.path().join("target")), content);
}

/// Replaced while it is opened, a file shows its own content, though it was never stored.
#[test]
fn of_many_renames_onto_one_name_none_is_seen_empty_where_storing_waits() {
    let config = "list_hashfiles: false\nwrite_back: 2s\n";
    of_many_renames_onto_one_name_the_last_is_whole(&mut Bucket::with(config));
}

fn a_thing_moved_to_and_fro_by_several_is_in_one_place(place: &mut dyn Place) {
    let script = r"
for name in 'a', 'b':
    os.mkdir(name)
put('a/file', b'content')
os.makedirs('a/dir/deep')
put('a/dir/deep/inner', b'within')
os.symlink('nowhere', 'a/link')

def work(who):
    here, there = ('a', 'b') if who % 2 else ('b', 'a')
    moved = 0
    for name in ['file', 'dir', 'link'] * 60:
        failure = code(os.rename, f'{here}/{name}', f'{there}/{name}')
        assert failure in (None, 'ENOENT'), failure
        moved += failure is None
    return moved

assert sum(at_once(4, work)) >= 3
found = sorted(f'{name}' for top in 'ab' for name in os.listdir(top))
same(found, ['dir', 'file', 'link'])
";
    python(place.path(), script);
    let look = |place: &dyn Place| {
        let all = crate::support::tree::walk(place.path());
        all.iter()
            .map(|path| path.strip_prefix(place.path()).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = look(place);
    place.remount();
    assert_eq!(look(place), before);
    assert_eq!(before.len(), 7);
}

fn locks_hold_between_processes_and_end_with_them(place: &mut dyn Place) {
    let script = r"
F_OFD_SETLK, F_OFD_SETLKW = 37, 38
put('f', b'0' * 100)

def ofd(fd, kind, start, length, command=F_OFD_SETLK):
    fcntl.fcntl(fd, command, struct.pack('hhqqi4x', kind, os.SEEK_SET, start, length, 0))

ways = {
    'flock': (lambda fd, wait: fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)),
              lambda fd: fcntl.flock(fd, fcntl.LOCK_UN)),
    'lockf': (lambda fd, wait: fcntl.lockf(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 10, 20),
              lambda fd: fcntl.lockf(fd, fcntl.LOCK_UN)),
    'ofd': (lambda fd, wait: ofd(fd, fcntl.F_WRLCK, 10, 20, F_OFD_SETLKW if wait else F_OFD_SETLK),
            lambda fd: ofd(fd, fcntl.F_UNLCK, 10, 20)),
}
for way, (take, free) in ways.items():
    # One waits for the other, and writes after it.
    fd = descriptor('f')
    take(fd, True)

    def waits():
        mine = descriptor('f')
        tried = code(take, mine, False)
        take(mine, True)
        return [tried, get('f')[0]]

    other = Child(waits)
    time.sleep(0.05)
    os.pwrite(fd, way[0].encode(), 0)
    free(fd)
    same(other.answer(), ['EAGAIN', ord(way[0])])
    # A lock ends with its process, whatever its end.
    ready, told = os.pipe()

    def holds():
        take(descriptor('f'), True)
        os.write(told, b'x')
        time.sleep(1000)

    other = Child(holds)
    os.read(ready, 1)
    refused('EAGAIN', take, fd, False)
    other.kill()
    take(fd, False)
    os.close(fd)

# Ranges: what does not overlap can be had, readers share.
fd, held = descriptor('f'), descriptor('f')
fcntl.lockf(fd, fcntl.LOCK_EX, 10, 0)
fcntl.lockf(fd, fcntl.LOCK_SH, 10, 50)

def tries():
    mine = descriptor('f')
    return [code(fcntl.lockf, mine, how | fcntl.LOCK_NB, 5, start)
            for how, start in ((fcntl.LOCK_EX, 5), (fcntl.LOCK_EX, 20), (fcntl.LOCK_SH, 52), (fcntl.LOCK_EX, 52))]

same(Child(tries).answer(), ['EAGAIN', None, None, 'EAGAIN'])
# Closing any descriptor frees the process's record locks.
os.close(held)
same(Child(tries).answer(), [None, None, None, None])
# A lock goes with the open file, through a rename and a removal.
fcntl.flock(fd, fcntl.LOCK_EX)
os.rename('f', 'g')
refused('EAGAIN', fcntl.flock, descriptor('g'), fcntl.LOCK_EX | fcntl.LOCK_NB)
os.unlink('g')
put('g', b'')
fcntl.flock(descriptor('g'), fcntl.LOCK_EX | fcntl.LOCK_NB)
";
    python(place.path(), script);
}

fn a_shared_mapping_is_seen_by_others(place: &mut dyn Place) {
    let script = r"
put('f', bytes(3 * 4096))
there, back = os.pipe(), os.pipe()

def other():
    memory = mmap.mmap(descriptor('f'), 0)
    os.read(there[0], 1)
    seen = bytes(memory[5000:5005]).decode()
    memory[9000:9006] = b'answer'
    os.write(back[1], b'x')
    return [seen, get('f')[5000:5005].decode()]

child = Child(other)
fd = descriptor('f')
memory = mmap.mmap(fd, 0)
memory[5000:5005] = b'asked'
os.write(there[1], b'x')
os.read(back[0], 1)
same(bytes(memory[9000:9006]), b'answer')
same(os.pread(fd, 6, 9000), b'answer')
same(child.answer(), ['asked', 'asked'])
os.pwrite(fd, b'plain', 100)
same(bytes(memory[100:105]), b'plain')
";
    python(place.path(), script);
    place.remount();
    let content = get(&place.path().join("f"));
    assert_eq!(content[5000..5005], *b"asked");
    assert_eq!(content[9000..9006], *b"answer");
    assert_eq!(content[100..105], *b"plain");
}
