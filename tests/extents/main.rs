//! What small writes cost in memory, and that a hundred thousand of them are stored in no time.
//!
//! A program of its own: its allocator counts.
#![allow(
    unsafe_code,
    reason = "the allocator that counts can only be put in the place of the other one so"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use b2fuse::emulator;
use b2fuse::io::Settings;
use bytes::Bytes;
use tempfile::TempDir;

#[path = "../io/rig.rs"]
#[allow(dead_code)]
mod rig;

use rig::{File, MIB, Rig, settings};

static NOW: AtomicU64 = AtomicU64::new(0);
static MOST: AtomicU64 = AtomicU64::new(0);

struct Counting;

/// What glibc takes for an allocation.
fn taken(size: usize) -> u64 {
    (size as u64 + 8).next_multiple_of(16).max(32)
}

fn add(size: usize) {
    let now = NOW.fetch_add(taken(size), Relaxed) + taken(size);
    MOST.fetch_max(now, Relaxed);
}

fn sub(size: usize) {
    NOW.fetch_sub(taken(size), Relaxed);
}

// SAFETY: every call is passed on as it came to the allocator of the system; what is done beside that is to count.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: what the caller promises holds for this call, too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        sub(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Large ones are moved without a copy.
        sub(layout.size());
        add(size);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const COUNT: u64 = 150_000;

struct Case {
    rig: Rig,
    // What is stored lies in files: it is not counted.
    _dir: TempDir,
    file: Arc<File>,
}

impl Case {
    async fn new(base: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = emulator::Options {
            dir: Some(dir.path().join("bucket")),
            faults: vec!["no-md5".to_owned()],
            ..emulator::Options::default()
        };
        let settings = Settings {
            memory: 512 * MIB,
            ..settings()
        };
        let rig = Rig::with(settings, Duration::from_secs(60), options).await;
        let file = if base == 0 {
            rig.create("f")
        } else {
            rig.open("f", rig.seed("f", base).await)
        };
        Self {
            rig,
            _dir: dir,
            file,
        }
    }

    async fn write(&self, offset: u64, data: impl Into<Bytes>) {
        let written = self.file.content.write(offset, data.into()).await;
        written.expect("memory has room");
    }

    /// Makes as many changes as are counted, and stores them; neither takes more than is paid for.
    async fn costs(self, what: &str, mut change: impl AsyncFnMut(&Self, u64)) {
        let (before, paid) = (NOW.load(Relaxed), self.rig.io.memory_unsent());
        for i in 0..COUNT {
            change(&self, i).await;
        }
        let each = |bytes: u64| bytes.saturating_sub(before) / COUNT;
        let rest = each(NOW.load(Relaxed));
        let paid = (self.rig.io.memory_unsent() - paid) / COUNT;
        MOST.store(NOW.load(Relaxed), Relaxed);
        self.file.commit().await.expect("stored").expect("dirty");
        let most = each(MOST.load(Relaxed));
        println!("{what}: paid {paid}, taken {rest}, while it is stored {most}");
        assert!(rest <= paid && most <= paid, "{what}: {paid} {rest} {most}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_changes_take_what_they_are_counted_for() {
    let case = Case::new(0).await;
    let byte = Bytes::from_static(b"x");
    let write = async |case: &Case, at| case.write(at, byte.clone()).await;
    case.costs("with holes", async |case, i| write(case, i * 10).await)
        .await;
    let case = Case::new(0).await;
    case.costs("with larger holes", async |case, i| {
        write(case, i * 200).await;
    })
    .await;
    let case = Case::new(0).await;
    case.costs("backwards", async |case, i| write(case, COUNT - i).await)
        .await;
    let case = Case::new(4_900_000).await;
    case.costs("over a short base", async |case, i| {
        write(case, i * 10).await;
    })
    .await;
    let case = Case::new(0).await;
    for i in 0..COUNT / 1000 {
        case.write(i * 10_000, vec![7; 10_000]).await;
    }
    case.costs("over what is unsent", async |case, i| {
        write(case, i * 10).await;
    })
    .await;
    let case = Case::new(0).await;
    let source = case
        .rig
        .open("source", case.rig.seed("source", COUNT).await);
    case.costs("copies", async |case, i| {
        let from = i * 7919 % COUNT;
        let copied = case.file.content.copy_from(&source.content, from, i, 1);
        assert_eq!(copied.await.expect("memory has room"), 1);
    })
    .await;
    let case = Case::new(0).await;
    let grown = case.file.content.truncate(10 * COUNT).await;
    grown.expect("nothing to wait for");
    case.costs("holes", async |case, i| {
        let zeroed = case.file.content.zero(i * 10..i * 10 + 1, false).await;
        assert!(zeroed.expect("memory has room"));
    })
    .await;
}
