//! Inode numbers: what backups, `rsync` and `tail -F` know a file by.

use crate::support::place::Place;
use crate::support::python::python;

// Listings hold for a second, so that B2 is asked again within these tests.
crate::scenarios! {
    with "list_hashfiles: false\nmetadata_ttl: 1s\n";
    a_number_stays_through_renames_changes_and_new_listings,
    a_number_stays_while_somebody_holds_it,
}

const SEEN: &str = r"
def inos(*names):
    found = {name: os.lstat(name).st_ino for name in names}
    for name in names:
        top, last = os.path.split(name)
        listed = {entry.name: entry.inode() for entry in os.scandir(top or '.')}
        same(listed[last], found[name])
    return list(found.values())


def kernel_forgets():
    put('/proc/sys/vm/drop_caches', b'2')
";

/// Pauses in which listings expire and attributes are stored; nothing of the kind happens elsewhere.
fn with_pauses(place: &dyn Place, script: &str) -> String {
    let pause = if place.bucket().is_some() {
        "time.sleep"
    } else {
        "float"
    };
    format!("pause = {pause}\n{SEEN}{script}")
}

fn a_number_stays_through_renames_changes_and_new_listings(place: &mut dyn Place) {
    let script = r"
os.makedirs('d/sub')
put('d/sub/f', b'content')
put('g', b'g')
os.symlink('g', 'd/link')
os.mkfifo('fifo')
os.mkdir('private', 0o700)
names = ['d', 'd/sub', 'd/sub/f', 'd/link', 'g', 'fifo', 'private']
known = inos(*names)
same(len(set(known)), len(names))
# Changes of content and attributes.
put('g', b'new content')
with open('d/sub/f', 'ab') as file:
    file.write(b'more')
os.truncate('g', 3)
for name in names:
    if name != 'd/link':
        os.chmod(name, 0o711)
        os.utime(name, (1, 2))
    os.chown(name, 12, 34, follow_symlinks=False)
same(inos(*names), known)
# Renames.
os.rename('d', 'e')
os.rename('e/sub/f', 'e/f')
os.rename('g', 'e/sub/g')
os.rename('fifo', 'pipe')
os.rename('private', 'e/sub/private')
names = ['e', 'e/sub', 'e/f', 'e/link', 'e/sub/g', 'pipe', 'e/sub/private']
same(inos(*names), known)
put('e/f', b'again')
put('new', b'takes the name')
known[2] = os.stat('new').st_ino
os.rename('new', 'e/f')
same(inos(*names), known)
# Attributes are stored in the background, and what was listed expires.
pause(3.5)
subprocess.run(['find', '.'], check=True, stdout=subprocess.DEVNULL)
same(inos(*names), known)
kernel_forgets()
pause(1.1)
same(inos(*names), known)
same(get('e/f'), b'takes the name')
";
    python(place.path(), &with_pauses(place, script));
}

fn a_number_stays_while_somebody_holds_it(place: &mut dyn Place) {
    let script = r"
os.mkdir('d')
for name in 'd/read', 'd/written', 'd/gone':
    put(name, b'content')
read, gone, dirfd = descriptor('d/read', os.O_RDONLY), descriptor('d/gone'), descriptor('d', os.O_RDONLY)
written = descriptor('d/written', os.O_RDWR | os.O_APPEND)
os.chdir('d')
held = [os.fstat(fd).st_ino for fd in (read, written, gone, dirfd)]
os.unlink('gone')
put('gone', b'another')
for turn in range(3):
    os.write(written, b'more')
    os.chmod('read', 0o600 + turn)
    if turn == 1:
        os.fsync(written)
    kernel_forgets()
    pause(1.2)
    same([os.fstat(fd).st_ino for fd in (read, written, gone, dirfd)], held)
    same([os.stat(name).st_ino for name in ('read', 'written', '.')], held[:2] + held[3:])
assert os.stat('gone').st_ino != held[2]
same(os.pread(read, 100, 0), b'content')
same(os.pread(written, 100, 0), b'content' + 3 * b'more')
same(os.pread(gone, 100, 0), b'content')
";
    python(place.path(), &with_pauses(place, script));
}
