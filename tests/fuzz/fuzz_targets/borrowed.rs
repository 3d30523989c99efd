//! Any bytes as the account file of another program, rclone's or that of the b2 command line: an account, or an error in one
//! line that does not show the key.
#![no_main]

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use b2fuse::config::{Borrowed, Layer};
use libfuzzer_sys::fuzz_target;

static DIR: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a directory"));
static FILE: LazyLock<PathBuf> = LazyLock::new(|| DIR.path().join("account"));

/// The key of the corpus.
const KEY: &str = "K001verysecret";

fuzz_target!(|data: &[u8]| {
    // Elsewhere than as the key it is any text, which messages may quote.
    let text = String::from_utf8_lossy(data);
    let quotable = text
        .lines()
        .any(|line| line.contains(KEY) && !line.trim_start().starts_with("key"));
    fs::write(&*FILE, data).expect("written");
    let environment = |name: &str| {
        let ours = ["B2_ACCOUNT_INFO", "RCLONE_CONFIG"].contains(&name);
        ours.then(|| OsString::from(&*FILE))
    };
    let remote = || Borrowed::Rclone("a".to_owned());
    for borrowed in [Borrowed::B2Cli(None), remote()] {
        match borrowed.under(Layer::default(), &environment) {
            Ok(layer) => {
                assert!(layer.account_id.is_some() && layer.key.is_some());
                assert!(layer.endpoint.is_some());
            }
            Err(error) => {
                let text = error.to_string();
                assert!(!text.chars().any(char::is_control), "{text:?}");
                assert!(quotable || !text.contains(KEY), "{text}");
            }
        }
    }
});
