//! The way from a request to its handler, and the faults that strike on it.
//!
//! A fault is drawn once a request, before anything of it is done. What strikes any call strikes here; what strikes the
//! middle of a body or of a page is left to the handler. Calls in JSON are admitted here, by their token and fields.

pub(super) mod route;

use std::sync::Arc;

use bytes::Bytes;

use crate::emulator::error::{Failure, Result};
use crate::emulator::exchange::reply::Reply;
use crate::emulator::exchange::request::Request;
use crate::emulator::handlers::{
    auth, buckets, copy, download, files, keys, large, lists, locks, upload,
};
use crate::emulator::params::Params;
use crate::emulator::shared::Shared;
use crate::emulator::shared::call::{Call, Role};
use crate::emulator::shared::faults::Fault;

/// Kills an upload's URL unless told that it may be used again (switch `strict-urls`), also where the client has gone.
struct Strict {
    shared: Arc<Shared>,
    token: Option<String>,
}

impl Strict {
    fn new(request: &Request) -> Self {
        let strict = request.shared.faults.switches().strict_urls;
        let token = request.authorization().map(ToOwned::to_owned);
        Self {
            shared: request.shared.clone(),
            token: token.filter(|_| strict && request.call.role() == Role::Pod),
        }
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        if let Some(token) = &self.token {
            self.shared.tokens.kill_upload(token);
        }
    }
}

/// Serves the request, or has a fault strike it.
pub(super) async fn answer(request: &mut Request) -> std::result::Result<Reply, Failure> {
    let mut strict = Strict::new(request);
    let outcome = struck(request).await;
    match &outcome {
        Ok(_) => strict.token = None,
        Err(Failure::Api(error)) if error.status == 429 => strict.token = None,
        Err(_) => {}
    }
    outcome
}

async fn struck(request: &mut Request) -> std::result::Result<Reply, Failure> {
    let shared = request.shared.clone();
    request.fault = test_mode(request).or_else(|| shared.faults.draw(request.call));
    if request.fault.is_some() {
        shared.meter.fault();
    }
    match &request.fault {
        Some(Fault::Reset) => return Err(Failure::Cut),
        Some(Fault::ResetMid) if request.call.role() != Role::Download => {
            let half = request.declared_length() / 2;
            request.drain(half.max(1)).await;
            return Err(Failure::Cut);
        }
        Some(Fault::Html(status)) => return Err(Failure::Html(*status)),
        Some(Fault::Stall(time)) => {
            let _held = shared.held.hold(request.call, "stall");
            tokio::time::sleep(*time).await;
        }
        Some(Fault::Hang) => {
            let _held = shared.held.hold(request.call, "hang");
            // Once the body is read, the end of the connection is noticed, and drops this.
            request.drain(u64::MAX).await;
            return std::future::pending().await;
        }
        Some(fault) => {
            if let Some(error) = fault.error() {
                if *fault == Fault::ExpireToken {
                    shared
                        .tokens
                        .expire(request.authorization().unwrap_or_default());
                }
                return Err(error.into());
            }
        }
        None => {}
    }
    let reply = serve(request).await?;
    if request.fault == Some(Fault::LostReply) {
        return Err(Failure::Cut);
    }
    if let Some(Fault::Late(pause)) = request.fault {
        let _held = shared.held.hold(request.call, "late");
        tokio::time::sleep(pause).await;
    }
    Ok(reply)
}

/// Serves a request of which nothing but the head has been looked at.
async fn serve(request: &mut Request) -> std::result::Result<Reply, Failure> {
    let handler: fn(&Request, &Params) -> Result<Bytes> = match request.call {
        Call::UploadFile => return upload::file(request).await,
        Call::UploadPart => return upload::part(request).await,
        Call::DownloadFileById => return download::by_id(request).await,
        Call::DownloadFileByName => return download::by_name(request),
        Call::AuthorizeAccount => {
            arguments(request).await?;
            return Ok(Reply::json(auth::authorize(request)?));
        }
        Call::CopyFile => {
            let params = admitted(request).await?;
            return Ok(Reply::json(copy::file(request, &params).await?));
        }
        Call::CopyPart => {
            let params = admitted(request).await?;
            return Ok(Reply::json(copy::part(request, &params).await?));
        }
        Call::CancelLargeFile => large::cancel,
        Call::CreateBucket => buckets::create,
        Call::CreateKey => keys::create,
        Call::DeleteBucket => buckets::delete,
        Call::DeleteFileVersion => files::delete_version,
        Call::DeleteKey => keys::delete,
        Call::FinishLargeFile => large::finish,
        Call::GetBucketNotificationRules => buckets::notification_rules,
        Call::GetDownloadAuthorization => auth::download_authorization,
        Call::GetFileInfo => files::info,
        Call::GetUploadPartUrl => upload::part_url,
        Call::GetUploadUrl => upload::url,
        Call::HideFile => files::hide,
        Call::ListBuckets => buckets::list,
        Call::ListFileNames => lists::file_names,
        Call::ListFileVersions => lists::file_versions,
        Call::ListKeys => keys::list,
        Call::ListParts => lists::parts,
        Call::ListUnfinishedLargeFiles => lists::unfinished,
        Call::SetBucketNotificationRules => buckets::set_notification_rules,
        Call::StartLargeFile => large::start,
        Call::UpdateBucket => buckets::update,
        Call::UpdateFileLegalHold => locks::update_legal_hold,
        Call::UpdateFileRetention => locks::update_retention,
    };
    let params = admitted(request).await?;
    Ok(Reply::json(handler(request, &params)?))
}

/// The arguments of a request by somebody whose token is good.
async fn admitted(request: &mut Request) -> std::result::Result<Params, Failure> {
    // The token first: who asks with `Expect: 100-continue` is told to send the body once it is known to be good.
    request.authorize()?;
    let params = arguments(request).await?;
    params.only(request.call.fields())?;
    Ok(params)
}

async fn arguments(request: &mut Request) -> std::result::Result<Params, Failure> {
    let body = request.read_json_body().await?;
    if request.is_get() {
        Ok(Params::from_query(&request.query)?)
    } else {
        Ok(Params::from_json(&body)?)
    }
}

/// `X-Bz-Test-Mode` (API §5.2).
fn test_mode(request: &Request) -> Option<Fault> {
    let upload = request.call.role() == Role::Pod;
    let authorize = request.call == Call::AuthorizeAccount;
    match request.header("x-bz-test-mode")? {
        "fail_some_uploads" if upload && fastrand::u8(0..4) == 0 => {
            Some(Fault::Status(503, "service_unavailable", None))
        }
        "expire_some_account_authorization_tokens"
            if !upload && !authorize && fastrand::u8(0..8) == 0 =>
        {
            Some(Fault::ExpireToken)
        }
        "force_cap_exceeded" if !authorize => Some(Fault::Status(403, "cap_exceeded", None)),
        _ => None,
    }
}
