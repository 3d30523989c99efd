//! Many objects at once, whose content is computed when read.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use crate::emulator::account::version::{Action, Sha1, Version};
use crate::emulator::content::patterns::{is_large, variant_of};
use crate::emulator::encryption::Encryption;
use crate::emulator::error::{ApiError, Result};
use crate::emulator::rules::{check_header_size, check_info, check_name, resolve_content_type};
use crate::emulator::shared::Shared;

/// An object to make; its content is [`crate::emulator::seeded_content`].
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
    /// MD5 in base64 of the customer's key that it is encrypted with (SSE-C); the bucket's encryption when absent.
    #[serde(default)]
    pub customer_key_md5: Option<String>,
}

/// Makes all of them in one bucket: for a blocking thread. Each is dropped when it is made, where they are given away:
/// a million take their memory once.
pub(in crate::emulator) fn seed(
    shared: &Shared,
    bucket: &str,
    seeds: impl IntoIterator<Item: Borrow<Seed>>,
) -> Result<usize> {
    let settings = shared
        .account()
        .bucket_by_name(bucket)
        .map(|bucket| bucket.settings.clone())
        .ok_or_else(|| ApiError::bad_bucket_id(bucket))?;
    let step = shared.faults.switches().stamp_step;
    let mut types: HashMap<String, Arc<str>> = HashMap::new();
    let mut made = 0;
    for seed in seeds {
        let seed = seed.borrow();
        check_name(&seed.name)?;
        let info = check_info(seed.info.clone())?;
        let encryption = match &seed.customer_key_md5 {
            Some(md5) => Encryption::Customer(md5.clone()),
            None => settings.encryption.clone(),
        };
        check_header_size(&seed.name, &info, &encryption, settings.lock_enabled)?;
        let (content, hashes) = shared.patterns.take(variant_of(&seed.name), seed.size)?;
        let content_type = resolve_content_type("b2/x-auto", &seed.name)?;
        let content_type = types
            .entry(content_type)
            .or_insert_with_key(|name| name.as_str().into())
            .clone();
        let mut account = shared.account();
        let version = Version {
            number: if is_large(seed.size) {
                account.large_number()
            } else {
                account.small_number()
            },
            bucket: settings.id.clone(),
            name: seed.name.as_str().into(),
            action: Action::Upload,
            stamp: match seed.upload_timestamp {
                Some(stamp) => stamp,
                None => account.stamp(step),
            },
            content_type,
            info: (!info.is_empty()).then(|| Box::new(info)),
            sha1: hashes.map_or(Sha1::None, |hashes| Sha1::Checked(hashes.sha1)),
            md5: hashes.and_then(|hashes| hashes.md5),
            encryption,
            lock: None,
            content,
        };
        account.put_version(version)?;
        made += 1;
    }
    Ok(made)
}
