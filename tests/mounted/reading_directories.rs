//! Directories that are read while entries come and go.

use crate::support::place::Place;
use crate::support::python::python;
use crate::support::tools::shell;
use crate::support::tree::names;

crate::scenarios! {
    a_place_in_a_listing_holds_while_entries_come_and_go,
    ten_thousand_entries_are_removed_while_they_are_read,
    every_reader_sees_what_stays_once,
    a_directory_removed_while_it_is_read_ends,
    find_delete_removes_a_tree,
    files_made_and_renamed_while_they_are_listed_are_seen_at_most_once,
}

/// The C library's calls, which Python does not have.
const STREAM: &str = r"
class Dirent(ctypes.Structure):
    _fields_ = [('ino', ctypes.c_uint64), ('off', ctypes.c_int64), ('reclen', ctypes.c_ushort),
                ('type', ctypes.c_ubyte), ('name', ctypes.c_char * 256)]

libc.fdopendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.POINTER(Dirent)
libc.telldir.restype = ctypes.c_long


class Stream:
    def __init__(self, path):
        self.of = ctypes.c_void_p(libc.fdopendir(descriptor(path, os.O_RDONLY | os.O_DIRECTORY)))

    def read(self, most=1 << 30):
        '''The next names.'''
        names = []
        while len(names) < most:
            ctypes.set_errno(0)
            entry = libc.readdir(self.of)
            if not entry:
                same(ctypes.get_errno(), 0)
                break
            name = entry.contents.name.decode()
            if name not in ('.', '..'):
                names.append(name)
        return names

    def tell(self):
        return libc.telldir(self.of)

    def seek(self, position):
        libc.seekdir(self.of, ctypes.c_long(position))

    def rewind(self):
        libc.rewinddir(self.of)
";

/// A directory with this many files of three bytes, known to nobody yet.
fn filled(place: &mut dyn Place, dir: &str, count: u32) {
    let name = |number: u32| format!("{dir}/{number:05}");
    if let Some(emulator) = place.bucket() {
        let all: Vec<_> = (0..count)
            .map(|number| b2fuse::emulator::Seed {
                name: name(number),
                size: 3,
                ..b2fuse::emulator::Seed::default()
            })
            .collect();
        let server = emulator.server();
        server.seed(emulator.bucket_name(), &all).unwrap();
        place.remount();
        return;
    }
    std::fs::create_dir_all(place.path().join(dir)).unwrap();
    for number in 0..count {
        std::fs::write(place.path().join(name(number)), "abc").unwrap();
    }
}

fn a_place_in_a_listing_holds_while_entries_come_and_go(place: &mut dyn Place) {
    filled(place, "d", 3000);
    let script = r"
stream = Stream('d')
first = stream.read(500)
middle = stream.tell()
following = stream.read(1500)
later = stream.tell()
rest = stream.read()
end = stream.tell()
same(stream.read(), [])
same(sorted(first + following + rest), [f'{number:05}' for number in range(3000)])
# Before, at and after the place.
gone = set(first[::3] + following[:7] + following[100::2] + rest[::2])
for name in gone:
    os.unlink(f'd/{name}')
new = [f'new {number}' for number in range(50)]
for name in new:
    put(f'd/{name}', b'')
stays = lambda names: [name for name in names if name not in gone and name not in new]
stream.seek(later)
same(stays(stream.read()), stays(rest))
stream.seek(middle)
same(stays(stream.read()), stays(following + rest))
stream.seek(middle)
some = stays(stream.read(300))
same(some, stays(following)[:len(some)])
assert len(some) > 100
stream.rewind()
seen = stream.read()
same(sorted(seen), sorted(stays(first + following + rest) + new))
same(sorted(os.listdir('d')), sorted(seen))
for name in seen:
    os.rename(f'd/{name}', f'd/renamed {name}')
stream.rewind()
same(sorted(stream.read()), sorted(f'renamed {name}' for name in seen))
";
    python(place.path(), &(STREAM.to_owned() + script));
}

fn ten_thousand_entries_are_removed_while_they_are_read(place: &mut dyn Place) {
    filled(place, "d", 10_000);
    let script = r"
seen = []
for entry in os.scandir('d'):
    seen.append(entry.name)
    if len(seen) % 2:
        os.unlink(entry.path)
same(sorted(seen), [f'{number:05}' for number in range(10000)])
same(sorted(os.listdir('d')), sorted(seen[1::2]))
";
    python(place.path(), script);
    filled(place, "e", 10_000);
    shell("rm -rf \"$1\"/d \"$1\"/e", [place.path()]);
    assert!(names(place.path()).is_empty());
    place.remount();
    assert!(names(place.path()).is_empty());
}

fn every_reader_sees_what_stays_once(place: &mut dyn Place) {
    filled(place, "d", 3000);
    let script = r"
def work(who):
    if who == 0:
        for number in range(0, 3000, 10):
            os.unlink(f'd/{number:05}')
            put(f'd/between {number}', b'')
        return []
    all = []
    for turn in range(2):
        stream = Stream('d')
        names = []
        while some := stream.read(7 * who):
            names += some
        all.append(names)
    return all

for some in at_once(4, work)[1:]:
    for names in some:
        same(len(names), len(set(names)))
        stayed = [name for name in names if not name.startswith('between') and int(name) % 10]
        same(sorted(stayed), [f'{number:05}' for number in range(3000) if number % 10])
";
    python(place.path(), &(STREAM.to_owned() + script));
}

fn a_directory_removed_while_it_is_read_ends(place: &mut dyn Place) {
    filled(place, "d", 2000);
    let script = r"
stream = Stream('d')
seen = stream.read(5)
for name in os.listdir('d'):
    os.unlink(f'd/{name}')
os.rmdir('d')
os.mkdir('d')
put('d/another', b'x')
# What the C library has read before it still gives.
seen += stream.read()
same(len(seen), len(set(seen)))
assert 'another' not in seen
assert len(seen) < 2000, len(seen)
stream.rewind()
same(stream.read(), [])
";
    python(place.path(), &(STREAM.to_owned() + script));
    place.remount();
    assert_eq!(names(&place.path().join("d")), ["another"]);
}

fn find_delete_removes_a_tree(place: &mut dyn Place) {
    for dir in ["t/a/b", "t/a/c", "t/d", "t/d/e/f"] {
        filled(place, dir, 150);
    }
    let line = "cd \"$1\"; mkdir -p t/empty/more; ln -s ../d t/a/link; find t -name '*7' -delete; \
                find t -type f | wc -l; find t/d -delete; find t | wc -l; find t -delete; ls";
    assert_eq!(shell(line, [place.path()]), "540\n277\n");
    place.remount();
    assert!(names(place.path()).is_empty());
}

fn files_made_and_renamed_while_they_are_listed_are_seen_at_most_once(place: &mut dyn Place) {
    filled(place, "d", 2500);
    let script = r"
stream = Stream('d')
seen = []
for number in range(25):
    some = stream.read(100)
    seen += some
    put(f'd/new {number}', b'')
    os.rename(f'd/{some[0]}', f'd/z {some[0]}')
    os.mkdir(f'd/made {number}')
    os.rmdir(f'd/made {number}')
seen += stream.read()
same(len(seen), len(set(seen)))
quiet = {name for name in seen if len(name) == 5}
missing = {f'{number:05}' for number in range(2500)} - quiet
same(missing, set())
same(len(os.listdir('d')), 2525)
";
    python(place.path(), &(STREAM.to_owned() + script));
}
