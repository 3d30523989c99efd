//! The account: its buckets, the versions in them, unfinished large files and keys.
//!
//! Plain data behind one lock, held for map work only. Every change goes through a method here, which first tells it
//! to the keeper, if there is one, so that what a client was told survives a kill. A bucket's names are ordered by their
//! UTF-8 bytes, the versions of a name newest first (API §4.2).

pub(super) mod bucket;
pub(super) mod change;
pub(super) mod keys;
pub(super) mod listing;
pub(super) mod locks;
pub(super) mod version;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::emulator::account::bucket::{Bucket, Names, Settings};
use crate::emulator::account::change::{Change, Keeper};
use crate::emulator::account::keys::Key;
use crate::emulator::account::version::{Action, LARGE, Lock, SMALL, Version, parse_file_id};
use crate::emulator::content::{Content, Hashes};
use crate::emulator::error::{ApiError, Result};

/// An uploaded or copied part of an unfinished large file.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) content: Content,
    pub(super) hashes: Hashes,
    pub(super) stamp: u64,
}

pub(super) type Parts = BTreeMap<u64, Part>;

#[derive(Debug)]
struct Place {
    bucket: Arc<str>,
    name: Arc<str>,
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) buckets: BTreeMap<Arc<str>, Bucket>,
    pub(super) keys: BTreeMap<String, Arc<Key>>,
    /// Parts of unfinished large files, by the file's number.
    large: HashMap<u64, Parts>,
    places: HashMap<u64, Place>,
    last_stamp: u64,
    last_number: u64,
    /// `None`: it lives as long as this process.
    keeper: Option<Box<dyn Keeper>>,
}

pub(super) fn now_millis() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as u64)
}

/// The newest version that counts: an unfinished large file is none yet.
pub(super) fn newest(versions: &[Arc<Version>]) -> Option<&Arc<Version>> {
    versions
        .iter()
        .find(|version| version.action != Action::Start)
}

impl Account {
    pub(super) fn new(id: String) -> Self {
        Self {
            id,
            buckets: BTreeMap::new(),
            keys: BTreeMap::new(),
            large: HashMap::new(),
            places: HashMap::new(),
            last_stamp: 0,
            last_number: 0,
            keeper: None,
        }
    }

    /// Tells every change from here on.
    pub(super) fn keep_with(&mut self, keeper: impl Keeper + 'static) {
        self.keeper = Some(Box::new(keeper));
    }

    fn tell(&mut self, change: &Change<'_>) -> Result<()> {
        match &mut self.keeper {
            Some(keeper) => keeper.keep(change),
            None => Ok(()),
        }
    }

    /// Now, but later than every stamp before, so that the order of versions is that of the calls; or, in steps of more
    /// than a millisecond, not earlier: then the greater number tells which is newer.
    pub(super) fn stamp(&mut self, step: u64) -> u64 {
        self.last_stamp = now_millis().max(self.last_stamp + u64::from(step == 1));
        self.last_stamp -= self.last_stamp % step;
        self.last_stamp
    }

    pub(super) fn small_number(&mut self) -> u64 {
        self.last_number += 1;
        SMALL | self.last_number
    }

    pub(super) fn large_number(&mut self) -> u64 {
        self.last_number += 1;
        LARGE | self.last_number
    }

    pub(super) fn bucket(&self, id: &str) -> Result<&Bucket> {
        self.buckets
            .get(id)
            .ok_or_else(|| ApiError::bad_bucket_id(id))
    }

    pub(super) fn bucket_by_name(&self, name: &str) -> Option<&Bucket> {
        self.buckets
            .values()
            .find(|bucket| bucket.settings.name.eq_ignore_ascii_case(name))
    }

    /// Creates it, or replaces its settings.
    pub(super) fn put_bucket(&mut self, settings: Settings) -> Result<()> {
        self.tell(&Change::Bucket(&settings))?;
        let bucket = self
            .buckets
            .entry(settings.id.clone())
            .or_insert_with(|| Bucket {
                settings: settings.clone(),
                names: Names::new(),
            });
        bucket.settings = settings;
        Ok(())
    }

    /// The bucket must be empty.
    pub(super) fn remove_bucket(&mut self, id: &str) -> Result<()> {
        self.tell(&Change::NoBucket(id))?;
        self.buckets.remove(id);
        Ok(())
    }

    pub(super) fn put_key(&mut self, key: Key) -> Result<Arc<Key>> {
        self.tell(&Change::Key(&key))?;
        let key = Arc::new(key);
        self.keys.insert(key.id.clone(), key.clone());
        Ok(key)
    }

    pub(super) fn remove_key(&mut self, id: &str) -> Result<()> {
        self.tell(&Change::NoKey(id))?;
        self.keys.remove(id);
        Ok(())
    }

    /// Inserts it, or replaces the version of the same number.
    pub(super) fn put_version(&mut self, version: Version) -> Result<Arc<Version>> {
        if !self.buckets.contains_key(&version.bucket) {
            return Err(ApiError::bad_bucket_id(&version.bucket));
        }
        self.tell(&Change::Version(&version))?;
        let version = Arc::new(version);
        self.adopt(version.clone());
        Ok(version)
    }

    /// As [`Self::put_version`], but not told, and without a check of the bucket.
    pub(super) fn adopt(&mut self, version: Arc<Version>) {
        let Some(bucket) = self.buckets.get_mut(&version.bucket) else {
            return;
        };
        if version.action == Action::Start {
            self.large.entry(version.number).or_default();
        } else {
            self.large.remove(&version.number);
        }
        self.last_stamp = self.last_stamp.max(version.stamp.min(now_millis()));
        self.last_number = self.last_number.max(version.number & (SMALL - 1));
        let name = match bucket.names.get_key_value(&version.name) {
            Some((name, _)) => name.clone(),
            None => version.name.clone(),
        };
        self.places.insert(
            version.number,
            Place {
                bucket: version.bucket.clone(),
                name: name.clone(),
            },
        );
        let versions = bucket
            .names
            .entry(name)
            .or_insert_with(|| Vec::with_capacity(1));
        match versions.binary_search_by_key(&version.order(), |other| other.order()) {
            Ok(at) => versions[at] = version,
            Err(at) => versions.insert(at, version),
        }
    }

    /// Returns it so that its content is dropped outside the lock.
    pub(super) fn remove_version(&mut self, number: u64) -> Result<Option<Arc<Version>>> {
        if !self.places.contains_key(&number) {
            return Ok(None);
        }
        self.tell(&Change::NoVersion(number))?;
        Ok(self.forget(number))
    }

    /// As [`Self::remove_version`], but not told.
    pub(super) fn forget(&mut self, number: u64) -> Option<Arc<Version>> {
        let place = self.places.remove(&number)?;
        self.large.remove(&number);
        let names = &mut self.buckets.get_mut(&place.bucket)?.names;
        let versions = names.get_mut(&place.name)?;
        let at = versions
            .iter()
            .position(|version| version.number == number)?;
        let version = versions.remove(at);
        if versions.is_empty() {
            names.remove(&place.name);
        }
        Some(version)
    }

    pub(super) fn put_part(&mut self, file: u64, number: u64, part: Part) -> Result<()> {
        if !self.large.contains_key(&file) {
            return Err(ApiError::bad_request("The large file is not in progress"));
        }
        self.tell(&Change::Part {
            file,
            number,
            part: &part,
        })?;
        self.adopt_part(file, number, part);
        Ok(())
    }

    /// As [`Self::put_part`], but not told, and without a check.
    pub(super) fn adopt_part(&mut self, file: u64, number: u64, part: Part) {
        self.large.entry(file).or_default().insert(number, part);
    }

    pub(super) fn parts(&self, file: u64) -> Option<&Parts> {
        self.large.get(&file)
    }

    fn by_number(&self, number: u64) -> Option<&Arc<Version>> {
        let place = self.places.get(&number)?;
        self.buckets
            .get(&place.bucket)?
            .names
            .get(&place.name)?
            .iter()
            .find(|version| version.number == number)
    }

    pub(super) fn unfinished(&self) -> impl Iterator<Item = &Arc<Version>> {
        self.large
            .keys()
            .filter_map(|number| self.by_number(*number))
    }

    /// `Ok(None)`: an id that may have existed; an error: no id at all.
    pub(super) fn version(&self, id: &str) -> Result<Option<Arc<Version>>> {
        let order = parse_file_id(id).ok_or_else(|| ApiError::invalid_file_id(id))?;
        Ok(self
            .by_number(order.0.1)
            .filter(|version| version.file_id() == id)
            .cloned())
    }

    /// The version that a name shows; none when hidden or absent.
    pub(super) fn current(&self, bucket: &str, name: &str) -> Option<Arc<Version>> {
        newest(self.buckets.get(bucket)?.names.get(name)?)
            .filter(|version| version.action == Action::Upload)
            .cloned()
    }

    /// An unfinished large file.
    pub(super) fn started(&self, id: &str) -> Result<Arc<Version>> {
        self.version(id)?
            .filter(|version| version.action == Action::Start)
            .ok_or_else(|| ApiError::bad_request(format!("No active upload for: {id}")))
    }

    pub(super) fn set_lock(&mut self, version: &Version, lock: Lock) -> Result<()> {
        let changed = Version {
            lock: Some(Box::new(lock)),
            ..version.clone()
        };
        self.put_version(changed).map(drop)
    }
}
