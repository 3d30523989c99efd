use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn groups() -> [&'static str; 4] {
    [ACCOUNT, VIEW, TRANSFER, MESSAGES]
}

/// The document is what is made here; `B2FUSE_WRITE_DOCUMENTS=1` makes it so.
fn is_made(path: &Path, made: &str) {
    let found = std::fs::read_to_string(path).expect("it is there");
    if found != made && std::env::var_os("B2FUSE_WRITE_DOCUMENTS").is_some() {
        std::fs::write(path, made).expect("written");
        return;
    }
    assert!(
        found == made,
        "{} does not say what the table of options says: B2FUSE_WRITE_DOCUMENTS=1 cargo test --lib options",
        path.display()
    );
}

#[test]
fn the_example_shows_every_option() {
    let mut example = "\
# b2fuse reads ~/.config/b2fuse/config.yaml, else ./config.yaml; --config FILE names another. `b2fuse setup` writes one.
# Copy this file there, fill in the first lines, and: chmod 600 config.yaml
#
# An option of the command line (metadata_ttl: --metadata-ttl) beats the environment (B2FUSE_METADATA_TTL),
# which beats this file. Lines with a # directly before the key show the default, or an example where there
# is none.
# Sizes: 512MiB, 64K (units of 1024), 100MB (units of 1000), or plain bytes. Times: 30s, 5m, 250ms.
"
    .to_owned();
    for group in groups() {
        let line = format!("# --- {} ", group.to_lowercase());
        write!(example, "\n{line:-<105}\n").expect("a string");
        for entry in Layer::ENTRIES.iter().filter(|entry| entry.group == group) {
            let gap = if entry.example.starts_with("# ") {
                "\n"
            } else {
                ""
            };
            write!(example, "{gap}{}", entry.example).expect("a string");
        }
    }
    is_made(&root().join("config.example.yaml"), &example);
}

#[test]
fn the_table_in_the_documents_shows_every_option() {
    const BEGIN: &str = "| key in config.yaml | option | in the environment | default | meaning |\n|---|---|---|---|---|\n";
    const END: &str = "| | `--config FILE`";
    let path = root().join("docs/configuration.md");
    let document = std::fs::read_to_string(&path).expect("it is there");
    let (before, rest) = document.split_once(BEGIN).expect("the table's head");
    let (_, after) = rest.split_once(END).expect("the table's end");
    let mut rows = String::new();
    for entry in Layer::ENTRIES {
        let option = if entry.option {
            format!("`{}`", entry.flag())
        } else {
            "never".to_owned()
        };
        let names = entry.variables.iter().map(|name| (*name).to_owned());
        let names: Vec<String> = std::iter::once(entry.variable())
            .chain(names)
            .map(|name| format!("`{name}`"))
            .collect();
        let default = match entry.default {
            "" => "none".to_owned(),
            words if words.contains(' ') => words.to_owned(),
            value => format!("`{value}`"),
        };
        writeln!(
            rows,
            "| `{}` | {option} | {} | {default} | {} |",
            entry.key,
            names.join(", "),
            entry.meaning
        )
        .expect("a string");
    }
    is_made(&path, &format!("{before}{BEGIN}{rows}{END}{after}"));
}

#[test]
fn every_key_but_the_secret_is_an_option_and_a_variable() {
    use clap::Args;
    let command = Layer::augment_args(clap::Command::new("x"));
    let options: Vec<String> = command
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .map(|long| format!("--{long}"))
        .collect();
    let flags = Layer::ENTRIES.iter().filter(|entry| entry.option);
    assert_eq!(options, flags.map(OptionEntry::flag).collect::<Vec<_>>());
    let secret = Layer::ENTRIES.iter().find(|entry| !entry.option);
    assert_eq!(secret.map(|entry| entry.key), Some("applicationKey"));
    for entry in Layer::ENTRIES {
        let value = match entry.key {
            "memory" | "part_size" | "large_file" => "64MiB",
            "endpoint" => "https://api.example.com",
            "delete" => "purge",
            "overwrite" => "replace",
            "rescue" => "/rescue",
            "log_format" => "json",
            "metrics" => "9568",
            "permissions" => "ignore",
            "hard_links" => "copy",
            "names" => "encode",
            "metadata_ttl"
            | "timeout"
            | "write_back"
            | "drain_timeout"
            | "drop_versions_within"
            | "store_open" => "5s",
            "umask" => "027",
            "bandwidth_up" | "bandwidth_down" | "quota" => "2MiB",
            "uploads" | "downloads" | "uid" | "gid" | "requests_per_second" => "7",
            key if key.contains("hashfiles") || key == "read_only" => "true",
            "allow_other" | "noexec" | "auto_unmount" | "verify_reads" => "true",
            _ => "word",
        };
        for name in
            std::iter::once(entry.variable()).chain(entry.variables.iter().map(|v| (*v).to_owned()))
        {
            let environment = |asked: &str| (asked == name).then(|| value.into());
            let layer = Layer::from_environment(&environment).expect(&name);
            assert_ne!(layer, Layer::default(), "{name}");
        }
    }
}

#[test]
fn a_variable_of_ours_beats_the_one_of_other_tools() {
    let environment = |name: &str| match name {
        "B2FUSE_ACCOUNT_ID" => Some("ours".into()),
        "B2_APPLICATION_KEY_ID" => Some("theirs".into()),
        _ => None,
    };
    let layer = Layer::from_environment(&environment).expect("valid");
    assert_eq!(layer.account_id, Some(Word("ours".into())));
    let wrong = |name: &str| (name == "B2FUSE_MEMORY").then(|| "lots".into());
    let fault = Layer::from_environment(&wrong).expect_err("no size");
    assert!(fault.to_string().starts_with("B2FUSE_MEMORY: "), "{fault}");
}
