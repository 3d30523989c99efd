//! Upload URLs that are not in use: one serves one upload at a time (API §5.1).
//!
//! A URL leaves the pool for an upload and comes back only when that upload succeeded or was told
//! to slow down; after any other error it is dropped. The pool is bounded and holds no URL that
//! B2 may have forgotten. Its lock is held for map work only.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::FileId;

/// What an upload URL is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// Files of the bucket.
    Bucket,
    /// Parts of one large file.
    Large(FileId),
}

/// Where to send one upload at a time, and its own token.
#[derive(Debug, Clone)]
pub(super) struct UploadUrl {
    pub(super) url: Url,
    pub(super) token: HeaderValue,
    pub(super) born: Instant,
}

/// URLs die after 24 hours; an upload that begins now must still get through.
const MAX_AGE: Duration = Duration::from_secs(23 * 3600);
/// Large files whose URLs are kept; only files that were abandoned can pile up.
const MAX_TARGETS: usize = 256;

/// The idle URLs.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<HashMap<Target, Vec<UploadUrl>>>,
    per_target: usize,
}

impl Pool {
    /// Keeps as many URLs per target as uploads may run at once.
    pub(super) fn new(per_target: usize) -> Self {
        Self {
            idle: Mutex::default(),
            per_target,
        }
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<Target, Vec<UploadUrl>>> {
        self.idle.lock()
    }

    /// The most recently used one, whose connection is likeliest to be open still.
    pub(super) fn take(&self, target: &Target, now: Instant) -> Option<UploadUrl> {
        let mut idle = self.idle();
        let urls = idle.get_mut(target)?;
        while let Some(url) = urls.pop() {
            if now.saturating_duration_since(url.born) < MAX_AGE {
                return Some(url);
            }
        }
        None
    }

    /// Keeps a URL that may be used again.
    pub(super) fn put(&self, target: &Target, url: UploadUrl) {
        let mut idle = self.idle();
        if idle.len() >= MAX_TARGETS && !idle.contains_key(target) {
            idle.retain(|target, _| *target == Target::Bucket);
        }
        let urls = idle.entry(target.clone()).or_default();
        if urls.len() < self.per_target {
            urls.push(url);
        }
    }

    /// Forgets the URLs of a large file that has ended.
    pub(super) fn forget(&self, large: &FileId) {
        self.idle().remove(&Target::Large(large.clone()));
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Url;
    use reqwest::header::HeaderValue;
    use tokio::time::Instant;

    use super::{MAX_AGE, MAX_TARGETS, Pool, Target, UploadUrl};
    use crate::b2::FileId;

    fn url(n: usize, born: Instant) -> UploadUrl {
        UploadUrl {
            url: Url::parse(&format!("https://pod/{n}")).expect("a URL"),
            token: HeaderValue::from_static("t"),
            born,
        }
    }

    fn large(n: usize) -> Target {
        Target::Large(FileId::new(&n.to_string()))
    }

    #[test]
    fn a_url_serves_one_upload_at_a_time_and_its_target_only() {
        let (pool, now) = (Pool::new(4), Instant::now());
        pool.put(&large(1), url(1, now));
        assert!(pool.take(&Target::Bucket, now).is_none());
        assert!(pool.take(&large(2), now).is_none());
        assert!(pool.take(&large(1), now).is_some());
        assert!(pool.take(&large(1), now).is_none());
    }

    #[test]
    fn old_urls_are_dropped() {
        let (pool, now) = (Pool::new(4), Instant::now());
        pool.put(&Target::Bucket, url(1, now));
        assert!(pool.take(&Target::Bucket, now + MAX_AGE).is_none());
        assert!(pool.take(&Target::Bucket, now).is_none());
    }

    #[test]
    fn idle_urls_and_targets_are_bounded() {
        let (pool, now) = (Pool::new(2), Instant::now());
        for n in 0..3 {
            pool.put(&Target::Bucket, url(n, now));
        }
        for n in 0..2 * MAX_TARGETS {
            pool.put(&large(n), url(n, now));
        }
        assert!(pool.idle().len() <= MAX_TARGETS);
        assert_eq!(pool.idle()[&Target::Bucket].len(), 2);
    }

    #[test]
    fn an_ended_large_file_is_forgotten() {
        let (pool, now) = (Pool::new(2), Instant::now());
        pool.put(&large(1), url(1, now));
        pool.forget(&FileId::new("1"));
        assert!(pool.take(&large(1), now).is_none());
    }
}
