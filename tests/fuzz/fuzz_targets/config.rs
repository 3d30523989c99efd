//! Any bytes as config.yaml: an error that steers no terminal, or a configuration.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use b2fuse::config::{Config, Layer};
use libfuzzer_sys::fuzz_target;

static DIR: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a directory"));
static FILE: LazyLock<PathBuf> = LazyLock::new(|| DIR.path().join("config.yaml"));

fuzz_target!(|data: &[u8]| {
    fs::write(&*FILE, data).expect("written");
    if let Err(error) = Config::load(Layer::default(), Some(&FILE), &|_| None, false) {
        let text = error.to_string();
        // Where nothing is configured, the message shows what to write.
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n'),
            "{text:?}"
        );
    }
});
