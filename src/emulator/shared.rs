//! What every request sees of the server: the account, the tokens that are out, faults, counters, addresses.
//!
//! Each part has a lock of its own, held for map work only. The account's comes first; of the others none is held while
//! another one is taken.

pub(super) mod call;
pub(super) mod counters;
pub(super) mod faults;
pub(super) mod held;
pub(super) mod load;
pub(super) mod tokens;

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::emulator::account::Account;
use crate::emulator::content::patterns::Patterns;
use crate::emulator::content::store::Store;
use crate::emulator::shared::counters::Meter;
use crate::emulator::shared::faults::Faults;
use crate::emulator::shared::held::Holding;
use crate::emulator::shared::load::Load;
use crate::emulator::shared::tokens::Tokens;

/// Base URLs of the listeners.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pub(super) api: String,
    pub(super) download: Vec<String>,
    pub(super) pods: Vec<String>,
}

/// The URLs that one authorization tells.
#[derive(Debug)]
pub(super) struct Urls<'a> {
    pub(super) api: &'a str,
    pub(super) download: &'a str,
}

#[derive(Debug)]
pub(super) struct Shared {
    /// First, so that it is dropped before the account: the blobs of a stopping server leave their files in place.
    pub(super) store: Store,
    pub(super) account_id: String,
    account: Mutex<Account>,
    pub(super) tokens: Tokens,
    pub(super) faults: Faults,
    pub(super) held: Holding,
    pub(super) load: Load,
    pub(super) meter: Meter,
    pub(super) patterns: Patterns,
    pub(super) latency: Duration,
    pub(super) bandwidth: Option<u64>,
    pub(super) addresses: Addresses,
    turn: AtomicUsize,
}

impl Shared {
    pub(super) fn new(
        account: Account,
        store: Store,
        faults: Faults,
        addresses: Addresses,
        latency: Duration,
        bandwidth: Option<u64>,
    ) -> Arc<Self> {
        Arc::new(Self {
            account_id: account.id.clone(),
            account: Mutex::new(account),
            tokens: Tokens::default(),
            faults,
            held: Holding::default(),
            load: Load::default(),
            meter: Meter::default(),
            store,
            patterns: Patterns::default(),
            latency,
            bandwidth,
            addresses,
            turn: AtomicUsize::new(0),
        })
    }

    /// For map work only; never across an await.
    pub(super) fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock()
    }

    fn choose<'a>(&self, urls: &'a [String]) -> &'a str {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        urls.get(turn % urls.len().max(1))
            .map_or("", String::as_str)
    }

    /// Another download host now and then (API §2: URLs may change at each authorization).
    pub(super) fn urls(&self) -> Urls<'_> {
        Urls {
            api: &self.addresses.api,
            download: self.choose(&self.addresses.download),
        }
    }

    /// The base URL of some upload host.
    pub(super) fn pod(&self) -> &str {
        self.choose(&self.addresses.pods)
    }
}
