use proptest::prelude::*;

use super::*;
use crate::b2::FileId;
use crate::io::Version;
use crate::io::read::records::Records;

fn record(records: &Records, name: &str, size: u64) -> Arc<Record> {
    records.intern(Version {
        id: FileId::new(name),
        size,
        sha1: None,
    })
}

/// Puts blocks in the cache as a read ahead does.
fn read_ahead(cache: &Cache, record: &Arc<Record>, blocks: Range<u64>) {
    for fetch in cache.look_ahead(record, blocks) {
        for index in 0..(fetch.blocks().end - fetch.blocks().start) as usize {
            cache.arrived(&fetch, index, Bytes::from_static(b"block"));
        }
    }
}

fn cached(cache: &Cache, record: &Record) -> Vec<u64> {
    let keys = cache.lock().cached(record, &(0..u64::MAX), usize::MAX);
    keys.into_iter().map(|(_, block)| block).collect()
}

/// A version of 9 TB has 300 million blocks: none of this may go through them.
#[test]
fn what_is_done_to_all_of_a_version_looks_at_what_is_cached() {
    const SIZE: u64 = 9_000_000_000_000;
    const LAST: u64 = SIZE / BLOCK;
    let (cache, records) = (Cache::default(), Records::new(8));
    let huge = record(&records, "huge", SIZE);
    let other = record(&records, "other", SIZE);
    for round in 0..1000 {
        let block = LAST - round;
        cache.put(&huge, block, Bytes::from_static(b"block"));
        read_ahead(&cache, &huge, 7..8);
        cache.drop_used(&huge, 0..LAST - 1000);
        assert_eq!(cached(&cache, &huge), [7, block]);
        cache.demote(&huge, 0..LAST + 1);
        cache.drop_used(&huge, 0..LAST - 1000);
        assert_eq!(cached(&cache, &huge), [block]);
        cache.rename(&huge, &other, 0..LAST + 1, |asked| {
            assert_eq!(asked, block, "only what is there");
            true
        });
        assert_eq!(cached(&cache, &other), [block]);
        cache.forget(&other);
        cache.forget(&huge);
        assert!(cache.lock().cached.is_empty());
    }
}

#[test]
fn a_version_with_many_cached_blocks_goes_as_a_whole() {
    let (cache, records) = (Cache::default(), Records::new(8));
    let (one, other) = (
        record(&records, "one", 1 << 40),
        record(&records, "other", 1 << 40),
    );
    let count = 3 * TURN as u64;
    for block in 0..count {
        cache.put(&one, block * 5, Bytes::from_static(b"block"));
    }
    cache.rename(&one, &other, 0..u64::MAX, |block| block != 10);
    assert_eq!(cached(&cache, &one), [10]);
    assert_eq!(cached(&cache, &other).len() as u64, count - 1);
    cache.forget(&other);
    assert_eq!(cached(&cache, &other), [0; 0]);
}

#[derive(Debug, Clone)]
enum Step {
    Put(u64),
    Ahead(u64, u64),
    Read(u64),
    Demote(u64, u64),
    DropUsed(u64, u64),
    Rename(u64),
    Forget,
    /// So many bytes, and so many that were read ahead stay.
    Evict(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let block = || 0u64..20;
    prop_oneof![
        3 => block().prop_map(Step::Put),
        3 => (block(), 1u64..5).prop_map(|(at, len)| Step::Ahead(at, at + len)),
        2 => block().prop_map(Step::Read),
        1 => (block(), 1u64..9).prop_map(|(at, len)| Step::Demote(at, at + len)),
        1 => (block(), 1u64..9).prop_map(|(at, len)| Step::DropUsed(at, at + len)),
        1 => (1u64..4).prop_map(Step::Rename),
        1 => Just(Step::Forget),
        1 => (1u64..1000, 0u64..3000).prop_map(|(bytes, kept)| Step::Evict(bytes, kept)),
    ]
}

#[test]
fn what_is_read_again_outlasts_what_many_others_read_once() {
    let (cache, records) = (Cache::default(), Records::new(8));
    let (index, scanned) = (
        record(&records, "index", 1 << 40),
        record(&records, "scanned", 1 << 40),
    );
    for block in 0..10 {
        cache.put(&index, block, Bytes::from_static(b"x"));
    }
    // At once it is the same reader.
    assert!(cache.get_all(&index, 0..10).is_some());
    for block in 0..LATER {
        cache.put(&scanned, block, Bytes::from_static(b"x"));
    }
    assert!(cache.get_all(&index, 0..5).is_some());
    cache.evict(60 * (BLOCK_COST + 1), u64::MAX);
    assert_eq!(cached(&cache, &index), [0, 1, 2, 3, 4]);
    assert_eq!(cached(&cache, &scanned).len(), 9);
    // But not for ever.
    cache.evict(14 * (BLOCK_COST + 1), u64::MAX);
    assert!(cached(&cache, &index).is_empty());
    assert!(cached(&cache, &scanned).is_empty());
}

proptest! {
    #[test]
    fn a_block_is_in_one_place_and_known(steps in proptest::collection::vec((step(), 0..2usize), 1..80)) {
        let (cache, records) = (Cache::default(), Records::new(8));
        let both = [record(&records, "a", 1 << 40), record(&records, "b", 1 << 40)];
        for (step, which) in steps {
            let record = &both[which];
            match step {
                Step::Put(block) => cache.put(record, block, Bytes::from_static(b"x")),
                Step::Ahead(from, to) => read_ahead(&cache, record, from..to),
                Step::Read(block) => drop(cache.get_all(record, block..block + 1)),
                Step::Demote(from, to) => cache.demote(record, from..to),
                Step::DropUsed(from, to) => {
                    cache.drop_used(record, from..to);
                    let inner = cache.lock();
                    prop_assert!((from..to).all(|block| !inner.used.contains_key(&(record.key, block))));
                }
                Step::Rename(nth) => {
                    cache.rename(record, &both[1 - which], 0..u64::MAX, |block| block % nth == 0);
                }
                Step::Forget => {
                    cache.forget(record);
                    prop_assert!(cached(&cache, record).is_empty());
                }
                Step::Evict(bytes, kept) => {
                    let before = cache.lock().ahead.bytes();
                    cache.evict(bytes, kept);
                    let after = cache.lock().ahead.bytes();
                    let most = BLOCK_COST + 5;
                    prop_assert!(after == before || after + most > kept, "{} of {} stay", after, before);
                }
            }
            let inner = cache.lock();
            let all = inner.used.keys().chain(inner.hot.keys()).chain(inner.ahead.keys());
            let mut keys: Vec<BlockKey> = all.copied().collect();
            keys.sort_unstable();
            let known: Vec<BlockKey> = inner.cached.iter().copied().collect();
            prop_assert_eq!(keys, known);
            let unread = inner.ahead.blocks().map(|block| block.data.len() as u64 + BLOCK_COST);
            prop_assert_eq!(inner.ahead.bytes(), unread.sum::<u64>());
        }
    }
}
