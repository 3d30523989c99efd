//! What the mounted bucket is like (API §3); asked anew each time, because it can be changed at any time.

use serde_json::json;

use serde::Deserialize;

use super::call::Call;
use super::name::encode;
use super::wire::{Bucket, Buckets};
use super::{Account, Client, Error, FileName, Options};

/// A bucket that a key reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Its id.
    pub id: String,
    /// Its name; `None` where it has been deleted.
    pub name: Option<String>,
}

/// A rule by which B2 hides and deletes files (API §8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LifecycleRule {
    /// The names for which it holds begin so.
    pub file_name_prefix: String,
    /// Days after which a version is deleted that was hidden or replaced.
    pub days_from_hiding_to_deleting: Option<u64>,
    /// Days after which a file is hidden, whoever uses it.
    pub days_from_uploading_to_hiding: Option<u64>,
}

/// What is set for a bucket, as far as the key may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSettings {
    /// `allPrivate`, `allPublic`, ...
    pub kind: String,
    /// The rules for its files.
    pub lifecycle: Vec<LifecycleRule>,
    /// How every new version is protected, `governance for 7 days` say; empty: not at all. `None`: not known.
    pub retention: Option<String>,
    /// The mode of its default encryption, `SSE-B2` say; empty: none. `None`: not known.
    pub encryption: Option<String>,
}

impl Client {
    /// What a key may do, and the buckets that it reaches, before one is chosen: one call with a key that is restricted to
    /// buckets, else two.
    pub async fn look(options: Options) -> Result<(Account, Vec<Reached>), Error> {
        let (client, allowed) = Self::authorized(options).await?;
        let account = client.account();
        let reached = if let Some(buckets) = allowed {
            buckets
                .into_iter()
                .map(|bucket| Reached {
                    id: bucket.id,
                    name: bucket.name.filter(|name| !name.is_empty()),
                })
                .collect()
        } else {
            let request = json!({"accountId": account.account_id, "bucketTypes": ["all"]});
            let tries = client.tries(Call::ListBuckets, "");
            let found: Buckets = client.call(tries, &request).await?;
            let reached = |bucket: Bucket| Reached {
                id: bucket.id,
                name: Some(bucket.name),
            };
            found.buckets.into_iter().map(reached).collect()
        };
        Ok((account, reached))
    }

    /// When the key ends, in milliseconds since 1970; `None`: never.
    pub fn key_ends_ms(&self) -> Option<u64> {
        self.session().ends_ms
    }

    /// B2's clock, in milliseconds since 1970, to a second; `None` as long as no answer has told.
    pub fn clock_ms(&self) -> Option<u64> {
        self.shared.http.date()
    }

    /// What is set for the bucket. `None`: the key may not know (it lacks `listBuckets`).
    pub async fn bucket_settings(&self) -> Result<Option<BucketSettings>, Error> {
        if !self.may("listBuckets") {
            return Ok(None);
        }
        let bucket = self.bucket_now().await?;
        Ok(bucket.map(|bucket| BucketSettings {
            retention: bucket.lock.shown(),
            encryption: bucket.encryption.value.map(|one| {
                let mode = one.mode.filter(|mode| mode != "none");
                mode.unwrap_or_default()
            }),
            kind: bucket.kind,
            lifecycle: bucket.lifecycle,
        }))
    }

    /// Where anybody can download the newest version of a file, by its name (API §7); `None` where the bucket is private.
    /// Asks B2 for that, because it can be changed at any time.
    pub async fn public_url(&self, name: &FileName) -> Result<Option<String>, Error> {
        const PUBLIC: &str = "allPublic";
        let public = self.bucket_now().await?;
        let public = public.is_some_and(|bucket| bucket.kind == PUBLIC);
        let session = self.session();
        let account = &session.account;
        let base = &session.download_url;
        Ok(public.then(|| {
            let name = encode(name.as_str());
            format!("{base}/file/{}/{name}", account.bucket_name)
        }))
    }

    /// Whether the bucket protects every new version from being deleted for a time (API §3). `None`: the key may not know.
    pub async fn retains_by_default(&self) -> Result<Option<bool>, Error> {
        if !self.may("listBuckets") || !self.may("readBucketRetentions") {
            return Ok(None);
        }
        let bucket = self.bucket_now().await?;
        Ok(bucket.and_then(|bucket| bucket.lock.retains()))
    }

    /// The bucket as it is now.
    async fn bucket_now(&self) -> Result<Option<Bucket>, Error> {
        let session = self.session();
        let account = &session.account;
        let request = json!({
            "accountId": account.account_id,
            "bucketId": account.bucket_id,
            "bucketTypes": ["all"],
        });
        let tries = self.tries(Call::ListBuckets, &account.bucket_name);
        let found: Buckets = self.call(tries, &request).await?;
        let mut all = found.buckets.into_iter();
        Ok(all.find(|bucket| bucket.id == account.bucket_id))
    }
}
