//! The calls of the B2 Native API that the client makes: one line each says everything that tells them apart.

use super::retry::Route;

/// How B2 bills a call (API §14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    A,
    B,
    C,
}

/// Whose places a call takes, so that calls that take B2 long hold up no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Places {
    Short,
    Long,
    Removals,
    Uploads,
    Downloads,
}

/// What tells a call from others.
#[derive(Debug)]
pub(super) struct Facts {
    /// Its name in B2's documentation.
    pub(super) name: &'static str,
    pub(super) class: Class,
    /// The column of the retry table that counts.
    pub(super) route: Route,
    pub(super) places: Places,
    /// What the key must be able to (API §11).
    pub(super) capabilities: &'static [&'static str],
}

macro_rules! calls {
    ($($call:ident $name:literal $class:ident $route:ident $places:ident [$($capability:literal),*];)*) => {
        /// The calls that the client makes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Call {$($call,)*}

        impl Call {
            pub(super) const ALL: &'static [Self] = &[$(Self::$call,)*];

            pub(super) const fn facts(self) -> &'static Facts {
                match self {$(
                    Self::$call => &Facts {
                        name: $name,
                        class: Class::$class,
                        route: Route::$route,
                        places: Places::$places,
                        capabilities: &[$($capability),*],
                    },
                )*}
            }
        }
    };
}

calls! {
    AuthorizeAccount         "b2_authorize_account"            C Authorize Short     [];
    ListBuckets              "b2_list_buckets"                 C Api       Short     ["listBuckets"];
    ListFileNames            "b2_list_file_names"              C Api       Short     ["listFiles"];
    ListFileVersions         "b2_list_file_versions"           C Api       Short     ["listFiles"];
    ListUnfinishedLargeFiles "b2_list_unfinished_large_files"  C Api       Short     ["listFiles"];
    GetUploadUrl             "b2_get_upload_url"               A Api       Short     ["writeFiles"];
    UploadFile               "b2_upload_file"                  A Upload    Uploads   ["writeFiles"];
    StartLargeFile           "b2_start_large_file"             A Api       Short     ["writeFiles"];
    GetUploadPartUrl         "b2_get_upload_part_url"          A Api       Short     ["writeFiles"];
    UploadPart               "b2_upload_part"                  A Upload    Uploads   ["writeFiles"];
    ListParts                "b2_list_parts"                   C Api       Short     ["writeFiles"];
    CopyPart                 "b2_copy_part"                    C Api       Long      ["writeFiles", "readFiles"];
    FinishLargeFile          "b2_finish_large_file"            A Api       Long      ["writeFiles"];
    CancelLargeFile          "b2_cancel_large_file"            A Api       Short     ["writeFiles"];
    CopyFile                 "b2_copy_file"                    C Api       Long      ["writeFiles", "readFiles"];
    HideFile                 "b2_hide_file"                    A Api       Removals  ["writeFiles"];
    DeleteFileVersion        "b2_delete_file_version"          A Api       Removals  ["deleteFiles"];
    GetFileInfo              "b2_get_file_info"                B Api       Short     ["readFiles"];
    DownloadFileById         "b2_download_file_by_id"          B Download  Downloads ["readFiles"];
}

impl Call {
    /// The call's name in B2's documentation.
    pub(super) const fn name(self) -> &'static str {
        self.facts().name
    }

    /// What the key must be able to for this call.
    pub(super) const fn capabilities(self) -> &'static [&'static str] {
        self.facts().capabilities
    }

    /// May be made twice at the same time: nothing in the bucket changes by it.
    pub(super) const fn changes_nothing(self) -> bool {
        matches!(
            self,
            Self::AuthorizeAccount
                | Self::ListBuckets
                | Self::ListFileNames
                | Self::ListFileVersions
                | Self::ListUnfinishedLargeFiles
                | Self::ListParts
                | Self::GetUploadUrl
                | Self::GetUploadPartUrl
                | Self::GetFileInfo
                | Self::DownloadFileById
        )
    }

    /// Sends content to an upload URL.
    pub(super) const fn is_upload(self) -> bool {
        matches!(self.facts().route, Route::Upload)
    }

    /// Carries a name or file info that B2 may refuse.
    pub(super) const fn makes_a_version(self) -> bool {
        matches!(
            self,
            Self::UploadFile
                | Self::StartLargeFile
                | Self::CopyFile
                | Self::CopyPart
                | Self::HideFile
        )
    }
}
