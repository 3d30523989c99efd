//! The requests that a fault keeps waiting now, so that a test can act exactly while one hangs.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;

use serde::Serialize;

use super::call::Call;

/// A request that is kept waiting; `GET /emulator/held` answers a list of them as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Its name, such as `b2_hide_file`.
    pub call: String,
    /// The kind of fault: `stall` and `hang` before its effect, `late` after it.
    pub by: &'static str,
}

/// All of them, by the order in which they came.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Holding {
    held: Mutex<(u64, BTreeMap<u64, Held>)>,
}

/// One request that is kept waiting until this is dropped, as its connection's end does.
pub(in crate::emulator) struct Hold<'a> {
    holding: &'a Holding,
    number: u64,
}

impl Holding {
    fn held(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Held>)> {
        self.held.lock()
    }

    pub(in crate::emulator) fn hold(&self, call: Call, by: &'static str) -> Hold<'_> {
        let mut held = self.held();
        held.0 += 1;
        let number = held.0;
        let call = call.name().to_owned();
        held.1.insert(number, Held { call, by });
        Hold {
            holding: self,
            number,
        }
    }

    pub(in crate::emulator) fn now(&self) -> Vec<Held> {
        self.held().1.values().cloned().collect()
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.holding.held().1.remove(&self.number);
    }
}
