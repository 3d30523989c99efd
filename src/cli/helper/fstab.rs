//! `b2fuse fstab DIR [OPTIONS]`: the line of /etc/fstab that mounts what this command line would.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _};

use super::source::Source;
use crate::cli::{FAILURE, Options, misconfigured, mount_options, refused};
use crate::mount;

/// What belongs to every line: the network comes first, a machine starts also without it, and both the mount and the end,
/// which stores what is pending, get the time that `drain_timeout` has. umount(8) runs `umount.b2fuse`: by itself it looks
/// for a helper of that name only where it has noted options of a mount (statfs(2) shows no subtype of FUSE).
const ALWAYS: &str = "_netdev,nofail,uhelper=b2fuse,x-systemd.mount-timeout=1h";
/// Options that say something about one run only, or that the line says otherwise.
const LEFT_OUT: &[&str] = &[
    "config",
    "profile",
    "bucket-name",
    "prefix",
    "background",
    "foreground",
    "in-background",
    "source",
];

pub(in crate::cli) fn run(arguments: &[OsString]) -> u8 {
    match line(arguments) {
        Ok(line) => {
            mount::tell(&line);
            0
        }
        Err(code) => code,
    }
}

fn line(arguments: &[OsString]) -> Result<String, u8> {
    let options = Options::read(arguments).map_err(|usage| refused(&usage))?;
    let Some(mountpoint) = &options.mountpoint else {
        mount::say("the mountpoint is missing: b2fuse fstab [options] <mountpoint>");
        return Err(crate::cli::USAGE);
    };
    let emulated = options.emulator.wanted().is_some();
    let config = options
        .configured()
        .map_err(|fault| misconfigured(&fault))?;
    let mountpoint = std::path::absolute(mountpoint).map_err(|fault| {
        mount::say(&format!("{}: {fault}", mountpoint.display()));
        FAILURE
    })?;
    let source = Source {
        bucket: config
            .bucket_name()
            .filter(|_| !emulated)
            .map(str::to_owned),
        prefix: Some(config.prefix.trim_matches('/').to_owned())
            .filter(|prefix| !prefix.is_empty()),
    };
    let mut words = Vec::new();
    if let Some(file) = &config.file {
        words.push(option("config", file.as_os_str()));
    } else if !emulated {
        mount::say(
            "mount(8) has no environment: write the account into a file, and name it with --config",
        );
        return Err(crate::cli::USAGE);
    }
    words.extend(said(arguments).map_err(|usage| refused(&usage))?);
    words.extend(ALWAYS.split(',').map(|word| word.as_bytes().to_vec()));
    Ok(fields(&source, &mountpoint, &words))
}

/// What the command line says, `-o` included, as words of `-o`.
fn said(arguments: &[OsString]) -> Result<Vec<Vec<u8>>, clap::Error> {
    let name = OsString::from("b2fuse fstab");
    let matches_of = |words: &[OsString]| {
        Options::command().try_get_matches_from(std::iter::once(&name).chain(words))
    };
    let matches = matches_of(arguments)?;
    let given = Options::from_arg_matches(&matches)?.words;
    let below = mount_options::expand(&given, &Options::command(), false).map_err(|fault| {
        Options::command().error(clap::error::ErrorKind::UnknownArgument, fault)
    })?;
    let mut words: Vec<(String, Vec<u8>)> = Vec::new();
    for (matches, is_below) in [(matches, false), (matches_of(&below)?, true)] {
        let known: Vec<String> = words.iter().map(|(long, _)| long.clone()).collect();
        for arg in Options::command().get_arguments() {
            let Some(long) = arg.get_long().filter(|long| !LEFT_OUT.contains(long)) else {
                continue;
            };
            let id = arg.get_id().as_str();
            if matches.value_source(id) != Some(ValueSource::CommandLine)
                || (is_below && known.iter().any(|other| other == long))
            {
                continue;
            }
            let values = matches.get_raw(id).into_iter().flatten();
            for value in values {
                let word = match value.as_bytes() {
                    b"true" => long.replace('-', "_").into_bytes(),
                    _ => option(long, value),
                };
                words.push((long.to_owned(), word));
            }
        }
    }
    Ok(words.into_iter().map(|(_, word)| word).collect())
}

/// `name=value`, the value's commas kept.
fn option(long: &str, value: &OsStr) -> Vec<u8> {
    let mut word = long.replace('-', "_").into_bytes();
    word.push(b'=');
    for &byte in value.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            word.push(b'\\');
        }
        word.push(byte);
    }
    word
}

/// The line, blanks and the like written as fstab(5) wants them.
fn fields(source: &Source, mountpoint: &Path, words: &[Vec<u8>]) -> String {
    let field = |text: &[u8]| {
        let mut out = Vec::new();
        for &byte in text {
            match byte {
                b' ' | b'\t' | b'\n' | b'\\' | b'#' => {
                    out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
                }
                other => out.push(other),
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    format!(
        "{} {} b2fuse {} 0 0",
        field(source.text().as_bytes()),
        field(mountpoint.as_os_str().as_bytes()),
        field(&words.join(&b','))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_fstab_wants_them() {
        let source = Source::parse("photos:a b");
        let words = [option("config", OsStr::new("/a,b c")), b"ro".to_vec()];
        assert_eq!(
            fields(&source, Path::new("/mnt/a b#"), &words),
            "photos:a\\040b /mnt/a\\040b\\043 b2fuse config=/a\\134,b\\040c,ro 0 0"
        );
    }

    #[test]
    fn what_the_command_line_says_stands_in_the_line() {
        let said = |line: &str| {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            let said = said(&words).expect("right").join(&b',');
            String::from_utf8(said).expect("UTF-8")
        };
        assert_eq!(
            said("--allow-other --metadata-ttl 5s --noexec=false -o uid=7,metadata_ttl=1s /m"),
            "metadata_ttl=5s,allow_other,noexec=false,uid=7"
        );
        assert_eq!(said("--bucket-name x --config c --background /m"), "");
    }
}
