//! What the mounted bucket is like (API §3); asked anew each time, because it can be changed at any time.

use serde_json::json;

use super::call::Call;
use super::name::encode;
use super::wire::{Bucket, Buckets};
use super::{Client, Error, FileName};

impl Client {
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
