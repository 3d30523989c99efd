//! The calls there are: one row each says everything that tells them apart. A new call begins here; the compiler then
//! asks for its handler.

/// How B2 bills a call (API §14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
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

struct Facts {
    name: &'static str,
    class: Class,
    role: Role,
    right: Option<&'static str>,
    fields: &'static [&'static str],
}

macro_rules! right {
    (none) => {
        None
    };
    ($right:literal) => {
        Some($right)
    };
}

macro_rules! calls {
    ($($call:ident $name:literal $class:ident $role:ident $right:tt {$($field:ident)*})*) => {
        /// A call of the B2 Native API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::emulator) enum Call {$($call,)*}

        impl Call {
            const ALL: &'static [Self] = &[$(Self::$call,)*];

            const fn facts(self) -> &'static Facts {
                match self {$(
                    Self::$call => &Facts {
                        name: $name,
                        class: Class::$class,
                        role: Role::$role,
                        right: right!($right),
                        fields: &[$(stringify!($field)),*],
                    },
                )*}
            }
        }
    };
}

calls! {
    AuthorizeAccount           "b2_authorize_account"                C Api      none {}
    CancelLargeFile            "b2_cancel_large_file"                A Api      "writeFiles" {fileId}
    CopyFile                   "b2_copy_file"                        C Api      "writeFiles" {
        sourceFileId fileName destinationBucketId range metadataDirective contentType fileInfo
        fileRetention legalHold sourceServerSideEncryption destinationServerSideEncryption
    }
    CopyPart                   "b2_copy_part"                        C Api      "writeFiles" {
        sourceFileId largeFileId partNumber range sourceServerSideEncryption
        destinationServerSideEncryption
    }
    CreateBucket               "b2_create_bucket"                    C Api      "writeBuckets" {
        accountId bucketName bucketType bucketInfo corsRules lifecycleRules fileLockEnabled
        defaultServerSideEncryption replicationConfiguration
    }
    CreateKey                  "b2_create_key"                       C Api      "writeKeys" {
        accountId capabilities keyName validDurationInSeconds bucketId bucketIds namePrefix
    }
    DeleteBucket               "b2_delete_bucket"                    A Api      "deleteBuckets" {accountId bucketId}
    DeleteFileVersion          "b2_delete_file_version"              A Api      "deleteFiles" {
        fileName fileId bypassGovernance
    }
    DeleteKey                  "b2_delete_key"                       A Api      "deleteKeys" {applicationKeyId}
    DownloadFileById           "b2_download_file_by_id"              B Download "readFiles" {}
    DownloadFileByName         "b2_download_file_by_name"            B Download "readFiles" {}
    FinishLargeFile            "b2_finish_large_file"                A Api      "writeFiles" {fileId partSha1Array}
    GetBucketNotificationRules "b2_get_bucket_notification_rules"    C Api      "readBucketNotifications" {bucketId}
    GetDownloadAuthorization   "b2_get_download_authorization"       C Api      "shareFiles" {
        bucketId fileNamePrefix validDurationInSeconds b2ContentDisposition b2ContentLanguage
        b2Expires b2CacheControl b2ContentEncoding b2ContentType
    }
    GetFileInfo                "b2_get_file_info"                    B Api      "readFiles" {fileId}
    GetUploadPartUrl           "b2_get_upload_part_url"              A Api      "writeFiles" {fileId}
    GetUploadUrl               "b2_get_upload_url"                   A Api      "writeFiles" {bucketId}
    HideFile                   "b2_hide_file"                        A Api      "writeFiles" {bucketId fileName}
    ListBuckets                "b2_list_buckets"                     C Api      "listBuckets" {
        accountId bucketId bucketName bucketTypes
    }
    ListFileNames              "b2_list_file_names"                  C Api      "listFiles" {
        bucketId startFileName maxFileCount prefix delimiter
    }
    ListFileVersions           "b2_list_file_versions"               C Api      "listFiles" {
        bucketId startFileName startFileId maxFileCount prefix delimiter
    }
    ListKeys                   "b2_list_keys"                        C Api      "listKeys" {
        accountId maxKeyCount startApplicationKeyId
    }
    ListParts                  "b2_list_parts"                       C Api      "writeFiles" {
        fileId startPartNumber maxPartCount
    }
    ListUnfinishedLargeFiles   "b2_list_unfinished_large_files"      C Api      "listFiles" {
        bucketId namePrefix startFileId maxFileCount
    }
    SetBucketNotificationRules "b2_set_bucket_notification_rules"    C Api      "writeBucketNotifications" {
        bucketId eventNotificationRules
    }
    StartLargeFile             "b2_start_large_file"                 A Api      "writeFiles" {
        bucketId fileName contentType fileInfo fileRetention legalHold serverSideEncryption
        customUploadTimestamp
    }
    UpdateBucket               "b2_update_bucket"                    C Api      "writeBuckets" {
        accountId bucketId bucketType bucketInfo corsRules lifecycleRules ifRevisionIs
        defaultServerSideEncryption defaultRetention fileLockEnabled replicationConfiguration
    }
    UpdateFileLegalHold        "b2_update_file_legal_hold"           A Api      "writeFileLegalHolds" {
        fileName fileId legalHold
    }
    UpdateFileRetention        "b2_update_file_retention"            A Api      "writeFileRetentions" {
        fileName fileId fileRetention bypassGovernance
    }
    UploadFile                 "b2_upload_file"                      A Pod      "writeFiles" {}
    UploadPart                 "b2_upload_part"                      A Pod      "writeFiles" {}
}

impl Call {
    /// The call of that name.
    pub(in crate::emulator) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|call| call.name() == name)
    }

    /// Its name on the wire, which is also the last part of its path.
    pub(super) const fn name(self) -> &'static str {
        self.facts().name
    }

    /// How one call of it is counted.
    pub(super) const fn class(self) -> Class {
        self.facts().class
    }

    /// Where it is served.
    pub(in crate::emulator) const fn role(self) -> Role {
        self.facts().role
    }

    /// What the key must be able to (API §11). Its handler asks for it, since it knows bucket and name.
    pub(in crate::emulator) const fn right(self) -> Option<&'static str> {
        self.facts().right
    }

    /// Of the JSON body or the query; others are refused.
    pub(in crate::emulator) const fn fields(self) -> &'static [&'static str] {
        self.facts().fields
    }
}
