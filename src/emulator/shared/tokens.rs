//! The tokens that are out: for the account, for uploads, for downloads (API §2).
//!
//! They live apart from the account and are not kept across runs: a client that is refused authorizes again.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::emulator::account::keys::Key;
use crate::emulator::error::{ApiError, Result};
use crate::emulator::text::random_text;

/// What an upload URL is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::emulator) enum UploadTarget {
    Bucket(Arc<str>),
    /// The number and the id of an unfinished large file.
    Part(u64, String),
}

#[derive(Debug, Clone)]
enum Grant {
    Account,
    Upload(UploadTarget),
    Download {
        bucket: Arc<str>,
        prefix: String,
        overrides: HashMap<String, String>,
    },
}

#[derive(Debug)]
struct Token {
    grant: Grant,
    key: Arc<Key>,
    expires: Instant,
    busy: bool,
    /// An upload with it has failed, and B2 may not have noticed that it has ended.
    dead: bool,
}

/// All tokens that are out.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Tokens {
    table: Mutex<HashMap<String, Token>>,
}

/// Right to upload once; gives the URL back when dropped.
#[derive(Debug)]
pub(in crate::emulator) struct UploadTurn<'a> {
    tokens: &'a Tokens,
    token: String,
    pub(in crate::emulator) key: Arc<Key>,
    pub(in crate::emulator) target: UploadTarget,
}

impl Drop for UploadTurn<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.tokens.table().get_mut(&self.token) {
            token.busy = false;
        }
    }
}

/// What a token for downloads by name allows.
#[derive(Debug)]
pub(in crate::emulator) struct DownloadGrant {
    pub(in crate::emulator) bucket: Arc<str>,
    pub(in crate::emulator) prefix: String,
    pub(in crate::emulator) overrides: HashMap<String, String>,
}

fn bad_token() -> ApiError {
    ApiError::new(401, "bad_auth_token", "Invalid authorization token")
}

fn expired_token() -> ApiError {
    ApiError::new(401, "expired_auth_token", "Authorization token has expired")
}

impl Tokens {
    fn table(&self) -> parking_lot::MutexGuard<'_, HashMap<String, Token>> {
        self.table.lock()
    }

    fn issue(&self, grant: Grant, key: &Arc<Key>, life: Duration) -> String {
        let text = format!("4_{}_{}_acct", key.id, random_text(40));
        let now = Instant::now();
        let mut table = self.table();
        if table.len() % 1024 == 1023 {
            // Long dead ones are forgotten; fresh ones must still be told "expired".
            table.retain(|_, token| token.busy || token.expires + Duration::from_secs(3600) > now);
        }
        table.insert(
            text.clone(),
            Token {
                grant,
                key: key.clone(),
                expires: now + life,
                busy: false,
                dead: false,
            },
        );
        text
    }

    pub(in crate::emulator) fn issue_account(&self, key: &Arc<Key>, life: Duration) -> String {
        self.issue(Grant::Account, key, life)
    }

    pub(in crate::emulator) fn issue_upload(
        &self,
        target: UploadTarget,
        key: &Arc<Key>,
        life: Duration,
    ) -> String {
        self.issue(Grant::Upload(target), key, life)
    }

    pub(in crate::emulator) fn issue_download(
        &self,
        bucket: Arc<str>,
        prefix: String,
        overrides: HashMap<String, String>,
        key: &Arc<Key>,
        life: Duration,
    ) -> String {
        let grant = Grant::Download {
            bucket,
            prefix,
            overrides,
        };
        self.issue(grant, key, life)
    }

    /// The key behind an account token.
    pub(in crate::emulator) fn account(&self, token: &str) -> Result<Arc<Key>> {
        let table = self.table();
        match table.get(token) {
            Some(Token {
                grant: Grant::Account,
                key,
                expires,
                ..
            }) => {
                if *expires <= Instant::now() {
                    Err(expired_token())
                } else if key.expired() {
                    Err(bad_token())
                } else {
                    Ok(key.clone())
                }
            }
            _ => Err(bad_token()),
        }
    }

    pub(in crate::emulator) fn download(&self, token: &str) -> Option<Result<DownloadGrant>> {
        let table = self.table();
        match table.get(token) {
            Some(Token {
                grant:
                    Grant::Download {
                        bucket,
                        prefix,
                        overrides,
                    },
                expires,
                ..
            }) => Some(if *expires <= Instant::now() {
                Err(expired_token())
            } else {
                Ok(DownloadGrant {
                    bucket: bucket.clone(),
                    prefix: prefix.clone(),
                    overrides: overrides.clone(),
                })
            }),
            _ => None,
        }
    }

    /// Takes an upload URL's only turn (API §5.1).
    pub(in crate::emulator) fn upload(&self, token: &str) -> Result<UploadTurn<'_>> {
        let mut table = self.table();
        let Some(Token {
            grant: Grant::Upload(target),
            key,
            expires,
            busy,
            dead,
        }) = table.get_mut(token)
        else {
            return Err(bad_token());
        };
        if *expires <= Instant::now() {
            return Err(expired_token());
        }
        if key.expired() {
            return Err(bad_token());
        }
        if *busy || *dead {
            return Err(ApiError::new(
                400,
                "auth_token_limit",
                format!("more than one upload using auth token {token}"),
            ));
        }
        *busy = true;
        Ok(UploadTurn {
            tokens: self,
            token: token.to_owned(),
            key: key.clone(),
            target: target.clone(),
        })
    }

    /// An upload URL takes no more uploads.
    pub(in crate::emulator) fn kill_upload(&self, token: &str) {
        if let Some(token) = self.table().get_mut(token) {
            token.dead = true;
        }
    }

    /// Makes one account or upload token old at once.
    pub(in crate::emulator) fn expire(&self, token: &str) {
        if let Some(token) = self.table().get_mut(token) {
            token.expires = Instant::now();
        }
    }

    pub(in crate::emulator) fn expire_all(&self) {
        let now = Instant::now();
        for token in self.table().values_mut() {
            token.expires = now;
        }
    }

    /// A deleted key takes its tokens along.
    pub(in crate::emulator) fn revoke(&self, key: &str) {
        self.table().retain(|_, token| token.key.id != key);
    }
}
