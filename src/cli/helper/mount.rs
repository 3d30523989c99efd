//! `mount.b2fuse SOURCE DIR [-sfnvrw] [-t TYPE] [-o OPTIONS]`: what mount(8) runs for the type b2fuse, or fuse.b2fuse.
//!
//! It becomes the arguments of an ordinary `b2fuse --background`, and the exit code becomes one of mount(8)'s.

use std::ffi::OsString;

use clap::{ArgAction, CommandFactory, Parser, error::ErrorKind};

use super::exit;
use super::source::Source;
use crate::cli::{self, USAGE, log, mount_options};
use crate::mount::{self, background};

/// Mounts a Backblaze B2 bucket; for mount(8), which calls it by itself.
#[derive(Debug, Parser)]
#[command(name = "mount.b2fuse", version, args_override_self = true)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub(in crate::cli) struct Options {
    /// BUCKET, BUCKET:DIR, or none where the key or the configuration says the bucket
    source: String,
    /// An empty directory to mount on
    mountpoint: OsString,
    /// Options, separated by commas: those of b2fuse, and those of mount(8)
    #[arg(short = 'o', value_name = "OPTION,...", action = ArgAction::Append)]
    words: Vec<OsString>,
    /// Check everything, mount nothing
    #[arg(short, long)]
    fake: bool,
    /// Pass over options that nobody knows
    #[arg(short)]
    sloppy: bool,
    /// Say what is mounted
    #[arg(short, long)]
    verbose: bool,
    /// Refuse every change, as -o ro
    #[arg(short, long, overrides_with = "read_write")]
    read_only: bool,
    /// As -o rw
    #[arg(short = 'w', long = "rw")]
    read_write: bool,
    /// For mount(8): there is no /etc/mtab to leave alone
    #[arg(short)]
    no_mtab: bool,
    /// For mount(8): the type
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<OsString>,
}

impl Options {
    /// The arguments of the ordinary command that does what is asked for.
    fn plain(&self) -> Result<Vec<OsString>, String> {
        let mut given = self.words.clone();
        if self.read_only {
            given.push("ro".into());
        } else if self.read_write {
            given.push("rw".into());
        }
        let source = Source::parse(&self.source);
        let mut words = mount_options::expand(&given, &cli::Options::command(), self.sloppy)?;
        let twice = |option: &str| {
            let start = format!("--{option}=");
            words
                .iter()
                .any(|word| word.as_encoded_bytes().starts_with(start.as_bytes()))
        };
        if source.bucket.is_some() && (twice("bucket-name") || twice("bucket-id")) {
            return Err(format!(
                "{} names a bucket, and -o does, too: name it once (the source can be: none)",
                self.source
            ));
        }
        if source.prefix.is_some() && twice("prefix") {
            return Err(format!(
                "{} names a directory of the bucket, and -o prefix does, too: name it once",
                self.source
            ));
        }
        for (option, value) in [
            ("bucket-name", source.bucket.as_deref()),
            ("prefix", source.prefix.as_deref()),
            ("source", Some(self.source.as_str())),
        ] {
            words.extend(value.map(|value| OsString::from(format!("--{option}={value}"))));
        }
        words.push("--".into());
        words.push(self.mountpoint.clone());
        Ok(words)
    }
}

pub(super) fn run(name: &str, arguments: &[OsString]) -> u8 {
    let name = OsString::from(name);
    let options = match Options::try_parse_from(std::iter::once(&name).chain(arguments)) {
        Ok(options) => options,
        Err(usage) => return refused(&usage),
    };
    let plain = options.plain().map_err(|fault| {
        let kind = ErrorKind::UnknownArgument;
        Options::command().error(kind, fault)
    });
    let (plain, read) = match plain.and_then(|plain| Ok((cli::Options::read(&plain)?, plain))) {
        Ok((read, plain)) => (plain, read),
        Err(usage) => return refused(&usage),
    };
    log::start(&read.log);
    if options.fake {
        return match read.configured() {
            Ok(_) => 0,
            Err(fault) => translated(cli::misconfigured(&fault)),
        };
    }
    match background::launch(&plain) {
        Ok(launched) => {
            if options.verbose {
                mount::tell_bytes(&launched.said);
            }
            translated(launched.code)
        }
        Err(fault) => {
            mount::say(&format!("{fault:#}"));
            exit::SYSTEM
        }
    }
}

fn refused(usage: &clap::Error) -> u8 {
    translated(cli::refused(usage))
}

/// An exit code of b2fuse as one of mount(8)'s.
fn translated(code: u8) -> u8 {
    match code {
        0 => 0,
        USAGE => exit::USAGE,
        // Not mounted, or a signal has ended it.
        _ => exit::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(line: &str) -> Result<String, String> {
        let words = std::iter::once("mount.b2fuse").chain(line.split_whitespace());
        let options = Options::try_parse_from(words).map_err(|usage| usage.to_string())?;
        let plain: Vec<String> = options
            .plain()?
            .into_iter()
            .map(|word| word.into_string().expect("UTF-8"))
            .collect();
        Ok(plain.join(" "))
    }

    #[test]
    fn what_mount_says_becomes_an_ordinary_command() {
        Options::command().debug_assert();
        for (line, wanted) in [
            (
                "photos /mnt -o rw,noatime,allow_other,config=/c,_netdev,user",
                "--allow-other --config=/c --bucket-name=photos --source=photos -- /mnt",
            ),
            (
                "photos:a/b /mnt -s -n -v -t fuse.b2fuse -o ro,noexec,nosuid,nodev",
                "--read-only=true --noexec=true --bucket-name=photos --prefix=a/b --source=photos:a/b -- /mnt",
            ),
            ("none -r -- -m", "--read-only=true --source=none -- -m"),
            ("none /mnt -sfnvw -o ro", "--source=none -- /mnt"),
            (
                "none /mnt -r -o rw",
                "--read-only=true --source=none -- /mnt",
            ),
            (
                "none /mnt -o uid=1 -o uid=2",
                "--uid=2 --source=none -- /mnt",
            ),
        ] {
            assert_eq!(plain(line).as_deref(), Ok(wanted), "{line}");
        }
    }

    #[test]
    fn what_is_said_twice_or_is_unknown_is_refused() {
        for (line, said) in [
            ("photos /mnt -o bucket=other", "name it once"),
            ("photos /mnt -o bucket_id=1", "name it once"),
            ("photos:a /mnt -o prefix=b", "name it once"),
            ("photos /mnt -o alow_other", "is allow_other meant?"),
            ("photos /mnt -N 12", "unexpected argument"),
            ("photos", "required"),
        ] {
            let fault = plain(line).expect_err(line);
            assert!(fault.contains(said), "{line}: {fault}");
        }
        assert!(plain("none /mnt -s -o nonsense").is_ok());
    }
}
