//! fallocate(2) in all its modes, and the search for data and holes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use crate::support::bucket::Bucket;
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::place::Place;
use crate::support::tools::{program, run, shell};
use crate::support::tree::{first_difference, get, mtime, noise, put, set_mtime};

const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);
const ZERO: FallocateFlags = FallocateFlags::ZERO_RANGE;
const KEEP: FallocateFlags = FallocateFlags::KEEP_SIZE;

fn both(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

/// Also by a descriptor that reads what the kernel has in its pages.
#[track_caller]
fn same(expected: &[u8], path: &Path) {
    assert_eq!(first_difference(expected, &get(path)), None, "{path:?}");
}

fn ranges_become_zeros(place: &mut dyn Place) {
    let path = place.path().join("f");
    let mut expected = noise(300, 3_000_000);
    put(&path, &expected);
    place.remount();
    let file = both(&path);
    same(&expected, &path);
    // Within a page, over whole pages, over the end.
    for (mode, at, len) in [
        (PUNCH, 100, 50),
        (PUNCH, 5000, 1_000_000),
        (ZERO, 1_500_000, 70_000),
        (ZERO | KEEP, 1_600_001, 4096),
        (PUNCH, 2_990_000, 50_000),
        (ZERO | KEEP, 2_980_000, 90_000),
    ] {
        fallocate(&file, mode, at, len).unwrap();
        let end = (at + len).min(3_000_000) as usize;
        expected[at as usize..end].fill(0);
        same(&expected, &path);
    }
    fallocate(&file, ZERO, 2_500_000, 700_000).unwrap();
    expected[2_500_000..].fill(0);
    expected.resize(3_200_000, 0);
    same(&expected, &path);
    // What is written before and behind stays.
    file.write_all_at(b"before", 2_600_000).unwrap();
    fallocate(&file, PUNCH, 2_600_003, 10).unwrap();
    file.write_all_at(b"behind", 2_600_008).unwrap();
    expected[2_600_000..2_600_003].copy_from_slice(b"bef");
    expected[2_600_008..2_600_014].copy_from_slice(b"behind");
    same(&expected, &path);
    drop(file);
    place.remount();
    same(&expected, &path);
}

fn mapped_pages_become_zeros(place: &mut dyn Place) {
    let path = place.path().join("f");
    let mut expected = noise(301, 100_000);
    put(&path, &expected);
    let script = "import ctypes, mmap, os, sys\n\
         file = os.open(sys.argv[1], os.O_RDWR)\n\
         m = mmap.mmap(file, 0)\n\
         m[4000:4100] = b'x' * 100\n\
         m[20000:20100] = b'y' * 100\n\
         libc = ctypes.CDLL(None, use_errno=True)\n\
         arguments = [ctypes.c_long(n) for n in (4050, 20000 - 4050)]\n\
         assert libc.fallocate64(file, 3, *arguments) == 0, ctypes.get_errno()\n\
         assert m[4000:20100] == b'x' * 50 + bytes(20000 - 4050) + b'y' * 100\n\
         m[9000:9001] = b'z'\n";
    run(program("python3").args(["-c", script]).arg(&path));
    expected[4000..4050].fill(b'x');
    expected[4050..20_000].fill(0);
    expected[9000] = b'z';
    expected[20_000..20_100].fill(b'y');
    same(&expected, &path);
    place.remount();
    same(&expected, &path);
}

fn room_is_promised_and_the_size_is_as_asked(place: &mut dyn Place) {
    let path = place.path().join("f");
    let mut expected = noise(302, 1000);
    put(&path, &expected);
    let file = both(&path);
    fallocate(&file, KEEP, 500, 100_000).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, 700).unwrap();
    same(&expected, &path);
    fallocate(&file, FallocateFlags::empty(), 900, 600).unwrap();
    expected.resize(1500, 0);
    same(&expected, &path);
    assert_eq!(file.metadata().unwrap().len(), 1500);
    drop(file);
    place.remount();
    same(&expected, &path);
}

fn a_hole_is_a_change_of_its_time(place: &mut dyn Place) {
    let path = place.path().join("f");
    let before = SystemTime::now() - Duration::from_secs(100_000);
    for mode in [PUNCH, ZERO, ZERO | KEEP, FallocateFlags::empty()] {
        put(&path, &noise(303, 1000));
        set_mtime(&path, before);
        fallocate(both(&path), mode, 900, 200).unwrap();
        assert!(
            mtime(&path) > before + Duration::from_secs(50_000),
            "{mode:?}"
        );
        place.remount();
        assert!(
            mtime(&path) > before + Duration::from_secs(50_000),
            "{mode:?}"
        );
    }
}

fn who_cannot_write_makes_no_hole(place: &mut dyn Place) {
    let path = place.path().join("f");
    put(&path, b"content");
    let file = File::open(&path).unwrap();
    assert_eq!(fallocate(&file, PUNCH, 0, 4), Err(Errno::BADF));
    let file = both(&path);
    assert_eq!(fallocate(&file, PUNCH, 0, 0), Err(Errno::INVAL));
    let alone = FallocateFlags::PUNCH_HOLE;
    assert_eq!(fallocate(&file, alone, 0, 4), Err(Errno::OPNOTSUPP));
    same(b"content", &path);
}

/// All that copies of holes rely on: no data is ever in what is told to be a hole.
fn no_data_is_told_to_be_a_hole(place: &mut dyn Place) {
    let path = place.path().join("f");
    let file = File::create(&path).unwrap();
    file.set_len(10_000_000).unwrap();
    let data = [0, 4_000_000, 9_999_999];
    let finds_it = |file: &File| {
        for at in data {
            assert_eq!(seek(file, SeekFrom::Data(at)), Ok(at));
            assert!(seek(file, SeekFrom::Hole(at)).unwrap() > at);
        }
        for end in [10_000_000, 20_000_000] {
            assert_eq!(seek(file, SeekFrom::Data(end)), Err(Errno::NXIO));
            assert_eq!(seek(file, SeekFrom::Hole(end)), Err(Errno::NXIO));
        }
    };
    for at in data {
        file.write_all_at(b"x", at).unwrap();
    }
    finds_it(&file);
    fallocate(&file, PUNCH, 1_000_000, 2_000_000).unwrap();
    finds_it(&file);
    drop(file);
    let mut expected = vec![0; 10_000_000];
    for at in data {
        expected[at as usize] = b'x';
    }
    let copy = place.path().join("copy");
    for how in ["auto", "always", "never"] {
        let sparse = format!("--sparse={how}");
        run(program("cp").arg(sparse).args([&path, &copy]));
        same(&expected, &copy);
    }
    run(program("fallocate").arg("--dig-holes").arg(&copy));
    same(&expected, &copy);
    place.remount();
    finds_it(&both(&path));
    same(&expected, &path);
    same(&expected, &copy);
}

fn sparse_copies_keep_every_byte(place: &mut dyn Place) {
    let file = File::create_new(place.path().join("f")).unwrap();
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

crate::scenarios!(
    ranges_become_zeros,
    mapped_pages_become_zeros,
    room_is_promised_and_the_size_is_as_asked,
    a_hole_is_a_change_of_its_time,
    who_cannot_write_makes_no_hole,
    no_data_is_told_to_be_a_hole,
    sparse_copies_keep_every_byte,
);

#[test]
fn ranges_are_neither_taken_out_nor_put_in() {
    let emulator = Emulator::start();
    let mount = Mount::new(&emulator);
    let path = mount.path().join("f");
    put(&path, &noise(304, 100_000));
    let file = both(&path);
    for mode in [
        FallocateFlags::COLLAPSE_RANGE,
        FallocateFlags::INSERT_RANGE,
        FallocateFlags::UNSHARE_RANGE,
    ] {
        let refused = fallocate(&file, mode, 4096, 4096);
        assert_eq!(refused, Err(Errno::OPNOTSUPP), "{mode:?}");
    }
    same(&noise(304, 100_000), &path);
}

#[test]
fn a_promise_of_room_costs_no_call() {
    let emulator = Emulator::start();
    let mount = Mount::new(&emulator);
    let path = mount.path().join("f");
    put(&path, &noise(305, 1000));
    let before = mtime(&path);
    emulator.forget_counters();
    let file = both(&path);
    fallocate(&file, KEEP, 0, 1 << 40).unwrap();
    fallocate(&file, PUNCH, 1000, 1 << 40).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, 1000).unwrap();
    file.sync_all().unwrap();
    drop(file);
    assert_eq!(mtime(&path), before);
    drop(mount);
    for call in ["b2_upload_file", "b2_copy_file", "b2_start_large_file"] {
        assert_eq!(emulator.calls(call), 0, "{call}");
    }
    Bucket::open(&emulator).has_one_version_of("f");
}

#[test]
fn a_hole_of_any_size_takes_no_memory() {
    const MIB: u64 = 1 << 20;
    let emulator = Emulator::without_md5();
    emulator.seed("f", 600 * MIB);
    let mount = Mount::with(&emulator, "list_hashfiles: false\nmemory: 32MiB\n");
    let path = mount.path().join("f");
    let file = both(&path);
    emulator.forget_counters();
    fallocate(&file, PUNCH, 100 * MIB, 300 * MIB).unwrap();
    let mut read = vec![1; MIB as usize];
    // Not at its end: the kernel reads ahead.
    file.read_exact_at(&mut read, 390 * MIB).unwrap();
    assert!(read.iter().all(|&byte| byte == 0));
    file.sync_all().unwrap();
    let counters = emulator.counters();
    let moved = (counters.bytes_in, counters.bytes_out);
    assert_eq!(moved, (300 * MIB, 0), "{counters:?}");
    assert!(mount.peak_memory() <= (32 + 64) * MIB);
    assert_eq!(fs::metadata(&path).unwrap().len(), 600 * MIB);
}
