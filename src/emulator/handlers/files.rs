//! Calls on one version or name: info, hide, delete (API §7, §8).

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::entry::{Entry, Viewer};
use crate::emulator::account::locks::check_delete;
use crate::emulator::account::newest;
use crate::emulator::account::version::{Action, Sha1, Version};
use crate::emulator::content::Content;
use crate::emulator::encryption::Encryption;
use crate::emulator::error::{ApiError, Result};
use crate::emulator::exchange::reply::json as reply;
use crate::emulator::exchange::request::Request;
use crate::emulator::params::Params;
use crate::emulator::rules::check_name;

pub(in crate::emulator) fn info(request: &Request, params: &Params) -> Result<Bytes> {
    let id = params.need("fileId")?;
    let version = request.shared.account().version(id)?;
    request.allow(None, None)?;
    let version = version.ok_or_else(|| ApiError::not_found("File not present"))?;
    request.allow(Some(&version.bucket), Some(&version.name))?;
    if version.action == Action::Start {
        return Err(ApiError::bad_request(format!(
            "The large file {id} is not finished"
        )));
    }
    reply(&Entry::of(&version, &Viewer::of(request)))
}

pub(in crate::emulator) fn hide(request: &Request, params: &Params) -> Result<Bytes> {
    let bucket = params.need("bucketId")?;
    let name = params.need("fileName")?;
    request.allow(Some(bucket), Some(name))?;
    check_name(name)?;
    let marker = {
        let mut account = request.shared.account();
        let bucket = account.bucket(bucket)?;
        let id = bucket.settings.id.clone();
        match bucket.names.get(name).and_then(|versions| newest(versions)) {
            None => {
                return Err(ApiError::new(
                    400,
                    "no_such_file",
                    format!("File not present: {name}"),
                ));
            }
            Some(version) if version.action == Action::Hide => {
                return Err(ApiError::new(
                    400,
                    "already_hidden",
                    format!("File already hidden: {name}"),
                ));
            }
            Some(_) => {}
        }
        let marker = Version {
            number: account.small_number(),
            bucket: id,
            name: name.into(),
            action: Action::Hide,
            stamp: request.stamp(&mut account),
            content_type: "application/x-bz-hide-marker".into(),
            info: None,
            sha1: Sha1::None,
            md5: None,
            encryption: Encryption::None,
            lock: None,
            content: Content::empty(),
        };
        account.put_version(marker)?
    };
    reply(&Entry::of(&marker, &Viewer::of(request)))
}

pub(in crate::emulator) fn delete_version(request: &Request, params: &Params) -> Result<Bytes> {
    let name = params.need("fileName")?;
    let id = params.need("fileId")?;
    let bypass = params.flag("bypassGovernance")?;
    request.allow(None, Some(name))?;
    let absent = || {
        ApiError::new(
            400,
            "file_not_present",
            format!("File not present: {name} {id}"),
        )
    };
    let _removed: Option<Arc<Version>> = {
        let mut account = request.shared.account();
        let version = account.version(id)?.ok_or_else(absent)?;
        request.allow(Some(&version.bucket), None)?;
        if *version.name != *name {
            return Err(absent());
        }
        if bypass {
            request.check("bypassGovernance", None, None)?;
        }
        check_delete(&version, bypass)?;
        account.remove_version(version.number)?
    };
    reply(&json!({"fileId": id, "fileName": name}))
}
