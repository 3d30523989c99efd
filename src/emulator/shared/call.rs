//! The calls there are: where each is served, what it costs, its fields.

use Class::{A, B, C};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Class {
    A,
    B,
    C,
}

/// Which of the server's addresses a request came to (API §1: api, download and upload hosts differ).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Role {
    Api,
    Download,
    Pod,
}

#[derive(Debug)]
pub(in crate::emulator) struct Call {
    pub(in crate::emulator) name: &'static str,
    pub(in crate::emulator) class: Class,
    pub(in crate::emulator) role: Role,
    /// Of the JSON body or the query; others are refused.
    pub(in crate::emulator) fields: &'static [&'static str],
}

const fn call(name: &'static str, class: Class, fields: &'static [&'static str]) -> Call {
    Call {
        name,
        class,
        role: Role::Api,
        fields,
    }
}

pub(in crate::emulator) static CALLS: [Call; 31] = [
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
