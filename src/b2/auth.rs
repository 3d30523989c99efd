//! The account token: authorize, choose the bucket, renew the token when it dies (API §2, §3).
//!
//! The current [`Session`] is replaced as a whole, URLs included, as they may change with each
//! authorize. Of many calls that meet a dead token one renews it and the others wait for its
//! outcome, good or bad. Lock order: `flight` (asynchronous, held while authorizing), then
//! `current` (never across an `.await`).

use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::call::Call;
use super::calls::Tries;
use super::counters::Counting;
use super::http::{Http, secret_header};
use super::limiter::Limiter;
use super::redact::clean;
use super::retry::FailedTry;
use super::wire::{AllowedBucket, Authorized, Bucket, Buckets};
use super::{Account, Client, Error, ErrorKind, Options, Secret};

/// What one authorize gave.
#[derive(Debug)]
pub(super) struct Session {
    /// Counts authorizations: tells a token that has been replaced from the one that has not.
    pub(super) generation: u64,
    /// The raw token, marked sensitive.
    pub(super) token: HeaderValue,
    pub(super) api_url: String,
    pub(super) download_url: String,
    pub(super) account: Account,
    /// When the key ends, in milliseconds since 1970; `None`: never.
    pub(super) ends_ms: Option<u64>,
}

/// How long a key that B2 has refused is not shown to it again.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// A key that B2 keeps refusing is spoken of this often.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// The end of a key is warned of so long before, in milliseconds.
const WARNED_BEFORE: u64 = 7 * 24 * 3600 * 1000;

/// An application key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) secret: Secret,
}

/// The current session and who may replace it.
#[derive(Debug)]
pub(super) struct Sessions {
    current: RwLock<Arc<Session>>,
    /// What to authorize with; replaced in a flight only.
    pub(super) key: RwLock<Arc<Key>>,
    pub(super) flight: Mutex<Flight>,
    /// How many renewals have failed; the last error is in `flight`.
    failures: AtomicU64,
}

/// What is known by who authorizes.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// How the last one failed.
    pub(super) failed: Option<(Error, Instant)>,
    /// When a refused key was spoken of.
    said: Option<Instant>,
}

impl Sessions {
    pub(super) fn new(session: Session, key: Key) -> Self {
        Self {
            current: RwLock::new(Arc::new(session)),
            key: RwLock::new(Arc::new(key)),
            flight: Mutex::default(),
            failures: AtomicU64::new(0),
        }
    }

    pub(super) fn key(&self) -> Arc<Key> {
        Arc::clone(&self.key.read())
    }

    pub(super) fn current(&self) -> Arc<Session> {
        let current = self.current.read();
        Arc::clone(&current)
    }

    pub(super) fn replace(&self, session: Session) {
        *self.current.write() = Arc::new(session);
    }
}

/// Which bucket the key and the options point to.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// The key tells id and name: no call is needed.
    Known { id: String, name: String },
    /// The key is for all buckets: B2 has to be asked.
    Ask,
}

pub(super) type Allowed = Option<Vec<AllowedBucket>>;

/// One `b2_authorize_account` with its retries; the session still lacks its bucket.
pub(super) async fn authorize(
    http: &Http,
    key: &Key,
    counting: &Counting,
    limiter: &Limiter,
    generation: u64,
) -> Result<(Session, Allowed), Error> {
    let mut tries = Tries::new(Call::AuthorizeAccount, &key.id, http.waits.call);
    loop {
        let turn = limiter.turn(&mut tries).await?;
        tries.begin(counting);
        let began = Instant::now();
        let outcome = authorize_once(http, key, generation).await;
        turn.end(&tries, &outcome);
        tries.log(began, &outcome);
        match outcome {
            Ok(session) => return Ok(session),
            // Whoever mounts learns of a mistake at once; later it may be a fault that passes.
            Err(failure) if generation == 1 && failure.hopeless().is_some() => {
                return Err(tries.error(&failure));
            }
            Err(failure) => tries.again(counting, &failure).await?,
        };
    }
}

async fn authorize_once(
    http: &Http,
    key: &Key,
    generation: u64,
) -> Result<(Session, Allowed), FailedTry> {
    let pair = format!("{}:{}", key.id, key.secret.expose());
    let basic = secret_header(&format!("Basic {}", BASE64_STANDARD.encode(pair)))?;
    let request = http.get(http.authorize_url())?.header(AUTHORIZATION, basic);
    let response = http.send_twice(request, http.waits.answer).await?;
    let answer: Authorized = http.json(response, 1).await?;
    warn_of_its_end(http, &key.id, answer.application_key_expiration_timestamp);
    let api = answer.api_info.storage_api;
    let base = |url: &str| http.url(url).map(|_| url.trim_end_matches('/').to_owned());
    let session = Session {
        ends_ms: answer.application_key_expiration_timestamp,
        generation,
        token: secret_header(&answer.authorization_token)?,
        api_url: base(&api.api_url)?,
        download_url: base(&api.download_url)?,
        account: Account {
            account_id: answer.account_id,
            bucket_id: String::new(),
            bucket_name: String::new(),
            capabilities: api.allowed.capabilities,
            name_prefix: api.allowed.name_prefix.unwrap_or_default(),
            // B2's limits of 2026 (API §2), should it ever leave them out.
            minimum_part_size: api.absolute_minimum_part_size.unwrap_or(5_000_000),
            recommended_part_size: api.recommended_part_size.unwrap_or(100_000_000),
        },
    };
    Ok((session, api.allowed.buckets))
}

impl Client {
    pub(super) fn session(&self) -> Arc<Session> {
        self.shared.sessions.current()
    }

    /// Fills in the session's bucket: without a call where the key tells it.
    pub(super) async fn choose_bucket(&self, allowed: Allowed) -> Result<(), Error> {
        let options = &self.shared.options;
        let (id, name) = match choose(options, allowed)? {
            Choice::Known { id, name } => (id, name),
            Choice::Ask => self.ask_for_bucket(options).await?,
        };
        let session = self.session();
        self.shared.sessions.replace(Session {
            generation: session.generation,
            ends_ms: session.ends_ms,
            token: session.token.clone(),
            api_url: session.api_url.clone(),
            download_url: session.download_url.clone(),
            account: Account {
                bucket_id: id,
                bucket_name: name,
                ..session.account.clone()
            },
        });
        Ok(())
    }

    async fn ask_for_bucket(&self, options: &Options) -> Result<(String, String), Error> {
        let mut request = json!({
            "accountId": self.session().account.account_id,
            "bucketTypes": ["all"],
        });
        // One filter suffices; the other, if any, is compared below.
        if let Some(id) = &options.bucket_id {
            request["bucketId"] = json!(id);
        } else if let Some(name) = &options.bucket_name {
            request["bucketName"] = json!(name);
        }
        let tries = self.tries(Call::ListBuckets, &wanted(options).unwrap_or_default());
        let found: Buckets = self.call(tries, &request).await?;
        find(options, &found.buckets)
    }

    /// Replaces the token of that generation, unless another call has done so meanwhile.
    pub(super) async fn renew(&self, dead: u64) -> Result<(), Error> {
        let sessions = &self.shared.sessions;
        let failures = sessions.failures.load(Ordering::Acquire);
        let mut flight = sessions.flight.lock().await;
        let old = self.session();
        if old.generation != dead {
            return Ok(());
        }
        if let Some((error, when)) = &flight.failed {
            // The one that was waited for has failed: a crowd must not try one after another.
            // And a key that was refused is not offered again with every call.
            let waited_for = sessions.failures.load(Ordering::Acquire) != failures;
            let refused = error.kind == ErrorKind::BadCredentials && when.elapsed() < REFUSED_FOR;
            if waited_for || refused {
                return Err(error.clone());
            }
        }
        self.shared.counting.reauthorization();
        let shared = &self.shared;
        let key = sessions.key();
        let renewed = authorize(
            &shared.http,
            &key,
            &shared.counting,
            &shared.limiter,
            dead + 1,
        );
        match renewed.await {
            Ok((mut session, _)) => {
                session.account.bucket_id.clone_from(&old.account.bucket_id);
                session
                    .account
                    .bucket_name
                    .clone_from(&old.account.bucket_name);
                sessions.replace(session);
                *flight = Flight::default();
                Ok(())
            }
            Err(error) => {
                sessions.failures.fetch_add(1, Ordering::Release);
                let now = Instant::now();
                let due = flight.said.is_none_or(|said| now >= said + SAID_EVERY);
                if due && error.kind == ErrorKind::BadCredentials {
                    flight.said = Some(now);
                    log::error!(
                        "B2 does not accept the key {} any more; what is not stored yet stays pending: \
                         write a valid key into the configuration file and send SIGHUP (kill -HUP {})",
                        sessions.key().id,
                        std::process::id()
                    );
                }
                flight.failed = Some((error.clone(), now));
                Err(error)
            }
        }
    }
}

/// Says so when a key will not be accepted for much longer.
fn warn_of_its_end(http: &Http, id: &str, ends_ms: Option<u64>) {
    let (Some(ends), Some(now)) = (ends_ms, http.date()) else {
        return;
    };
    let left = ends.saturating_sub(now);
    if left <= WARNED_BEFORE {
        log::warn!(
            "the key {id} ends in {} hours: make another one, write it into the configuration file and send SIGHUP",
            left / 3_600_000
        );
    }
}

/// What the user asked for, for messages.
fn wanted(options: &Options) -> Option<String> {
    options.bucket_name.clone().or(options.bucket_id.clone())
}

fn no_bucket(options: &Options, detail: String) -> Error {
    Error::refused_here(
        ErrorKind::NoSuchBucket,
        Call::AuthorizeAccount,
        &wanted(options).unwrap_or_default(),
        detail,
    )
}

fn fits(options: &Options, id: &str, name: Option<&str>) -> bool {
    options.bucket_id.as_deref().is_none_or(|want| want == id)
        && options
            .bucket_name
            .as_deref()
            .is_none_or(|want| Some(want) == name)
}

/// Decides by what authorize told of the key (API §3: a restricted key need not list buckets).
fn choose(options: &Options, allowed: Allowed) -> Result<Choice, Error> {
    let Some(allowed) = allowed else {
        return Ok(Choice::Ask);
    };
    let names = || {
        let names: Vec<String> = allowed
            .iter()
            .map(|bucket| clean(named(bucket).unwrap_or("(deleted)")))
            .collect();
        names.join(", ")
    };
    let mut fitting = allowed
        .iter()
        .filter(|bucket| fits(options, &bucket.id, named(bucket)));
    match (fitting.next(), fitting.next()) {
        (Some(bucket), None) => match named(bucket) {
            Some(name) => Ok(Choice::Known {
                id: bucket.id.clone(),
                name: name.to_owned(),
            }),
            None => Err(no_bucket(
                options,
                "the bucket that the key is restricted to has been deleted".to_owned(),
            )),
        },
        (Some(_), Some(_)) => Err(no_bucket(
            options,
            format!(
                "the key may use several buckets, name one of them: {}",
                names()
            ),
        )),
        (None, _) => Err(no_bucket(
            options,
            format!("the key is restricted to other buckets: {}", names()),
        )),
    }
}

/// The bucket's name, unless it has been deleted (API §2).
fn named(bucket: &AllowedBucket) -> Option<&str> {
    bucket.name.as_deref().filter(|name| !name.is_empty())
}

/// Picks the wanted one among the listed buckets.
fn find(options: &Options, listed: &[Bucket]) -> Result<(String, String), Error> {
    if wanted(options).is_none() {
        let names: Vec<String> = listed.iter().map(|b| clean(&b.name)).collect();
        return Err(no_bucket(
            options,
            format!(
                "the key is for all buckets, name one of them: {}",
                names.join(", ")
            ),
        ));
    }
    listed
        .iter()
        .find(|bucket| fits(options, &bucket.id, Some(&bucket.name)))
        .map(|bucket| (bucket.id.clone(), bucket.name.clone()))
        .ok_or_else(|| no_bucket(options, "the account has no such bucket".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Choice, choose, find};
    use crate::b2::wire::{AllowedBucket, Bucket, FileLock};
    use crate::b2::{ErrorKind, Options, Secret};

    fn options(id: Option<&str>, name: Option<&str>) -> Options {
        Options {
            endpoint: String::new(),
            key_id: "k".to_owned(),
            key: Secret::new("s"),
            bucket_id: id.map(str::to_owned),
            bucket_name: name.map(str::to_owned),
            timeout: Duration::from_secs(1),
            uploads: 1,
            downloads: 1,
            ..Options::default()
        }
    }

    fn allowed(buckets: &[(&str, Option<&str>)]) -> Vec<AllowedBucket> {
        let bucket = |&(id, name): &(&str, Option<&str>)| AllowedBucket {
            id: id.to_owned(),
            name: name.map(str::to_owned),
        };
        buckets.iter().map(bucket).collect()
    }

    fn known(id: &str, name: &str) -> Choice {
        Choice::Known {
            id: id.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_key_of_one_bucket_needs_neither_name_nor_id() {
        let one = || Some(allowed(&[("1", Some("one"))]));
        for (id, name) in [(None, None), (Some("1"), None), (None, Some("one"))] {
            let choice = choose(&options(id, name), one()).expect("a bucket");
            assert_eq!(choice, known("1", "one"));
        }
    }

    #[test]
    fn another_bucket_than_the_keys_is_refused_by_name() {
        for (id, name) in [
            (Some("2"), None),
            (None, Some("two")),
            (Some("1"), Some("two")),
        ] {
            let error = choose(&options(id, name), Some(allowed(&[("1", Some("one"))])));
            let error = error.expect_err("not the key's");
            assert_eq!(error.kind, ErrorKind::NoSuchBucket);
            assert!(error.detail.contains("one"), "{error}");
        }
    }

    #[test]
    fn a_key_of_several_buckets_lists_them_unless_one_is_named() {
        let two = || Some(allowed(&[("1", Some("one")), ("2", Some("two"))]));
        let choice = choose(&options(None, Some("two")), two()).expect("named");
        assert_eq!(choice, known("2", "two"));
        let error = choose(&options(None, None), two()).expect_err("ambiguous");
        assert!(error.detail.contains("one, two"), "{error}");
    }

    #[test]
    fn a_deleted_bucket_is_told_as_such() {
        for gone in [None, Some("")] {
            let error = choose(&options(None, None), Some(allowed(&[("1", gone)])));
            assert!(error.expect_err("deleted").detail.contains("deleted"));
        }
    }

    #[test]
    fn a_key_for_all_buckets_has_to_ask() {
        let choice = choose(&options(None, Some("one")), None).expect("a choice");
        assert_eq!(choice, Choice::Ask);
        let listed = [Bucket {
            id: "1".to_owned(),
            name: "one".to_owned(),
            kind: String::new(),
            lock: FileLock::default(),
            ..Bucket::default()
        }];
        assert!(find(&options(None, Some("one")), &listed).is_ok());
        assert!(find(&options(Some("1"), None), &listed).is_ok());
        let error = find(&options(None, Some("two")), &listed).expect_err("absent");
        assert!(error.to_string().contains("two"), "{error}");
        let error = find(&options(None, None), &listed).expect_err("not named");
        assert!(error.detail.contains("one"), "{error}");
    }
}
