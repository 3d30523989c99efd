//! The layers import one way: each module knows only what stands under it.

mod rooms;

use std::fs;
use std::path::{Path, PathBuf};

/// From the top down.
const LAYERS: &[&str] = &[
    "main", "cli", "config", "mount", "fs", "vfs", "io", "rescue", "b2", "emulator",
];

/// The client must not know the emulator: a fault in a shared type would hide on both sides.
const STRANGERS: &[(&str, &str)] = &[("vfs", "emulator"), ("io", "emulator"), ("b2", "emulator")];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The layer that a file under src belongs to: its first part.
fn layer_of(path: &Path, src: &Path) -> String {
    let below = path.strip_prefix(src).expect("under src");
    let first = below.components().next().expect("not src itself");
    let name = first.as_os_str().to_string_lossy();
    name.trim_end_matches(".rs").to_owned()
}

/// Every layer named after `crate::` (or after the crate's own name), groups in braces included.
fn layers_named(code: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    };
    let mut named = Vec::new();
    for start in ["crate::", "b2fuse::"] {
        for (at, _) in code.match_indices(start) {
            let rest = &code[at + start.len()..];
            let Some(group) = rest.strip_prefix('{') else {
                named.push(word(rest));
                continue;
            };
            let mut depth = 0;
            let mut item = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => named.push(word(std::mem::take(&mut item).trim())),
                    _ if depth == 0 => item.push(c),
                    _ => {}
                }
            }
            named.push(word(item.trim()));
        }
    }
    named.retain(|name| LAYERS.contains(&name.as_str()));
    named
}

fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

fn height(layer: &str) -> usize {
    LAYERS
        .iter()
        .position(|&l| l == layer)
        .unwrap_or_else(|| panic!("{layer} is no layer: give it a place in tests/layers/main.rs"))
}

#[test]
fn no_import_points_up() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 10, "the sources were found");
    let mut wrong = Vec::new();
    for path in files {
        let layer = layer_of(&path, &src);
        if layer == "lib" {
            continue;
        }
        let code = without_comments(&fs::read_to_string(&path).expect("readable"));
        for used in layers_named(&code) {
            let points_up = height(&used) < height(&layer);
            if points_up || STRANGERS.contains(&(layer.as_str(), used.as_str())) {
                wrong.push(format!("{} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_are_seen_in_every_form() {
    let code = "use crate::vfs::{self, Ino};\nuse crate::{b2::{Client, io}, mount};\nlet x = crate::fs::y();\nb2fuse::cli::main()";
    let mut named = layers_named(code);
    named.sort();
    assert_eq!(named, ["b2", "cli", "fs", "mount", "vfs"]);
}
