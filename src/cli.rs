//! The command line: options become a [`config::Layer`], and a run becomes an exit code.
//!
//! 0: served and everything is stored. 1: not mounted, or something could not be stored. 2: wrong
//! options or configuration, found before anything is mounted. Called by mount(8) or umount(8), it speaks their language
//! (`helper`).

mod account;
mod check;
mod commands;
mod emulated;
mod helper;
mod log;
mod mount_options;
mod reference;
mod rescue;
mod running;
mod setup;
mod slips;
mod standalone;

use std::ffi::{CString, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, Parser, ValueHint, error::ErrorKind};

use nix::sys::resource::{Resource, setrlimit};

use self::account::AccountOptions;
use self::emulated::EmulatorOptions;
use crate::config::{self, Config, Layer, Which};
use crate::mount::{self, background};

/// Mounts a Backblaze B2 bucket as a filesystem.
///
/// The account is taken from ~/.config/b2fuse/config.yaml, else ./config.yaml, or from the environment:
/// B2_APPLICATION_KEY_ID, B2_APPLICATION_KEY, B2_ENDPOINT, and B2FUSE_BUCKET for the bucket's name. Each option
/// can be set there, too: --metadata-ttl as B2FUSE_METADATA_TTL. `b2fuse setup` asks for the account and writes the
/// file, `b2fuse check` tells what is in the way of a mount.
/// It serves in the foreground until it is unmounted (fusermount3 -u) or told to end (Ctrl-C, SIGTERM);
/// then it stores what is pending, however often that fails, and ends. A second Ctrl-C, or --drain-timeout, gives up:
/// what is not stored then is written to --rescue, and `b2fuse rescue DIR` sends it later.
#[derive(Debug, Parser)]
#[command(
    name = "b2fuse",
    version,
    max_term_width = 100,
    disable_help_flag = true,
    override_usage = "b2fuse [OPTIONS] <MOUNTPOINT>\n       b2fuse setup\n       b2fuse check [OPTIONS] [DIR]\n       \
        b2fuse status|list|umount|flush|refresh|warm|limit|reload|log ...\n       \
        b2fuse rescue [OPTIONS] <DIR>\n       \
        b2fuse fstab [OPTIONS] <DIR>\n       b2fuse install-helper [--dir <DIR>]\n       b2fuse --emulator-listen <ADDRESS>",
    after_help = "A mount that runs (each has --help; a mountpoint of such a name is written ./status):\n  \
        status [DIR] [--watch]   memory, calls, what is on its way to B2\n  \
        list                     all mounts\n  \
        umount DIR               unmount, wait until everything is stored\n  \
        flush [PATH]             store everything now\n  \
        refresh [PATH]           see now what others have changed\n  \
        warm PATH                fetch contents into memory\n  \
        limit [DIR]              bytes a second, --up and --down\n  \
        reload [DIR]             read the configuration again\n  \
        log [DIR] LEVEL          error, warn, info, debug\n\n\
        To try it without an account:  b2fuse --emulator /tmp/b2\n\
        There are more options: man b2fuse, or docs/configuration.md\n\
        Exit code: 0 everything is stored, 1 not mounted or not all stored, 2 wrong options or configuration"
)]
struct Options {
    /// An empty directory to mount on
    #[arg(value_hint = ValueHint::DirPath)]
    mountpoint: Option<PathBuf>,
    /// Print help
    #[arg(short, long, action = ArgAction::HelpShort)]
    help: Option<bool>,

    #[command(flatten)]
    account: AccountOptions,
    #[command(flatten)]
    layer: Layer,
    #[command(flatten)]
    emulator: EmulatorOptions,
    #[command(flatten)]
    log: log::MessageOptions,

    /// Options as mount(8) takes them: commas separate, allow_other is --allow-other, ro is --read-only;
    /// an option of its own beats them. May be given several times
    #[arg(short = 'o', value_name = "OPTION,...", action = ArgAction::Append)]
    words: Vec<OsString>,
    /// Return when it is mounted and serve in the background
    #[arg(long, conflicts_with = "foreground")]
    background: bool,
    /// Stay in the foreground, which it does anyway
    #[arg(long, hide = true)]
    foreground: bool,
    /// This is the process that serves in the background.
    #[arg(long, hide = true)]
    in_background: bool,
    /// What the table of mounts shows as the source: what mount(8) was given, by which `mount -a` knows it again.
    #[arg(long, hide = true)]
    source: Option<OsString>,
}

impl Options {
    /// Reads the arguments (without the program's name), `-o` included.
    fn read(arguments: &[OsString]) -> Result<Self, clap::Error> {
        let parse = |words: &[OsString]| slips::parse::<Self>("b2fuse", words);
        let mut options = parse(arguments)?;
        let given = std::mem::take(&mut options.words);
        if !given.is_empty() {
            let mut command = Self::command();
            let words = mount_options::expand(&given, &command, false)
                .map_err(|fault| command.error(ErrorKind::UnknownArgument, fault))?;
            options = options.over(parse(&words)?);
        }
        options.check()?;
        Ok(options)
    }

    /// These, and what others say where these say nothing.
    fn over(self, under: Self) -> Self {
        Self {
            help: None,
            mountpoint: self.mountpoint.or(under.mountpoint),
            account: self.account.over(under.account),
            layer: self.layer.over(under.layer),
            emulator: self.emulator.over(under.emulator),
            log: self.log.over(&under.log),
            words: Vec::new(),
            background: self.background || (under.background && !self.foreground),
            foreground: self.foreground,
            in_background: self.in_background,
            source: self.source,
        }
    }

    /// Rules between options, which end like any other usage error.
    fn check(&self) -> Result<(), clap::Error> {
        let refuse = |text: String| Err(Self::command().error(ErrorKind::ArgumentConflict, text));
        if let Some(fault) = self.account.fault() {
            return refuse(fault.into());
        }
        if let Some(stray) = self.emulator.stray() {
            return refuse(format!("{stray} needs --emulator or --emulator-listen"));
        }
        if let Some(address) = self
            .emulator
            .emulator_listen
            .filter(|a| !a.ip().is_loopback())
        {
            return refuse(format!(
                "--emulator-listen {address}: the emulator serves this machine only: write 127.0.0.1:{}",
                address.port()
            ));
        }
        let faults = self.emulator.wanted().map_or(Ok(()), |o| o.check());
        if let Err(fault) = faults {
            return refuse(format!("--emulator-fault: {fault}"));
        }
        if self.mountpoint.is_none() && self.background {
            return refuse("--background needs a mountpoint".into());
        }
        if self.mountpoint.is_none() && self.emulator.emulator_listen.is_none() {
            return refuse("the mountpoint is missing: b2fuse [options] <mountpoint>".into());
        }
        Ok(())
    }

    /// What they, the environment and the file say together.
    fn configured(&self) -> Result<Config, config::Error> {
        self.account.load(
            self.layer.clone(),
            &self.account.which(),
            &|name| std::env::var_os(name),
            self.emulator.wanted().is_some(),
        )
    }
}

/// Nothing was mounted, or not everything is stored.
const FAILURE: u8 = 1;
/// Options or configuration are wrong.
const USAGE: u8 = 2;

/// Runs the command with the process's arguments and environment.
pub fn main() -> ExitCode {
    helper::have_a_path();
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    let code = helper::run(&called, &arguments)
        .or_else(|| commands::run(&arguments))
        .unwrap_or_else(|| mount(&arguments));
    ExitCode::from(code)
}

/// Mounts and serves, or runs an emulator alone.
fn mount(arguments: &[OsString]) -> u8 {
    let options = match Options::read(arguments) {
        Ok(options) => options,
        Err(usage) => return refused(&usage),
    };
    log::start(&options.log);
    if options.background && !options.in_background {
        return match background::launch(arguments) {
            Ok(launched) => {
                mount::tell_bytes(&launched.said);
                launched.code
            }
            Err(fault) => ended(Err(fault)),
        };
    }
    if options.in_background
        && let Err(fault) = background::begin(options.mountpoint.as_deref())
    {
        return ended(Err(fault));
    }
    keep_out_of_cores();
    let emulator = options.emulator.wanted();
    let Some(mountpoint) = options.mountpoint.clone() else {
        return emulator.map_or(USAGE, |emulator| ended(standalone::run(emulator)));
    };
    let config = match options.configured() {
        Ok(config) => config,
        Err(fault) => return misconfigured(&fault),
    };
    let again = config.again.clone();
    let key_id = id_beside_no_key();
    forget_the_keys();
    log::configure(&options.log, &config.logging);
    for warning in &config.warnings {
        ::log::warn!("{warning}");
    }
    let mut plan = config.into_mount(mountpoint, emulator);
    plan.background = options.in_background;
    plan.source = options
        .source
        .as_ref()
        .map(|source| source.to_string_lossy().into_owned());
    plan.reload = Some(reload(options, again, key_id));
    ended(mount::serve(plan))
}

/// Says what is wrong with the arguments, or shows the help that was asked for.
fn refused(usage: &clap::Error) -> u8 {
    let _ = usage.print();
    if usage.use_stderr() { USAGE } else { 0 }
}

/// The beginning of a command that needs an account: its options, with messages going where they say; or the exit code, where it has been said
/// what is wrong. `parts`: what is wrong with the account's options, and those of messages.
fn begun<O: Parser>(
    name: &str,
    arguments: &[OsString],
    parts: impl Fn(&O) -> (Option<&'static str>, log::MessageOptions),
) -> Result<O, u8> {
    let options = slips::parse::<O>(name, arguments).map_err(|usage| refused(&usage))?;
    let (fault, messages) = parts(&options);
    log::start(&messages);
    match fault {
        Some(fault) => {
            mount::say(fault);
            Err(USAGE)
        }
        None => Ok(options),
    }
}

/// The key's id, where the environment has that and not the key.
fn id_beside_no_key() -> Option<OsString> {
    let [other, key, own, own_key] = config::ACCOUNT_VARIABLES.map(std::env::var_os);
    own.or(other).filter(|_| key.is_none() && own_key.is_none())
}

/// Reads the configuration again, as at the start; but the environment holds no key any more.
fn reload(options: Options, which: Which, key_id: Option<OsString>) -> mount::Reload {
    let emulated = options.emulator.emulator.is_some();
    mount::Reload::new(move || {
        let environment = |name: &str| match name {
            "B2FUSE_ACCOUNT_ID" => key_id.clone(),
            _ => std::env::var_os(name),
        };
        let layer = options.layer.clone();
        let config = options.account.load(layer, &which, &environment, emulated);
        match config.map_err(|fault| fault.to_string())?.account {
            config::Account::Real { key_id, key, .. } => Ok((key_id, key)),
            config::Account::Emulator => Err("the emulator has its own".to_owned()),
        }
    })
}

/// A core would hold the key and what the files hold; and no other process of this user may look into this one.
fn keep_out_of_cores() {
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        ::log::warn!("cannot turn core dumps off: {error}");
    }
    // What a program that is run from here would leave, and where somebody makes this one dumpable again.
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        ::log::debug!("cannot limit core dumps: {error}");
    }
}

/// Takes the account out of the environment, which fusermount3 and whatever else is run would inherit, and overwrites it
/// where the kernel shows it (`/proc/PID/environ`).
#[allow(unsafe_code, reason = "the environment is changed")]
fn forget_the_keys() {
    for name in config::ACCOUNT_VARIABLES {
        let Ok(name) = CString::new(name) else {
            continue;
        };
        // SAFETY: this is the only thread: neither the runtime nor an emulator is started yet. What getenv(3) gives is a
        // text with a zero behind it, in memory of this process that may be written to.
        unsafe {
            let value = libc::getenv(name.as_ptr());
            if !value.is_null() {
                value.write_bytes(0, libc::strlen(value));
            }
            libc::unsetenv(name.as_ptr());
        }
    }
}

fn misconfigured(fault: &config::Error) -> u8 {
    mount::say(&fault.to_string());
    USAGE
}

fn ended(outcome: anyhow::Result<mount::Outcome>) -> u8 {
    mount::messages::drain();
    match outcome {
        Ok(mount::Outcome::Stored) => 0,
        Ok(mount::Outcome::NotStored) => FAILURE,
        Err(fault) => {
            mount::say(&format!("{fault:#}"));
            FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Switch, Word};

    fn parse(line: &str) -> Options {
        Options::try_parse_from(std::iter::once("b2fuse").chain(line.split_whitespace()))
            .unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    #[test]
    fn the_parser_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_options_of_the_original_keep_working() {
        let options = parse(
            "--account_id a --bucket_id b --config_filename c --enable_hashfiles --allow_other --debug /m",
        );
        let layer = options.layer;
        assert_eq!(layer.account_id, Some(Word("a".into())));
        assert_eq!(layer.bucket_id, Some(Word("b".into())));
        assert_eq!(layer.enable_hashfiles, Some(Switch(true)));
        assert_eq!(layer.allow_other, Some(Switch(true)));
        assert_eq!(options.account.config, Some("c".into()));
        assert_eq!(options.mountpoint, Some("/m".into()));
    }

    #[test]
    fn a_switch_takes_its_value_only_after_an_equals_sign() {
        assert_eq!(parse("--read-only /m").layer.read_only, Some(Switch(true)));
        assert_eq!(
            parse("--read-only=no /m").layer.read_only,
            Some(Switch(false))
        );
        assert_eq!(parse("/m").layer.read_only, None);
    }

    #[test]
    fn the_emulators_directory_follows_an_equals_sign_only() {
        let options = parse("--emulator /m");
        assert_eq!(options.mountpoint, Some("/m".into()));
        assert_eq!(options.emulator.wanted().expect("asked for").dir, None);
        let options =
            parse("--emulator=/data --emulator-latency 50ms --emulator-bandwidth 20MiB /m");
        let wanted = options.emulator.wanted().expect("asked for");
        assert_eq!(wanted.dir, Some("/data".into()));
        assert_eq!(wanted.latency.as_millis(), 50);
        assert_eq!(wanted.bandwidth, Some(20 << 20));
        assert!(parse("/m").emulator.wanted().is_none());
    }

    #[test]
    fn rules_between_options_are_kept() {
        for (line, said) in [
            ("", "the mountpoint is missing"),
            ("--emulator", "the mountpoint is missing"),
            (
                "--application_key K001 /m",
                "the application key is no option",
            ),
            (
                "--application-key=K001 /m",
                "the application key is no option",
            ),
            (
                "--emulator-latency 1s /m",
                "needs --emulator or --emulator-listen",
            ),
            (
                "--emulator-listen 0.0.0.0:80",
                "serves this machine only: write 127.0.0.1:80",
            ),
        ] {
            let fault = parse(line).check().expect_err(line);
            assert!(fault.to_string().contains(said), "{line}: {fault}");
            assert!(!fault.to_string().contains("K001"), "{fault}");
            assert_eq!(fault.exit_code(), 2);
        }
        assert!(parse("--emulator-listen 127.0.0.1:0").check().is_ok());
    }
}
