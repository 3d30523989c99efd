//! Any text as a name, and as a prefix: refused, or taken as it is.
#![no_main]

use b2fuse::b2::{FileName, encoded_len};
use b2fuse::config::Prefix;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(name) = FileName::new(text) {
        assert_eq!(name.as_str(), text);
        assert!((1..=1024).contains(&text.len()));
    }
    assert!(encoded_len(text) >= text.len());
    if let Ok(prefix) = text.parse::<Prefix>() {
        assert!(prefix.0.is_empty() || prefix.0.ends_with('/'), "{prefix:?}");
    }
});
