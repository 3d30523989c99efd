//! Connections that break, stall, crawl or bring refusals only.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use crate::support::bucket::Bucket;
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::pages::{PIECE, Pages, check_seeded};
use b2fuse::emulator::Options;

const MIB: u64 = 1 << 20;

/// Reads 200 MiB in order, with this fault in some downloads; gives the bytes downloaded.
fn read_through(fault: &str) -> u64 {
    let emulator = Emulator::without_md5();
    emulator.seed("f", 200 * MIB);
    // One stream, much memory: each download is up to 16 MiB long.
    let mount = Mount::with(
        &emulator,
        "list_hashfiles: false\nmemory: 256MiB\ndownloads: 1\ntimeout: 2s\n",
    );
    let file = File::open(mount.path().join("f")).unwrap();
    let mut piece = vec![0; PIECE];
    for at in (0..200 * MIB).step_by(PIECE) {
        if at == 100 * MIB {
            emulator.faults(&["no-md5", fault]);
        }
        file.read_exact_at(&mut piece, at).unwrap();
        check_seeded("f", at, &piece);
    }
    let counters = emulator.counters();
    println!("{fault}: {} of {}", counters.bytes_out, 200 * MIB);
    assert!(counters.faults >= 2, "{counters:?}");
    counters.bytes_out
}

#[test]
fn a_download_that_breaks_goes_on_at_the_byte_it_had_reached() {
    let downloaded = read_through("download:reset-mid:4");
    // A reset takes along what the machine had received and the program had not read yet.
    assert!(downloaded <= 212 * MIB, "{downloaded}");
}

#[test]
fn a_download_that_ends_early_goes_on_at_the_byte_it_had_reached() {
    let downloaded = read_through("download:truncate:4");
    assert!(downloaded <= 201 * MIB, "{downloaded}");
}

#[test]
fn a_download_that_stalls_goes_on_at_the_byte_it_had_reached() {
    let downloaded = read_through("download:stall-mid=60:2");
    assert!(downloaded <= 201 * MIB, "{downloaded}");
}

#[test]
fn writers_wait_for_a_slow_line_and_hold_no_more() {
    let emulator = Emulator::with(Options {
        bandwidth: Some(4 * MIB),
        ..Options::default()
    });
    let mut mount = Mount::with(
        &emulator,
        "list_hashfiles: false\nmemory: 32MiB\nlarge_file: 10MB\npart_size: 5MB\nuploads: 4\n",
    );
    let contents = [Pages::of(120), Pages::of(121)];
    let path = |index: usize| mount.path().join(format!("f{index}"));
    std::thread::scope(|scope| {
        for (index, content) in contents.iter().enumerate() {
            let path = path(index);
            scope.spawn(move || content.put(&path, 48 * MIB));
        }
    });
    let peak = mount.peak_memory();
    assert!(peak <= 96 * MIB, "the process held {} MiB", peak / MIB);
    mount.remount();
    for (index, content) in contents.iter().enumerate() {
        content.same(&mount.path().join(format!("f{index}")), 48 * MIB);
    }
}

/// Writes until that fails; gives how many bytes were taken.
fn write_until_refused(file: &File, content: &Pages, most: u64) -> u64 {
    let mut piece = vec![0; 128 << 10];
    let mut at = 0;
    while at < most {
        content.fill(at, &mut piece);
        match file.write_at(&piece, at) {
            Ok(taken) => {
                assert_eq!(taken % 4096, 0, "whole pages");
                at += taken as u64;
            }
            Err(error) => {
                println!("refused after {at} bytes: {error}");
                let kinds = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
                assert!(
                    kinds.contains(&error.kind()) || error.raw_os_error() == Some(nix::libc::EIO),
                    "{error:?}"
                );
                return at;
            }
        }
    }
    panic!("{most} bytes were taken and none could leave");
}

#[test]
fn a_full_memory_refuses_writes_and_loses_nothing() {
    for refusal in ["upload:503", "upload:storage-cap"] {
        let emulator = Emulator::start();
        let mut mount = Mount::with(
            &emulator,
            "list_hashfiles: false\nmemory: 32MiB\nlarge_file: 10MB\npart_size: 5MB\ntimeout: 3s\n",
        );
        let content = Pages::of(122);
        let path = mount.path().join("f");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        emulator.faults(&[refusal]);
        let taken = write_until_refused(&file, &content, 100 * MIB);
        assert!((MIB..=32 * MIB).contains(&taken), "{taken}");
        let refused = file.sync_all().expect_err("nothing can be stored");
        println!("{refusal}: fsync says {refused}");
        content.read(&file, 0..taken);

        emulator.faults(&[]);
        file.sync_all().unwrap();
        content.write(&file, taken..64 * MIB);
        content.read(&file, 0..64 * MIB);
        drop(file);
        mount.remount();
        content.same(&path, 64 * MIB);
        let bucket = Bucket::open(&emulator);
        bucket.has_one_version_of("f");
        assert_eq!(bucket.unfinished(), []);
    }
}
