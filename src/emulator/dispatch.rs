//! The calls there are: where each is served, what it costs, its fields; and the way from a request to its handler.

use bytes::Bytes;
use serde::Serialize;

use crate::emulator::error::{ApiError, Failure, Result};
use crate::emulator::exchange::reply::Reply;
use crate::emulator::handlers::{
    auth, buckets, copy, download, files, keys, large, lists, locks, upload,
};
use crate::emulator::http::Request;
use crate::emulator::params::Params;
use crate::emulator::shared::counters::Class::{self, A, B, C};

/// Which of the server's addresses a request came to (API §1: api, download and upload hosts differ).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Api,
    Download,
    Pod,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) class: Class,
    pub(super) role: Role,
    /// Of the JSON body or the query; others are refused.
    fields: &'static [&'static str],
}

const fn call(name: &'static str, class: Class, fields: &'static [&'static str]) -> Call {
    Call {
        name,
        class,
        role: Role::Api,
        fields,
    }
}

pub(super) static CALLS: [Call; 31] = [
    call("b2_authorize_account", C, &[]),
    call("b2_cancel_large_file", A, &["fileId"]),
    call(
        "b2_copy_file",
        C,
        &[
            "sourceFileId",
            "fileName",
            "destinationBucketId",
            "range",
            "metadataDirective",
            "contentType",
            "fileInfo",
            "fileRetention",
            "legalHold",
            "sourceServerSideEncryption",
            "destinationServerSideEncryption",
        ],
    ),
    call(
        "b2_copy_part",
        C,
        &[
            "sourceFileId",
            "largeFileId",
            "partNumber",
            "range",
            "sourceServerSideEncryption",
            "destinationServerSideEncryption",
        ],
    ),
    call(
        "b2_create_bucket",
        C,
        &[
            "accountId",
            "bucketName",
            "bucketType",
            "bucketInfo",
            "corsRules",
            "lifecycleRules",
            "fileLockEnabled",
            "defaultServerSideEncryption",
            "replicationConfiguration",
        ],
    ),
    call(
        "b2_create_key",
        C,
        &[
            "accountId",
            "capabilities",
            "keyName",
            "validDurationInSeconds",
            "bucketId",
            "bucketIds",
            "namePrefix",
        ],
    ),
    call("b2_delete_bucket", A, &["accountId", "bucketId"]),
    call(
        "b2_delete_file_version",
        A,
        &["fileName", "fileId", "bypassGovernance"],
    ),
    call("b2_delete_key", A, &["applicationKeyId"]),
    Call {
        name: "b2_download_file_by_id",
        class: B,
        role: Role::Download,
        fields: &[],
    },
    Call {
        name: "b2_download_file_by_name",
        class: B,
        role: Role::Download,
        fields: &[],
    },
    call("b2_finish_large_file", A, &["fileId", "partSha1Array"]),
    call("b2_get_bucket_notification_rules", C, &["bucketId"]),
    call(
        "b2_get_download_authorization",
        C,
        &[
            "bucketId",
            "fileNamePrefix",
            "validDurationInSeconds",
            "b2ContentDisposition",
            "b2ContentLanguage",
            "b2Expires",
            "b2CacheControl",
            "b2ContentEncoding",
            "b2ContentType",
        ],
    ),
    call("b2_get_file_info", B, &["fileId"]),
    call("b2_get_upload_part_url", A, &["fileId"]),
    call("b2_get_upload_url", A, &["bucketId"]),
    call("b2_hide_file", A, &["bucketId", "fileName"]),
    call(
        "b2_list_buckets",
        C,
        &["accountId", "bucketId", "bucketName", "bucketTypes"],
    ),
    call(
        "b2_list_file_names",
        C,
        &[
            "bucketId",
            "startFileName",
            "maxFileCount",
            "prefix",
            "delimiter",
        ],
    ),
    call(
        "b2_list_file_versions",
        C,
        &[
            "bucketId",
            "startFileName",
            "startFileId",
            "maxFileCount",
            "prefix",
            "delimiter",
        ],
    ),
    call(
        "b2_list_keys",
        C,
        &["accountId", "maxKeyCount", "startApplicationKeyId"],
    ),
    call(
        "b2_list_parts",
        C,
        &["fileId", "startPartNumber", "maxPartCount"],
    ),
    call(
        "b2_list_unfinished_large_files",
        C,
        &["bucketId", "namePrefix", "startFileId", "maxFileCount"],
    ),
    call(
        "b2_set_bucket_notification_rules",
        C,
        &["bucketId", "eventNotificationRules"],
    ),
    call(
        "b2_start_large_file",
        A,
        &[
            "bucketId",
            "fileName",
            "contentType",
            "fileInfo",
            "fileRetention",
            "legalHold",
            "serverSideEncryption",
            "customUploadTimestamp",
        ],
    ),
    call(
        "b2_update_bucket",
        C,
        &[
            "accountId",
            "bucketId",
            "bucketType",
            "bucketInfo",
            "corsRules",
            "lifecycleRules",
            "ifRevisionIs",
            "defaultServerSideEncryption",
            "defaultRetention",
            "fileLockEnabled",
            "replicationConfiguration",
        ],
    ),
    call(
        "b2_update_file_legal_hold",
        A,
        &["fileName", "fileId", "legalHold"],
    ),
    call(
        "b2_update_file_retention",
        A,
        &["fileName", "fileId", "fileRetention", "bypassGovernance"],
    ),
    Call {
        name: "b2_upload_file",
        class: A,
        role: Role::Pod,
        fields: &[],
    },
    Call {
        name: "b2_upload_part",
        class: A,
        role: Role::Pod,
        fields: &[],
    },
];

/// A reply in JSON, keys in the order of the struct, which is alphabetical.
pub(super) fn json(reply: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(reply)
        .map(Bytes::from)
        .map_err(|error| ApiError::internal(&std::io::Error::other(error)))
}

/// Serves a request of which nothing but the head has been looked at.
pub(super) async fn serve(request: &mut Request) -> std::result::Result<Reply, Failure> {
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
