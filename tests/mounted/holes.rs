//! `fallocate(2)` and `lseek(2)` with SEEK_DATA and SEEK_HOLE.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use crate::scenarios;
use crate::support::place::{Bucket, Place};
use crate::support::tools::shell;
use crate::support::tree::{get, noise, put};

const KEEP: FallocateFlags = FallocateFlags::KEEP_SIZE;
const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(KEEP);
const ZERO: FallocateFlags = FallocateFlags::ZERO_RANGE;

scenarios![
    punched_holes_and_zeroed_ranges_read_as_zeros,
    preallocated_space_changes_nothing_but_the_size,
    a_file_open_for_reading_cannot_be_changed,
    data_is_found_where_it_is,
    sparse_copies_keep_every_byte,
    mapped_pages_see_a_hole,
];

fn open(place: &dyn Place, name: &str) -> File {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.open(place.path().join(name)).unwrap()
}

fn punched_holes_and_zeroed_ranges_read_as_zeros(place: &mut dyn Place) {
    // Unsent, stored, and in part both; at pages' edges and off them; up to the end and beyond it.
    for (name, stored) in [("unsent", false), ("stored", true)] {
        let mut truth = noise(7, 50_000);
        let path = place.path().join(name);
        put(&path, &truth);
        if stored {
            place.remount();
        }
        let file = open(place, name);
        file.write_all_at(b"fresh", 30_000).unwrap();
        truth[30_000..30_005].copy_from_slice(b"fresh");
        for (flags, at, len) in [
            (PUNCH, 4096, 8192),
            (PUNCH, 20_001, 3),
            (ZERO.union(KEEP), 29_999, 3),
            (PUNCH, 49_000, 100_000),
            (ZERO.union(KEEP), 60_000, 10),
        ] {
            fallocate(&file, flags, at, len).unwrap();
            let end = truth.len().min((at + len) as usize);
            if (at as usize) < end {
                truth[at as usize..end].fill(0);
            }
            assert_eq!(file.metadata().unwrap().len(), truth.len() as u64);
            assert!(get(&path) == truth, "{name} at {at}");
        }
        fallocate(&file, ZERO, 45_000, 10_000).unwrap();
        truth.resize(55_000, 0);
        truth[45_000..].fill(0);
        assert!(get(&path) == truth, "{name}");
        file.write_all_at(b"again", 5000).unwrap();
        truth[5000..5005].copy_from_slice(b"again");
        drop(file);
        place.remount();
        assert!(get(&place.path().join(name)) == truth, "{name}");
    }
}

fn preallocated_space_changes_nothing_but_the_size(place: &mut dyn Place) {
    let path = place.path().join("f");
    put(&path, b"content");
    let file = open(place, "f");
    fallocate(&file, KEEP, 0, 1 << 20).unwrap();
    assert_eq!(get(&path), b"content");
    fallocate(&file, FallocateFlags::empty(), 3, 2).unwrap();
    assert_eq!(get(&path), b"content");
    fallocate(&file, FallocateFlags::empty(), 5, 10).unwrap();
    assert_eq!(get(&path), b"content\0\0\0\0\0\0\0\0");
    drop(file);
    place.remount();
    assert_eq!(get(&place.path().join("f")).len(), 15);
}

fn a_file_open_for_reading_cannot_be_changed(place: &mut dyn Place) {
    put(&place.path().join("f"), b"content");
    let file = File::open(place.path().join("f")).unwrap();
    for flags in [FallocateFlags::empty(), PUNCH, ZERO] {
        assert_eq!(fallocate(&file, flags, 0, 4), Err(Errno::BADF));
    }
    assert_eq!(get(&place.path().join("f")), b"content");
}

/// Holes may be told as data, but never the reverse; the end is a hole.
fn data_is_found_where_it_is(place: &mut dyn Place) {
    let file = open(place, "f");
    file.write_all_at(b"data", 1 << 20).unwrap();
    for _ in 0..2 {
        let file = open(place, "f");
        let size = (1 << 20) + 4;
        let data = seek(&file, SeekFrom::Data(0)).unwrap();
        assert!(data <= 1 << 20);
        assert_eq!(
            seek(&file, SeekFrom::Data((1 << 20) + 1)),
            Ok((1 << 20) + 1)
        );
        assert_eq!(seek(&file, SeekFrom::Hole(1 << 20)), Ok(size));
        assert_eq!(seek(&file, SeekFrom::Data(size)), Err(Errno::NXIO));
        assert_eq!(seek(&file, SeekFrom::Hole(size)), Err(Errno::NXIO));
        drop(file);
        place.remount();
    }
}

fn sparse_copies_keep_every_byte(place: &mut dyn Place) {
    let file = open(place, "f");
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"middle", 300_000).unwrap();
    file.set_len(1_000_000).unwrap();
    fallocate(&file, PUNCH, 300_002, 2).unwrap();
    // The file is still open, and unsent.
    shell(
        "cd \"$1\"; cp --sparse=always f always; cp --sparse=never f never; cp --sparse=auto f auto
         rsync -S f synced; tar -cSf t.tar f; mkdir d; tar -C d -xf t.tar; dd if=f of=dd conv=sparse status=none",
        [place.path()],
    );
    drop(file);
    place.remount();
    let truth = get(&place.path().join("f"));
    assert_eq!(truth.len(), 1_000_000);
    assert_eq!(truth[300_000..300_006], *b"mi\0\0le");
    for copy in ["always", "never", "auto", "synced", "d/f", "dd"] {
        assert!(get(&place.path().join(copy)) == truth, "{copy}");
    }
}

fn mapped_pages_see_a_hole(place: &mut dyn Place) {
    shell(
        r#"cd "$1"; python3 -c "
import mmap, os, subprocess
fd = os.open('f', os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b'x' * 20000, 0)
m = mmap.mmap(fd, 20000)
m[5000:5005] = b'mmmmm'
subprocess.run(['fallocate', '-p', '-o', '4096', '-l', '8192', 'f'], check=True)
assert m[4096:12288] == bytes(8192), m[4990:5010]
assert m[4095:4096] == b'x' and m[12288:12289] == b'x'
m[6000:6003] = b'new'
m.flush(); m.close(); os.close(fd)
""#,
        [place.path()],
    );
    place.remount();
    let bytes = get(&place.path().join("f"));
    assert_eq!(bytes[5000..5005], [0; 5]);
    assert_eq!(bytes[5999..6004], *b"\0new\0");
    assert_eq!(bytes.len(), 20_000);
}

#[test]
fn a_hole_in_a_large_file_costs_neither_memory_nor_a_download() {
    let mut place = Bucket::with("list_hashfiles: false\nmemory: 64MiB\n");
    let path = place.path().join("f");
    put(&path, &noise(3, 40_000_000));
    place.remount();
    place.emulator.forget_counters();
    let file = open(&place, "f");
    fallocate(&file, PUNCH, 5_000_000, 30_000_000).unwrap();
    assert_eq!(place.emulator.counters().bytes_out, 0);
    file.sync_all().unwrap();
    assert!(place.emulator.counters().bytes_out <= 10_000_000);
    drop(file);
    place.remount();
    let mut truth = noise(3, 40_000_000);
    truth[5_000_000..35_000_000].fill(0);
    let path = place.path().join("f");
    assert!(get(&path) == truth);
    assert_eq!(fs::metadata(&path).unwrap().size(), 40_000_000);
}
