//! The command line: options become a [`config::Layer`], and a run becomes an exit code.
//!
//! 0: served and everything is stored. 1: not mounted, or something could not be stored. 2: wrong
//! options or configuration, found before anything is mounted.

mod log;
mod rescue;
mod standalone;

use std::ffi::{CString, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, CommandFactory, Parser, error::ErrorKind};

use nix::sys::resource::{Resource, setrlimit};

use crate::config::{self, Config, Layer, Period, Size};
use crate::emulator;
use crate::mount::{self, background};

/// Mounts a Backblaze B2 bucket as a filesystem.
///
/// The account is taken from ~/.config/b2fuse/config.yaml, else ./config.yaml, or from the environment:
/// B2_APPLICATION_KEY_ID, B2_APPLICATION_KEY, B2_ENDPOINT, and B2FUSE_BUCKET for the bucket's name. Each option
/// can be set there, too: --metadata-ttl as B2FUSE_METADATA_TTL.
/// It serves in the foreground until it is unmounted (fusermount3 -u) or told to end (Ctrl-C, SIGTERM);
/// then it stores what is pending, however often that fails, and ends. A second Ctrl-C, or --drain-timeout, gives up:
/// what is not stored then is written to --rescue, and `b2fuse rescue DIR` sends it later.
#[derive(Debug, Parser)]
#[command(
    name = "b2fuse",
    version,
    max_term_width = 100,
    override_usage = "b2fuse [OPTIONS] <MOUNTPOINT>\n       b2fuse rescue [OPTIONS] <DIR>\n       b2fuse --emulator-listen <ADDRESS>",
    after_help = "To try it without an account:  b2fuse --emulator /tmp/b2\n\
        Exit code: 0 everything is stored, 1 not mounted or not all stored, 2 wrong options or configuration"
)]
struct Options {
    /// An empty directory to mount on
    mountpoint: Option<PathBuf>,

    #[command(flatten)]
    account: AccountOptions,
    #[command(flatten)]
    layer: Layer,
    #[command(flatten)]
    emulator: EmulatorOptions,
    #[command(flatten)]
    log: log::MessageOptions,

    /// Return when it is mounted and serve in the background
    #[arg(long, conflicts_with = "foreground")]
    background: bool,
    /// Stay in the foreground, which it does anyway
    #[arg(long, hide = true)]
    foreground: bool,
    /// This is the process that serves in the background.
    #[arg(long, hide = true)]
    in_background: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Account and bucket")]
struct AccountOptions {
    /// Read this configuration file
    #[arg(long, value_name = "FILE", visible_alias = "config_filename")]
    config: Option<PathBuf>,
    /// Refused: every user of the machine can read the options of a running program.
    #[arg(
        long,
        alias = "application_key",
        hide = true,
        num_args = 0..=1,
        default_missing_value = ""
    )]
    application_key: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Emulator of B2 (no account needed)")]
struct EmulatorOptions {
    /// Mount a bucket of an emulator in this process, kept in memory, or in DIR across runs;
    /// the mountpoint is made if it is missing
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    emulator: Option<OsString>,
    /// Let other programs use the emulator at this address of this machine, 127.0.0.1:8080 say;
    /// without a mountpoint only the emulator runs
    #[arg(long, value_name = "ADDRESS")]
    emulator_listen: Option<SocketAddr>,
    /// Time that the emulator adds to every answer, 50ms say
    #[arg(long, value_name = "TIME")]
    emulator_latency: Option<Period>,
    /// Bytes per second of each of the emulator's connections, 20MiB say
    #[arg(long, value_name = "SIZE")]
    emulator_bandwidth: Option<Size>,
    /// A fault that the emulator plays; may be given several times
    #[arg(long, value_name = "FAULT", action = ArgAction::Append)]
    emulator_fault: Vec<String>,
}

impl EmulatorOptions {
    /// `None` when no emulator is asked for.
    fn wanted(&self) -> Option<emulator::Options> {
        if self.emulator.is_none() && self.emulator_listen.is_none() {
            return None;
        }
        Some(emulator::Options {
            listen: self
                .emulator_listen
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            dir: self
                .emulator
                .clone()
                .filter(|dir| !dir.is_empty())
                .map(PathBuf::from)
                .map(|dir| std::path::absolute(&dir).unwrap_or(dir)),
            latency: self
                .emulator_latency
                .map_or(std::time::Duration::ZERO, |t| t.0),
            bandwidth: self.emulator_bandwidth.map(|s| s.0),
            faults: self.emulator_fault.clone(),
        })
    }

    /// The emulator's options say nothing without an emulator.
    fn stray(&self) -> Option<&'static str> {
        if self.emulator.is_some() || self.emulator_listen.is_some() {
            return None;
        }
        if self.emulator_latency.is_some() {
            Some("--emulator-latency")
        } else if self.emulator_bandwidth.is_some() {
            Some("--emulator-bandwidth")
        } else if self.emulator_fault.is_empty() {
            None
        } else {
            Some("--emulator-fault")
        }
    }
}

impl Options {
    /// Rules between options, which end like any other usage error.
    fn check(&self) -> Result<(), clap::Error> {
        let refuse = |text: String| Err(Self::command().error(ErrorKind::ArgumentConflict, text));
        if self.account.application_key.is_some() {
            return refuse(
                "the application key is no option, every user of this machine could read it: \
                 set B2_APPLICATION_KEY, or write applicationKey into config.yaml"
                    .into(),
            );
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
}

/// Runs the command with the process's arguments and environment.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = rescue::run(&arguments) {
        return code;
    }
    let options = Options::parse();
    if let Err(usage) = options.check() {
        usage.exit();
    }
    log::start(&options.log);
    if options.background && !options.in_background {
        return background::launch().unwrap_or_else(|fault| ended(Err(fault)));
    }
    if options.in_background
        && let Err(fault) = background::begin()
    {
        return ended(Err(fault));
    }
    keep_out_of_cores();
    let emulator = options.emulator.wanted();
    let Some(mountpoint) = options.mountpoint.clone() else {
        return emulator.map_or(ExitCode::from(2), |emulator| {
            ended(standalone::run(emulator))
        });
    };
    let config = Config::load(
        options.layer.clone(),
        options.account.config.as_deref(),
        &|name| std::env::var_os(name),
        emulator.is_some(),
    );
    let config = match config {
        Ok(config) => config,
        Err(fault) => return misconfigured(&fault),
    };
    forget_the_keys();
    log::configure(&options.log, &config.logging);
    for warning in &config.warnings {
        ::log::warn!("{warning}");
    }
    let file = config.file.clone();
    let mut plan = config.into_mount(mountpoint, emulator);
    plan.background = options.in_background;
    plan.reload = Some(reload(options, file));
    ended(mount::serve(plan))
}

/// Reads the configuration again, as at the start; but the environment holds no key any more.
fn reload(options: Options, file: Option<PathBuf>) -> mount::Reload {
    let emulated = options.emulator.emulator.is_some();
    mount::Reload::new(move || {
        let environment = |name: &str| std::env::var_os(name);
        let config = Config::load(
            options.layer.clone(),
            file.as_deref(),
            &environment,
            emulated,
        );
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

fn misconfigured(fault: &config::Error) -> ExitCode {
    mount::say(&fault.to_string());
    ExitCode::from(2)
}

fn ended(outcome: anyhow::Result<mount::Outcome>) -> ExitCode {
    mount::messages::drain();
    match outcome {
        Ok(mount::Outcome::Stored) => ExitCode::SUCCESS,
        Ok(mount::Outcome::NotStored) => ExitCode::FAILURE,
        Err(fault) => {
            mount::say(&format!("{fault:#}"));
            ExitCode::FAILURE
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
