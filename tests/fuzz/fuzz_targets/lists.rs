//! Any body as the answer of a listing: rows of those that were asked for, or an error.
#![no_main]

use b2fuse::b2::{Error, FileVersion, ListNames, ListVersions};
use b2fuse_fuzz::{answered, check_message, ok};
use libfuzzer_sys::fuzz_target;

const MAX: u32 = 10;
const PREFIX: &str = "a";

fn check(page: Result<(Vec<FileVersion>, Option<String>), Error>) {
    let (rows, next) = match page {
        Ok(page) => page,
        Err(error) => return check_message(&error),
    };
    assert!(rows.len() <= MAX as usize);
    let names = rows.iter().map(|row| row.name.as_str());
    for name in names.chain(next.as_deref()) {
        assert!(name.starts_with(PREFIX), "{name:?}");
    }
}

fuzz_target!(|data: &[u8]| {
    answered(ok(data), async |client| {
        let names = ListNames {
            prefix: PREFIX.to_owned(),
            max: MAX,
            ..ListNames::default()
        };
        let page = client.list_file_names(&names).await;
        check(page.map(|page| (page.files, page.next)));
        let versions = ListVersions {
            prefix: PREFIX.to_owned(),
            max: MAX,
            ..ListVersions::default()
        };
        let page = client.list_file_versions(&versions).await;
        check(page.map(|page| (page.files, page.next.map(|(name, _)| name))));
    });
});
