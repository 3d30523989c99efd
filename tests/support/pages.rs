//! Content of any size that is made and checked piece by piece, as fast as memory is copied.
//!
//! Every page of 4 KiB is noise that names its own place: a page that is lost, moved, left out or
//! taken from another file or another writing of this one is found, and so is every wrong byte.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

const PAGE: u64 = 4096;
/// How much is made, written, read and compared at once.
pub(crate) const PIECE: usize = 1 << 20;

/// One content, by its seed.
pub(crate) struct Pages {
    seed: u64,
    noise: Vec<u8>,
}

impl Pages {
    pub(crate) fn of(seed: u64) -> Self {
        let mut noise = vec![0; PIECE];
        fastrand::Rng::with_seed(seed).fill(&mut noise);
        Self { seed, noise }
    }

    /// The bytes from `offset` on; offset and length are whole pages.
    pub(crate) fn fill(&self, offset: u64, buffer: &mut [u8]) {
        assert!(offset.is_multiple_of(PAGE), "whole pages");
        let mut at = offset;
        for page in buffer.chunks_mut(PAGE as usize) {
            let from = (at % PIECE as u64) as usize;
            page.copy_from_slice(&self.noise[from..from + page.len()]);
            page[..8].copy_from_slice(&at.to_le_bytes());
            page[8..16].copy_from_slice(&self.seed.to_le_bytes());
            at += PAGE;
        }
    }

    /// Fails with the first page that is wrong.
    #[track_caller]
    pub(crate) fn check(&self, offset: u64, found: &[u8]) {
        let mut expected = vec![0; found.len()];
        self.fill(offset, &mut expected);
        if let Some(difference) = super::tree::first_difference(&expected, found) {
            panic!("from byte {offset} on: {difference}");
        }
    }

    /// Writes `range` of it in order, each byte at its own place.
    pub(crate) fn write(&self, file: &File, range: std::ops::Range<u64>) {
        self.write_at(file, 0, range);
    }

    /// The same, with its first byte at `start` of the file.
    pub(crate) fn write_at(&self, file: &File, start: u64, range: std::ops::Range<u64>) {
        let mut piece = vec![0; PIECE];
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(PIECE as u64) as usize;
            self.fill(at, &mut piece[..len]);
            file.write_all_at(&piece[..len], start + at)
                .unwrap_or_else(|error| panic!("write at {at}: {error}"));
            at += len as u64;
        }
    }

    /// Reads `range` in order and checks it.
    pub(crate) fn read(&self, file: &File, range: std::ops::Range<u64>) {
        let mut piece = vec![0; PIECE];
        let mut expected = vec![0; PIECE];
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(PIECE as u64) as usize;
            file.read_exact_at(&mut piece[..len], at)
                .unwrap_or_else(|error| panic!("read at {at}: {error}"));
            self.fill(at, &mut expected[..len]);
            if piece[..len] != expected[..len] {
                self.check(at, &piece[..len]);
            }
            at += len as u64;
        }
    }

    /// Makes a file of it.
    pub(crate) fn put(&self, path: &Path, size: u64) {
        let file = File::create(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        self.write(&file, 0..size);
        file.sync_all()
            .unwrap_or_else(|error| panic!("fsync of {path:?}: {error}"));
    }

    /// Fails unless the file is `size` bytes of it, and nothing behind them.
    #[track_caller]
    pub(crate) fn same(&self, path: &Path, size: u64) {
        let mut file = File::open(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let found = file.metadata().expect("an open file").len();
        assert_eq!(found, size, "the size of {path:?}");
        self.read(&file, 0..size);
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(size)).expect("a seek");
        let more = file.read(&mut [0; 1]).expect("a read at the end");
        assert_eq!(more, 0, "{path:?} goes on behind its end");
    }
}

/// Fails unless these are the bytes of the seeded object `name` from `offset` on.
#[track_caller]
pub(crate) fn check_seeded(name: &str, offset: u64, found: &[u8]) {
    let mut expected = vec![0; found.len()];
    b2fuse::emulator::seeded_content(name, offset, &mut expected);
    if let Some(difference) = super::tree::first_difference(&expected, found) {
        panic!("{name} from byte {offset} on: {difference}");
    }
}
