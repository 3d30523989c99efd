//! Many objects at once, whose content is computed when read.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use super::content::{Blob, Content, Hashes, Piece, Source, variant_of};
use super::error::{ApiError, Result};
use super::rules::{
    RECOMMENDED_PART, check_header_size, check_info, check_name, resolve_content_type,
};
use super::shared::Shared;
use super::version::{Action, Sha1, Version};

/// An object to make; its content is [`super::seeded_content`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seed {
    /// The whole name.
    pub name: String,
    /// Length in bytes; more than 100,000,000 makes a large file, whose SHA-1 is `none`.
    pub size: u64,
    /// Milliseconds; now when absent.
    #[serde(default)]
    pub upload_timestamp: Option<u64>,
    /// File info.
    #[serde(default)]
    pub info: BTreeMap<String, String>,
}

/// Hashes of patterns by variant and size, each computed once.
#[derive(Debug, Default)]
pub(super) struct SeedHashes {
    known: Mutex<HashMap<(u64, u64), Hashes>>,
    blobs: Mutex<HashMap<u64, Arc<Blob>>>,
}

impl SeedHashes {
    fn blob(&self, variant: u64) -> Arc<Blob> {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let blob = blobs.entry(variant).or_insert_with(|| {
            Arc::new(Blob {
                number: variant,
                source: Source::Pattern(variant),
                len: u64::MAX,
                hashes: None,
            })
        });
        blob.clone()
    }

    fn content(&self, variant: u64, size: u64) -> Content {
        if size == 0 {
            return Content::empty();
        }
        Content::of(vec![Piece {
            blob: self.blob(variant),
            start: 0,
            len: size,
        }])
    }

    fn hashes(&self, variant: u64, content: &Content) -> Result<Hashes> {
        let place = (variant, content.len());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hashes) = known().get(&place) {
            return Ok(*hashes);
        }
        let hashes = content
            .hash(true)
            .map_err(|error| ApiError::internal(&error))?;
        known().insert(place, hashes);
        Ok(hashes)
    }
}

/// Makes all of them in one bucket: for a blocking thread.
pub(super) fn seed(shared: &Shared, bucket: &str, seeds: &[Seed]) -> Result<usize> {
    let settings = shared
        .account()
        .bucket_by_name(bucket)
        .map(|bucket| bucket.settings.clone())
        .ok_or_else(|| ApiError::bad_bucket_id(bucket))?;
    for seed in seeds {
        check_name(&seed.name)?;
        let info = check_info(seed.info.clone())?;
        check_header_size(
            &seed.name,
            &info,
            &settings.encryption,
            settings.lock_enabled,
        )?;
        let variant = variant_of(&seed.name);
        let content = shared.seed_hashes.content(variant, seed.size);
        let large = seed.size > RECOMMENDED_PART;
        let hashes = if large {
            None
        } else {
            Some(shared.seed_hashes.hashes(variant, &content)?)
        };
        let content_type = resolve_content_type("b2/x-auto", &seed.name)?;
        let mut account = shared.account();
        let version = Version {
            number: if large {
                account.large_number()
            } else {
                account.small_number()
            },
            bucket: settings.id.clone(),
            name: seed.name.as_str().into(),
            action: Action::Upload,
            stamp: match seed.upload_timestamp {
                Some(stamp) => stamp,
                None => account.stamp(),
            },
            content_type: content_type.into(),
            info: (!info.is_empty()).then(|| Box::new(info)),
            sha1: hashes.map_or(Sha1::None, |hashes| Sha1::Checked(hashes.sha1)),
            md5: hashes.and_then(|hashes| hashes.md5),
            encryption: settings.encryption.clone(),
            lock: None,
            content,
        };
        account.put_version(version)?;
    }
    Ok(seeds.len())
}
