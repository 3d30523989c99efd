//! Application keys, and who may do what (API §11).

use serde::{Deserialize, Serialize};

use crate::emulator::account::{Account, now_millis};
use crate::emulator::error::{ApiError, Result};
use crate::emulator::text::{random_hex, random_text};

/// Every capability there is (API §11).
pub(super) const CAPABILITIES: [&str; 30] = [
    "listKeys",
    "writeKeys",
    "deleteKeys",
    "listBuckets",
    "listAllBucketNames",
    "readBuckets",
    "writeBuckets",
    "deleteBuckets",
    "readBucketRetentions",
    "writeBucketRetentions",
    "readBucketEncryption",
    "writeBucketEncryption",
    "readBucketReplications",
    "writeBucketReplications",
    "readBucketNotifications",
    "writeBucketNotifications",
    "readBucketLogging",
    "writeBucketLogging",
    "readBucketLifecycleRules",
    "writeBucketLifecycleRules",
    "listFiles",
    "readFiles",
    "shareFiles",
    "writeFiles",
    "deleteFiles",
    "readFileLegalHolds",
    "writeFileLegalHolds",
    "readFileRetentions",
    "writeFileRetentions",
    "bypassGovernance",
];

#[derive(Clone, Serialize, Deserialize)]
pub(in crate::emulator) struct Key {
    pub(in crate::emulator) id: String,
    pub(in crate::emulator) secret: String,
    pub(in crate::emulator) name: String,
    pub(in crate::emulator) capabilities: Vec<String>,
    /// `None`: all buckets.
    pub(in crate::emulator) buckets: Option<Vec<String>>,
    pub(in crate::emulator) prefix: Option<String>,
    /// In milliseconds since 1970.
    pub(in crate::emulator) expires: Option<u64>,
    /// Authorized by versions from this one on (API §0).
    pub(in crate::emulator) since_version: u8,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Key {
    pub(in crate::emulator) fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|other| other == capability)
    }

    pub(in crate::emulator) fn expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= now_millis())
    }

    /// Refuses with 401 what the key was not made for.
    pub(in crate::emulator) fn check(
        &self,
        capability: &str,
        bucket: Option<&str>,
        name: Option<&str>,
    ) -> Result<()> {
        let bucket_fits = match (&self.buckets, bucket) {
            (Some(own), Some(bucket)) => own.iter().any(|id| id == bucket),
            _ => true,
        };
        let name_fits = match (&self.prefix, name) {
            (Some(prefix), Some(name)) => name.starts_with(prefix.as_str()),
            _ => true,
        };
        if self.can(capability) && bucket_fits && name_fits {
            Ok(())
        } else {
            Err(ApiError::unauthorized())
        }
    }

    /// Calls on the account as a whole are not for keys of some buckets.
    pub(in crate::emulator) fn check_account(&self, capability: &str) -> Result<()> {
        if self.buckets.is_some() {
            return Err(ApiError::unauthorized());
        }
        self.check(capability, None, None)
    }
}

/// The master key has the account's id.
pub(in crate::emulator) fn master(account_id: &str) -> Key {
    Key {
        id: account_id.to_owned(),
        secret: random_text(31),
        name: "master".to_owned(),
        capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
        buckets: None,
        prefix: None,
        expires: None,
        since_version: 1,
    }
}

pub(in crate::emulator) fn fresh(
    account: &Account,
    capabilities: Vec<String>,
    buckets: Option<Vec<String>>,
    prefix: Option<String>,
) -> Result<Key> {
    if let Some(unknown) = capabilities
        .iter()
        .find(|capability| !CAPABILITIES.contains(&capability.as_str()))
    {
        return Err(ApiError::bad_request(format!(
            "Unknown capability: {unknown}"
        )));
    }
    for id in buckets.iter().flatten() {
        account.bucket(id)?;
    }
    let restricted = buckets.is_some();
    Ok(Key {
        id: format!("002{}{:010}", account.id, account.keys.len()) + &random_hex(4),
        secret: random_text(31),
        name: String::new(),
        capabilities,
        buckets,
        prefix,
        expires: None,
        // Restricted keys of today are for version 4 only (API §0).
        since_version: if restricted { 4 } else { 1 },
    })
}
