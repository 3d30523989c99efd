//! `b2fuse man DIR`: the manual pages, from the options and the table of config.yaml.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _, Parser};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::words;
use crate::cli::{self, FAILURE, helper, refused};
use crate::config::Layer;
use crate::mount;

/// Writes the manual pages.
#[derive(Debug, Parser)]
#[command(name = "b2fuse man")]
struct Options {
    /// The directory for them; made if it is missing
    dir: PathBuf,
}

pub(in crate::cli) fn run(arguments: &[OsString]) -> u8 {
    let name = OsString::from("b2fuse man");
    let options = match Options::try_parse_from(std::iter::once(&name).chain(arguments)) {
        Ok(options) => options,
        Err(usage) => return refused(&usage),
    };
    match write(&options.dir) {
        Ok(()) => 0,
        Err(fault) => {
            mount::say(&format!("{}: {fault}", options.dir.display()));
            FAILURE
        }
    }
}

fn write(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for (name, text) in pages()? {
        fs::write(dir.join(name), text)?;
    }
    Ok(())
}

/// Name and text of each page.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = vec![("b2fuse.1".to_owned(), main_page()?)];
    for (_, name, command) in words() {
        let page = page(command.name(name), "1", &[])?;
        pages.push((format!("{name}.1"), page));
    }
    let of_mount = helper::mount::Options::command();
    pages.push(("mount.b2fuse.8".to_owned(), page(of_mount, "8", HELPER)?));
    let of_umount = helper::umount::Options::command();
    pages.push(("umount.b2fuse.8".to_owned(), page(of_umount, "8", HELPER)?));
    pages.push(("b2fuse.yaml.5".to_owned(), configuration()?));
    Ok(pages)
}

/// A headline, and paragraphs of a term and what it means; without a term it is plain text.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

const SECTIONS: &[Section] = &[
    (
        "EXIT STATUS",
        &[
            ("0", "Everything is stored."),
            (
                "1",
                "Nothing was mounted, or something could not be stored, or the mount could not be left; a message says what.",
            ),
            (
                "2",
                "Wrong options or configuration, found before anything was mounted.",
            ),
        ],
    ),
    (
        "SIGNALS",
        &[
            (
                "SIGINT, SIGTERM",
                "Unmount, store what is pending, end; a second one gives up: what is not stored is written to the rescue directory.",
            ),
            (
                "SIGHUP",
                "Read the configuration again and take another key, begin a new log file, ask for names anew. Where the terminal hangs up: end.",
            ),
            ("SIGUSR1", "Write the statistics into the log."),
            ("SIGUSR2", "Say more in the log, or less again."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            (
                "B2_APPLICATION_KEY_ID, B2_APPLICATION_KEY, B2_ENDPOINT",
                "The account, as for the b2 command line.",
            ),
            ("B2FUSE_BUCKET", "The bucket's name."),
            (
                "B2FUSE_...",
                "Every option: --metadata-ttl is B2FUSE_METADATA_TTL.",
            ),
            (
                "CREDENTIALS_DIRECTORY",
                "Where systemd puts the credential b2fuse.key, which is the key where nothing else names one.",
            ),
            ("RUST_LOG", "Which messages are said; beats -v and --debug."),
            (
                "SSL_CERT_FILE, SSL_CERT_DIR",
                "Certificates to trust, where ca_file names none.",
            ),
        ],
    ),
    (
        "FILES",
        &[
            (
                "~/.config/b2fuse/config.yaml, ./config.yaml",
                "The configuration, see b2fuse.yaml(5), unless --config or --profile names it.",
            ),
            (
                "/var/lib/b2fuse/rescue, ~/.local/state/b2fuse/rescue",
                "What could not be stored at the end; b2fuse rescue sends it.",
            ),
            (
                "/run/b2fuse, $XDG_RUNTIME_DIR/b2fuse",
                "A locked file for each mount, by which umount(8) finds its process, and beside it the socket to which b2fuse status and others speak.",
            ),
        ],
    ),
];

const HELPER: &[Section] = &[(
    "EXIT STATUS",
    &[
        ("0", "Mounted; of umount: everything is stored."),
        ("1", "Wrong options or configuration."),
        ("2", "The system refuses."),
        (
            "32",
            "Not mounted; of umount: not unmounted, or not everything is stored.",
        ),
    ],
)];

const SEE_ALSO: &str = "b2fuse(1), b2fuse-setup(1), b2fuse-check(1), b2fuse-status(1), b2fuse-list(1), b2fuse-umount(1), b2fuse-flush(1), b2fuse-refresh(1), b2fuse-warm(1), b2fuse-limit(1), b2fuse-reload(1), b2fuse-log(1), b2fuse-rescue(1), b2fuse-fstab(1), b2fuse.yaml(5), mount.b2fuse(8), umount.b2fuse(8), mount(8), fusermount3(1)";

fn main_page() -> io::Result<Vec<u8>> {
    page(cli::Options::command(), "1", SECTIONS)
}

fn page(command: Command, section: &str, more: &[Section]) -> io::Result<Vec<u8>> {
    let title = command.get_name().to_owned();
    // What the help says at its end stands in sections here.
    let command = command.after_help(None::<&str>);
    let man = Man::new(command)
        .title(title)
        .section(section)
        .manual("b2fuse")
        .source(concat!("b2fuse ", env!("CARGO_PKG_VERSION")));
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    let mut roff = Roff::new();
    for (headline, paragraphs) in more {
        roff.control("SH", [*headline]);
        for (term, meaning) in *paragraphs {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*meaning)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(SEE_ALSO)]);
    roff.to_writer(&mut out)?;
    Ok(out)
}

/// b2fuse.yaml(5), from the table of options.
fn configuration() -> io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    let source = concat!("b2fuse ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["b2fuse.yaml", "5", "", source, "b2fuse"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("b2fuse.yaml - configuration of b2fuse")]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "Lines of YAML, a key and its value each. The file is ~/.config/b2fuse/config.yaml, else ./config.yaml, unless \
         --config names another; it holds the application key: chmod 600. An option of the command line beats the \
         environment, which beats this file. Sizes: 512MiB, 64K (units of 1024), 100MB (units of 1000), or bytes. \
         Times: 30s, 5m, 250ms.",
    )]);
    let mut group = "";
    for entry in Layer::ENTRIES {
        if entry.group != group {
            group = entry.group;
            roff.control("SH", [group.to_uppercase().as_str()]);
        }
        roff.control("TP", []);
        roff.text([bold(entry.key)]);
        roff.text(inlines(entry.meaning));
        let mut ways = vec![entry.variable()];
        ways.extend(entry.variables.iter().map(|&name| name.to_owned()));
        if entry.option {
            ways.push(entry.flag());
        }
        let mut ways = format!("Also: {}.", ways.join(", "));
        if !entry.default.is_empty() {
            ways = format!("Default: {}. {ways}", entry.default);
        }
        roff.control("br", []);
        roff.text([roman(ways)]);
    }
    roff.control("SH", ["EXAMPLE"]);
    roff.control("nf", []);
    roff.text([roman(
        "accountId: 0012a3b4c5d6e7f0000000001\napplicationKey: K001aVeryLongSecretThatB2ShowsOnlyOnce\nbucketName: my-bucket",
    )]);
    roff.control("fi", []);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(SEE_ALSO)]);
    let mut out = Vec::new();
    roff.to_writer(&mut out)?;
    Ok(out)
}

/// Markdown of the table: what stands between backticks is bold, of a link its words remain.
fn inlines(markdown: &str) -> Vec<Inline> {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, link)) = rest.split_once('[') {
        text.push_str(before);
        let parts = link
            .split_once("](")
            .and_then(|(words, rest)| Some((words, rest.split_once(')')?.1)));
        if let Some((words, behind)) = parts {
            text.push_str(words);
            rest = behind;
        } else {
            text.push('[');
            rest = link;
        }
    }
    text.push_str(rest);
    text.push('.');
    text.split('`')
        .enumerate()
        .filter(|(_, part)| !part.is_empty())
        .map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_and_every_key_has_its_lines() {
        let text = |name: &str| {
            let pages = pages().expect("made");
            let page = pages.into_iter().find(|(page, _)| page == name);
            String::from_utf8(page.expect(name).1)
                .expect("UTF-8")
                .replace("\\-", "-")
        };
        let (command, keys) = (text("b2fuse.1"), text("b2fuse.yaml.5"));
        for entry in Layer::ENTRIES {
            assert!(
                keys.contains(&format!("\\fB{}\\fR", entry.key)),
                "{}",
                entry.key
            );
            assert!(
                !entry.option || command.contains(&entry.flag()),
                "{}",
                entry.key
            );
        }
        for headline in ["EXIT STATUS", "SIGNALS", "ENVIRONMENT", "FILES", "SEE ALSO"] {
            let is_it = |line: &str| line.starts_with(".SH") && line.contains(headline);
            assert!(command.lines().any(is_it), "{headline}");
        }
        assert!(text("b2fuse-status.1").contains("--watch"));
        for word in ["in-background", "application-key"] {
            // Not those that say where the key is.
            let others = command.replace("application-key-", "");
            assert!(!others.contains(word), "{word}");
        }
    }

    #[test]
    fn markdown_becomes_text() {
        let made = |markdown: &str| {
            let mut roff = Roff::new();
            roff.text(inlines(markdown));
            roff.render()
        };
        assert!(made("see `off`: [limits](#limits)").contains("see \\fBoff\\fR: limits."));
        assert!(made("a [b").contains("a [b."));
    }
}
