//! A bucket: its settings, and the versions in it by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::version::Version;
use crate::emulator::encryption::Encryption;
use crate::emulator::text::random_hex;

/// Versions by name.
pub(in crate::emulator) type Names = BTreeMap<Arc<str>, Vec<Arc<Version>>>;

/// What calls may change of a bucket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::emulator) struct Settings {
    pub(in crate::emulator) id: Arc<str>,
    pub(in crate::emulator) name: String,
    pub(in crate::emulator) kind: String,
    pub(in crate::emulator) info: Map<String, Value>,
    pub(in crate::emulator) cors: Value,
    pub(in crate::emulator) lifecycle: Value,
    pub(in crate::emulator) replication: Value,
    pub(in crate::emulator) notifications: Value,
    pub(in crate::emulator) encryption: Encryption,
    pub(in crate::emulator) lock_enabled: bool,
    /// `{mode, period}` as given.
    pub(in crate::emulator) default_retention: Value,
    pub(in crate::emulator) revision: u64,
}

#[derive(Debug)]
pub(in crate::emulator) struct Bucket {
    pub(in crate::emulator) settings: Settings,
    pub(in crate::emulator) names: Names,
}

/// A new bucket as it is by default.
pub(in crate::emulator) fn fresh(name: &str, kind: &str, encryption: Encryption) -> Settings {
    Settings {
        id: random_hex(24).into(),
        name: name.to_owned(),
        kind: kind.to_owned(),
        info: Map::new(),
        cors: json!([]),
        lifecycle: json!([]),
        replication: Value::Null,
        notifications: json!([]),
        encryption,
        lock_enabled: false,
        default_retention: json!({"mode": null, "period": null}),
        revision: 2,
    }
}
