//! `-o`: options in the manner of mount(8) become options of the command line.
//!
//! Commas separate, a backslash before one keeps it; `_`, `-` and capitals make no difference between names. Every option of
//! the command line may stand here, and of mount(8)'s own those that mean something here (`ro`, `noexec`); of the others
//! those are taken silently that speak to mount(8), to systemd, or of what the mount does anyway. What is left is an error,
//! for a word that is passed over may have been meant as a limit. The last of two wins.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, ArgAction, Command};

use crate::config::nearest;

/// Words that change nothing here, in lexical order.
const SILENT: &[&str] = &[
    "async",
    "atime",
    "auto",
    "default-permissions",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "group",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "netdev",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "nofail",
    "nogroup",
    "noiversion",
    "nolazytime",
    "nomand",
    "noowner",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nouser",
    "nousers",
    "owner",
    "relatime",
    "rnetdev",
    "silent",
    "strictatime",
    "suid",
    "sync",
    "user",
    "users",
];
/// Words with a value that speak to others.
const SILENT_WITH_VALUE: &[&str] = &["comment", "helper", "uhelper", "user"];

/// One word of `-o`.
struct Item {
    /// As it was written.
    shown: String,
    /// Only lower-case letters, digits and `-` between them.
    name: String,
    value: Option<OsString>,
}

/// Turns what `-o` says into arguments for `command`; with `sloppy`, words that nobody knows are passed over.
pub(super) fn expand(
    given: &[OsString],
    command: &Command,
    sloppy: bool,
) -> Result<Vec<OsString>, String> {
    let mut taken: Vec<(String, OsString)> = Vec::new();
    let set = |taken: &mut Vec<(String, OsString)>, name: &str, argument: OsString, again: bool| {
        if !again {
            taken.retain(|(other, _)| other != name);
        }
        taken.push((name.to_owned(), argument));
    };
    // `rw` takes back an `ro` of the same line; it does not overrule the configuration, for mount(8) writes it always.
    let (mut read_only, mut no_exec) = (false, false);
    for item in given.iter().flat_map(|words| split(words)) {
        let Item { shown, name, value } = item;
        match (name.as_str(), &value) {
            ("", None) => continue,
            ("ro" | "rw", None) => {
                read_only = name == "ro";
                continue;
            }
            ("exec" | "noexec", None) => {
                no_exec = name == "noexec";
                continue;
            }
            ("remount", None) => {
                return Err("remount: a mount of b2fuse stays as it is: unmount, and mount again (or: mount -i -o remount,ro DIR)".into());
            }
            (silent, None) if SILENT.contains(&silent) => continue,
            (silent, Some(_)) if SILENT_WITH_VALUE.contains(&silent) => continue,
            (systemd, _) if systemd.starts_with("x-") => continue,
            _ => {}
        }
        let Some((long, arg)) = find(command, &name) else {
            if sloppy {
                continue;
            }
            return Err(unknown(&shown, &name, command));
        };
        let again = matches!(arg.get_action(), ArgAction::Append | ArgAction::Count);
        let takes_value = arg.get_action().takes_values();
        let may_lack_it = arg.get_num_args().is_some_and(|n| n.min_values() == 0);
        let argument = match value {
            Some(_) if !takes_value => return Err(format!("-o {shown}: takes no value")),
            Some(value) => {
                let mut argument = OsString::from(format!("--{long}="));
                argument.push(value);
                argument
            }
            None if takes_value && !may_lack_it => {
                return Err(format!("-o {shown}: lacks a value: write {shown}=..."));
            }
            None => OsString::from(format!("--{long}")),
        };
        set(&mut taken, long, argument, again);
    }
    if read_only {
        set(&mut taken, "read-only", "--read-only=true".into(), false);
    }
    if no_exec {
        set(&mut taken, "noexec", "--noexec=true".into(), false);
    }
    Ok(taken.into_iter().map(|(_, argument)| argument).collect())
}

/// Splits at commas, and each word at its first `=`.
fn split(words: &OsStr) -> Vec<Item> {
    let mut items = Vec::new();
    let mut word = Vec::new();
    let mut bytes = words.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'\\', Some(b',' | b'\\')) => word.extend(bytes.next()),
            (b',', _) => items.push(item(&std::mem::take(&mut word))),
            (other, _) => word.push(other),
        }
    }
    items.push(item(&word));
    items
}

fn item(word: &[u8]) -> Item {
    let at = word.iter().position(|&byte| byte == b'=');
    let (name, value) = match at {
        Some(at) => (
            &word[..at],
            Some(OsString::from_vec(word[at + 1..].to_vec())),
        ),
        None => (word, None),
    };
    let shown = String::from_utf8_lossy(name.trim_ascii()).into_owned();
    Item {
        name: plain(&shown),
        shown,
        value,
    }
}

/// `allow_other`, `allow-other` and `_netdev` without what makes no difference.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase()
        .replace('_', "-")
        .trim_matches('-')
        .to_owned()
}

/// The option of this name, or with this other name.
fn find<'a>(command: &'a Command, name: &str) -> Option<(&'a str, &'a Arg)> {
    let squeezed = |text: &str| plain(text).replace('-', "");
    command.get_arguments().find_map(|arg| {
        let long = arg.get_long()?;
        // What is hidden is for this program's own use, but for one that has a message of its own.
        if arg.is_hide_set() && long != "application-key" {
            return None;
        }
        let others = arg.get_all_aliases().unwrap_or_default();
        std::iter::once(long)
            .chain(others)
            .any(|known| squeezed(known) == squeezed(name))
            .then_some((long, arg))
    })
}

fn unknown(shown: &str, name: &str, command: &Command) -> String {
    let options = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .filter_map(Arg::get_long);
    let known = options
        .chain(SILENT.iter().copied())
        .chain(["ro", "rw", "exec"]);
    match nearest(name, known) {
        Some(nearest) => {
            let nearest = nearest.replace('-', "_");
            format!("-o {shown}: there is no such option: is {nearest} meant?")
        }
        None => format!("-o {shown}: there is no such option: b2fuse --help lists all"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Options;

    fn expanded(given: &[&str]) -> Result<Vec<String>, String> {
        let given: Vec<OsString> = given.iter().map(OsString::from).collect();
        let words = expand(&given, &Options::command(), false)?;
        Ok(words
            .into_iter()
            .map(|word| word.into_string().expect("UTF-8"))
            .collect())
    }

    #[test]
    fn names_are_known_however_they_are_written() {
        for name in ["bucket_name", "bucket-name", "bucketName", "bucket"] {
            let words = expanded(&[&format!("{name}=photos")]).expect(name);
            assert_eq!(words, ["--bucket-name=photos"]);
        }
        assert_eq!(
            expanded(&["allow_other,config=/a\\,b\\\\c", "memory=1GiB,,debug"]).expect("known"),
            [
                "--allow-other",
                "--config=/a,b\\c",
                "--memory=1GiB",
                "--debug"
            ]
        );
        assert_eq!(
            expanded(&["read_only=false"]).expect("known"),
            ["--read-only=false"]
        );
    }

    #[test]
    fn every_option_of_the_table_can_be_said() {
        let command = Options::command();
        let layer = <crate::config::Layer as clap::Args>::augment_args(Command::new("x"));
        let mut seen = 0;
        for long in layer.get_arguments().filter_map(Arg::get_long) {
            let given = OsString::from(format!("{}=1", long.replace('-', "_")));
            let words = expand(&[given], &command, false).expect(long);
            assert_eq!(words, [OsString::from(format!("--{long}=1"))]);
            seen += 1;
        }
        assert!(seen > 20, "{seen}");
    }

    #[test]
    fn what_speaks_to_others_is_taken_silently() {
        let words = "rw,defaults,auto,noauto,user,users,nouser,_netdev,nofail,x-systemd.automount,\
            x-gvfs-hide,comment=a=b,exec,suid,dev,relatime,noatime,sync,async,nosuid,nodev,user=joe";
        assert_eq!(expanded(&[words]).expect("known"), [""; 0]);
    }

    #[test]
    fn ro_and_noexec_are_meant_until_they_are_taken_back() {
        assert_eq!(
            expanded(&["rw,noexec,ro"]).expect("known"),
            ["--read-only=true", "--noexec=true"]
        );
        assert_eq!(expanded(&["noexec,ro", "exec,rw"]).expect("known"), [""; 0]);
    }

    #[test]
    fn the_last_of_two_wins_but_faults_add_up() {
        assert_eq!(
            expanded(&["uid=1,uid=2,emulator_fault=a,emulator-fault=b"]).expect("known"),
            ["--uid=2", "--emulator-fault=a", "--emulator-fault=b"]
        );
    }

    #[test]
    fn what_nobody_knows_is_refused_with_the_nearest_name() {
        for (given, said) in [
            ("alow_other", "is allow_other meant?"),
            ("metadata_tll=5s", "is metadata_ttl meant?"),
            ("no_auto_mount", "no such option"),
            ("fscontext=x", "b2fuse --help lists all"),
            ("in_background", "no such option"),
            ("memory", "lacks a value: write memory=..."),
            ("background=yes", "takes no value"),
            ("remount,ro", "unmount, and mount again"),
        ] {
            let fault = expanded(&[given]).expect_err(given);
            assert!(fault.contains(said), "{given}: {fault}");
        }
        let given = [OsString::from("nonsense,uid=1")];
        let sloppy = expand(&given, &Options::command(), true).expect("passed over");
        assert_eq!(sloppy, ["--uid=1"]);
    }

    proptest::proptest! {
        #[test]
        fn any_words_end_in_options_or_an_error(words in "[ -~é]{0,40}") {
            let _ = expanded(&[&words]);
        }
    }
}
