//! What Object Lock forbids (API §8).

use serde_json::Value;

use super::version::{Retention, Version};
use crate::emulator::account::now_millis;
use crate::emulator::error::{ApiError, Result};

/// A locked version is kept: 401, not 403, as seen live (API §8).
pub(in crate::emulator) fn check_delete(version: &Version, bypass: bool) -> Result<()> {
    let lock = version.lock();
    let retained = lock.retention.is_some_and(|retention| {
        retention.until > now_millis() && !(bypass && retention.mode == "governance")
    });
    if retained || lock.legal_hold == Some(true) {
        return Err(ApiError::new(
            401,
            "access_denied",
            "File is under Object Lock and cannot be deleted",
        ));
    }
    Ok(())
}

pub(in crate::emulator) fn missing_lock() -> ApiError {
    ApiError::new(
        400,
        "bucket_missing_file_lock",
        "The bucket is not file lock enabled",
    )
}

/// A retention that is asked for must end in the future (400, as tests of the `b2` command line show it; API §8).
pub(in crate::emulator) fn check_future(retention: Option<&Retention>) -> Result<()> {
    match retention {
        Some(retention) if retention.until <= now_millis() => Err(ApiError::new(
            400,
            "retain_until_timestamp_must_be_in_future",
            "The retainUntilTimestamp must be in future",
        )),
        _ => Ok(()),
    }
}

pub(in crate::emulator) fn parse_retention(
    mode: Option<&str>,
    until: Option<u64>,
) -> Result<Option<Retention>> {
    match (mode, until) {
        (None, None) => Ok(None),
        (Some(mode @ ("governance" | "compliance")), Some(until)) => Ok(Some(Retention {
            mode: mode.to_owned(),
            until,
        })),
        (Some(mode), Some(_)) => Err(ApiError::bad_request(format!("Bad retention mode: {mode}"))),
        _ => Err(ApiError::bad_request(
            "mode and retainUntilTimestamp go together",
        )),
    }
}

pub(in crate::emulator) fn parse_hold(hold: &str) -> Result<bool> {
    match hold {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(ApiError::bad_request(format!("Bad legalHold: {hold}"))),
    }
}

pub(in crate::emulator) fn default_retention(setting: &Value) -> Option<Retention> {
    let mode = setting.get("mode")?.as_str()?;
    let period = setting.get("period")?;
    let days = period.get("duration")?.as_u64()?
        * match period.get("unit")?.as_str()? {
            "years" => 365,
            _ => 1,
        };
    Some(Retention {
        mode: mode.to_owned(),
        until: now_millis() + days * 86_400_000,
    })
}
