//! Any body as the answer of a listing: rows, or an error.
#![no_main]

use b2fuse::b2::{ListNames, ListVersions};
use b2fuse_fuzz::{answered, ok};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    answered(ok(data), async |client| {
        let names = ListNames {
            max: 10,
            ..ListNames::default()
        };
        if let Ok(page) = client.list_file_names(&names).await {
            assert!(page.files.len() <= 10);
        }
        let versions = ListVersions {
            max: 10,
            ..ListVersions::default()
        };
        if let Ok(page) = client.list_file_versions(&versions).await {
            assert!(page.files.len() <= 10);
        }
    });
});
