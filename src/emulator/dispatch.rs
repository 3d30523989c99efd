//! The way from a request to its handler, and the faults that strike on it.

pub(super) mod route;

use crate::emulator::error::{ApiError, Failure};
use crate::emulator::exchange::reply::Reply;
use crate::emulator::exchange::request::Request;
use crate::emulator::handlers::{
    auth, buckets, copy, download, files, keys, large, lists, locks, upload,
};
use crate::emulator::params::Params;
use crate::emulator::shared::call::Role;
use crate::emulator::shared::faults::Fault;

/// Serves the request, or has a fault strike it.
pub(super) async fn answer(request: &mut Request) -> std::result::Result<Reply, Failure> {
    let shared = request.shared.clone();
    request.fault = test_mode(request).or_else(|| shared.faults.draw(request.call.name));
    if request.fault.is_some() {
        shared.meter.fault();
    }
    match &request.fault {
        Some(Fault::Reset) => return Err(Failure::Cut),
        Some(Fault::ResetMid) if request.call.role != Role::Download => {
            let half = request.declared_length() / 2;
            request.drain(half.max(1)).await;
            return Err(Failure::Cut);
        }
        Some(Fault::Html(status)) => return Err(Failure::Html(*status)),
        Some(Fault::Stall(time)) => {
            let _held = shared.held.hold(request.call.name, "stall");
            tokio::time::sleep(*time).await;
        }
        Some(Fault::Hang) => {
            let _held = shared.held.hold(request.call.name, "hang");
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
        let _held = shared.held.hold(request.call.name, "late");
        tokio::time::sleep(pause).await;
    }
    Ok(reply)
}

/// `X-Bz-Test-Mode` (API §5.2).
fn test_mode(request: &Request) -> Option<Fault> {
    let upload = request.call.role == Role::Pod;
    let authorize = request.call.name == "b2_authorize_account";
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

/// Serves a request of which nothing but the head has been looked at.
async fn serve(request: &mut Request) -> std::result::Result<Reply, Failure> {
    match request.call.name {
        "b2_upload_file" => return upload::file(request).await,
        "b2_upload_part" => return upload::part(request).await,
        "b2_download_file_by_id" => return download::by_id(request).await,
        "b2_download_file_by_name" => return download::by_name(request),
        _ => {}
    }
    let body = request.read_json_body().await?;
    let params = if request.is_get() {
        Params::from_query(&request.query)?
    } else {
        Params::from_json(&body)?
    };
    if request.call.name == "b2_authorize_account" {
        return Ok(Reply::json(auth::authorize(request)?));
    }
    request.authorize()?;
    params.only(request.call.fields)?;
    let (r, p) = (&*request, &params);
    let reply = match request.call.name {
        "b2_cancel_large_file" => large::cancel(r, p),
        "b2_copy_file" => copy::file(r, p).await,
        "b2_copy_part" => copy::part(r, p).await,
        "b2_create_bucket" => buckets::create(r, p),
        "b2_create_key" => keys::create(r, p),
        "b2_delete_bucket" => buckets::delete(r, p),
        "b2_delete_file_version" => files::delete_version(r, p),
        "b2_delete_key" => keys::delete(r, p),
        "b2_finish_large_file" => large::finish(r, p),
        "b2_get_bucket_notification_rules" => buckets::notification_rules(r, p),
        "b2_get_download_authorization" => auth::download_authorization(r, p),
        "b2_get_file_info" => files::info(r, p),
        "b2_get_upload_part_url" => upload::part_url(r, p),
        "b2_get_upload_url" => upload::url(r, p),
        "b2_hide_file" => files::hide(r, p),
        "b2_list_buckets" => buckets::list(r, p),
        "b2_list_file_names" => lists::file_names(r, p),
        "b2_list_file_versions" => lists::file_versions(r, p),
        "b2_list_keys" => keys::list(r, p),
        "b2_list_parts" => lists::parts(r, p),
        "b2_list_unfinished_large_files" => lists::unfinished(r, p),
        "b2_set_bucket_notification_rules" => buckets::set_notification_rules(r, p),
        "b2_start_large_file" => large::start(r, p),
        "b2_update_bucket" => buckets::update(r, p),
        "b2_update_file_legal_hold" => locks::update_legal_hold(r, p),
        "b2_update_file_retention" => locks::update_retention(r, p),
        name => Err(ApiError::not_found(format!("no such call: {name}"))),
    }?;
    Ok(Reply::json(reply))
}
