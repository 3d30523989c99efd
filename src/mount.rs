//! One session from mountpoint to drained unmount.
//!
//! [`serve`] checks the mountpoint, starts the emulator if asked, connects, fits the settings to the rights
//! of the key, mounts, waits for a signal or an unmount, and ends (`ending`). Until the mount stands every
//! failure is one message and leaves nothing mounted. It owns the runtime; the thread that calls it only waits.

pub mod background;
pub mod check;
mod connect;
pub mod control;
mod ending;
mod fusermount;
pub mod heap;
pub mod messages;
mod metrics;
mod notify;
mod point;
mod reload;
mod rescuer;
mod resend;
mod served;
mod session;
mod shown;
mod signals;
mod sleep;
mod timetable;
mod unmount;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

pub use ending::{DrainTimeout, human, span};
pub use reload::Reload;
pub use rescuer::RescueTo;
pub use resend::resend;
pub use session::KernelOptions;
pub use signals::Signals;
use signals::Wish;
pub use timetable::{Change, Timetable, Timetables};
pub use unmount::{How, Quiet, Watcher, unmount};

use self::control::{Control, Socket};
use self::ending::Cause;
use self::metrics::Metrics;
use self::point::Reserved;
use self::rescuer::Rescuer;
use self::served::Served;
use self::session::{Appearance, Session};
use self::shown::Shown;
use crate::b2::{self, Secret};
use crate::emulator::{self, Server};
use crate::io::{self, Io};
use crate::vfs::{self, Vfs};

/// All that a session needs, in the words of the layers that use it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to mount; made if it is missing when there is an emulator.
    pub mountpoint: PathBuf,
    /// What the kernel is asked for.
    pub kernel: KernelOptions,
    /// What the table of mounts shows as the source, instead of the bucket.
    pub source: Option<String>,
    /// How the configuration is read again.
    pub reload: Option<Reload>,
    /// This process is the child of `background::launch`.
    pub background: bool,
    /// How long the end goes on trying to store what is pending.
    pub drain_timeout: DrainTimeout,
    /// Where is written what cannot be stored at the end.
    pub rescue: RescueTo,
    /// Where monitoring may read the mount's numbers.
    pub metrics: Option<SocketAddr>,
    /// Limits of bytes a second by the clock; those of `b2` are what holds at the start.
    pub timetables: Timetables,
    /// Serve this emulator's bucket; it fills in endpoint, key and bucket of `b2`.
    pub emulator: Option<emulator::Options>,
    /// The way to the bucket.
    pub b2: b2::Options,
    /// Memory and transfers.
    pub io: io::Settings,
    /// What the mount shows.
    pub vfs: vfs::Settings,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was written is in B2.
    Stored,
    /// Something is not, or the mount could not be left; it has been said what.
    NotStored,
}

/// Mounts, serves until the end, stores what is pending.
pub fn serve(options: Options) -> anyhow::Result<Outcome> {
    let point = point::reserve(&options.mountpoint, options.emulator.is_some())?;
    let environment = |name: &str| std::env::var_os(name);
    let root = rescuer::root(
        &options.rescue,
        &environment,
        nix::unistd::geteuid().is_root(),
    );
    if let Some(root) = &root {
        rescuer::check(root, &point.path)?;
    }
    heap::suit(options.io.memory);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("b2fuse")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(run(options, point, root, runtime.handle()));
    // What still runs has been given up.
    runtime.shutdown_background();
    outcome
}

async fn run(
    mut options: Options,
    reserved: Reserved,
    rescue: Option<PathBuf>,
    runtime: &tokio::runtime::Handle,
) -> anyhow::Result<Outcome> {
    let mut signals = Signals::listen()?;
    let server = start_emulator(&mut options)?;
    let metrics = match options.metrics {
        Some(address) => Some(Metrics::bind(address).await?),
        None => None,
    };
    let opening = async {
        let client = connect::connect(&mut options).await?;
        let bucket = client.account().bucket_name;
        let io = Io::new(client.clone(), options.io.clone());
        if !options.vfs.read_only {
            runtime.spawn(clean_up(io.clone(), options.vfs.prefix.clone()));
        }
        runtime.spawn(heap::keep_small(io.clone()));
        let vfs = Vfs::new(client.clone(), io, options.vfs.clone())
            .await
            .with_context(|| format!("cannot list the bucket {bucket}"))?;
        anyhow::Ok((client, vfs, bucket))
    };
    let (client, vfs, bucket) = tokio::select! {
        opened = opening => opened?,
        name = signals.next() => bail!("{name}: ended before anything was mounted"),
    };
    let appearance = Appearance {
        source: options
            .source
            .clone()
            .unwrap_or_else(|| format!("b2fuse:{bucket}")),
        bucket,
        read_only: options.vfs.read_only,
        kernel: options.kernel,
    };
    runtime.spawn(sleep::watch(vfs.clone()));
    let session = Session::mount(&vfs, runtime, &reserved, &appearance)?;
    let served = Served::by_this_process(session.mounted());
    if let Err(error) = &served {
        log::debug!("umount(8) cannot wait for this mount's end: {error}");
    }
    let point = reserved.path.clone();
    drop(reserved);
    let shown = point.display().to_string();
    let introduction = introduction(&options, &appearance, &shown, server.as_ref());
    let status = introduction.lines().next().unwrap_or_default().to_owned();
    let control = Control::new(
        vfs.clone(),
        client.clone(),
        options.reload.clone(),
        control::Facts {
            bucket: appearance.bucket.clone(),
            prefix: options.vfs.prefix.clone(),
            mountpoint: point.clone(),
            read_only: appearance.read_only,
            page: metrics.as_ref().and_then(Metrics::page),
            introduction: status.clone(),
        },
        (
            options.b2.limits.bandwidth_up,
            options.b2.limits.bandwidth_down,
        ),
    );
    if let Some(metrics) = metrics {
        if let Ok(address) = metrics.address() {
            log::info!("metrics: http://{address}/metrics");
        }
        let (vfs, about) = (vfs.clone(), (appearance.bucket.as_str(), shown.as_str()));
        metrics.serve(control.clone(), client.clone(), vfs, about);
    }
    runtime.spawn(timetable::follow(
        options.timetables.clone(),
        control.clone(),
    ));
    let socket = served.as_ref().ok().and_then(|served| {
        Socket::listen(&served.socket(), control.clone())
            .inspect_err(|error| log::warn!("no command can reach this mount: {error}"))
            .ok()
    });
    if log::max_level() >= log::LevelFilter::Info {
        tell(&introduction);
    }
    if options.background {
        background::detach();
    }
    notify::ready(&status);
    let progress = Shown::begin(client, vfs.clone(), options.background);
    let cause = loop {
        let wish = tokio::select! {
            wish = signals.wish() => wish,
            () = session.finished() => break Cause::Unmounted,
        };
        match wish {
            Wish::End(name) => break Cause::Signal(name),
            Wish::Statistics => match serde_json::to_string(&vfs.stats()) {
                Ok(numbers) => log::info!("SIGUSR1: {numbers}"),
                Err(error) => log::error!("SIGUSR1: no numbers: {error}"),
            },
            Wish::Detail => say_more_or_less(),
            Wish::Reload => {
                let control = control.clone();
                runtime.spawn(async move {
                    match control.read_again().await {
                        Ok(said) => log::info!("SIGHUP: {said}"),
                        Err(why) => log::warn!("SIGHUP: {why}"),
                    }
                });
            }
        }
    };
    control.ends();
    drop(progress);
    let _told = notify::ending(&vfs, runtime);
    let limit = options.drain_timeout;
    let rescuer = Rescuer::new(rescue, &appearance.bucket);
    let outcome = ending::end(session, &vfs, &mut signals, cause, &shown, limit, rescuer).await;
    drop(socket);
    if let Ok(served) = served {
        served.ended(outcome == Outcome::Stored);
    }
    Ok(outcome)
}

/// Turns details in the log on, or off again.
fn say_more_or_less() {
    let more = log::max_level() < log::LevelFilter::Debug;
    log::info!(
        "SIGUSR2: the log says {}",
        if more { "more" } else { "less" }
    );
    log::set_max_level(if more {
        log::LevelFilter::Debug
    } else {
        log::LevelFilter::Info
    });
}

/// Cancels what killed mounts have left behind: large files that were begun and never finished.
/// Waits first, so that it costs the start nothing.
async fn clean_up(io: Io, prefix: String) {
    const START: Duration = Duration::from_secs(60);
    // A mount that lives sends a part once in a while.
    const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);
    tokio::time::sleep(START).await;
    if let Err(error) = io.cancel_abandoned(&prefix, ABANDONED).await {
        log::debug!("cannot look for abandoned large files: {error}");
    }
}

/// Starts the emulator and points the client at it.
fn start_emulator(options: &mut Options) -> anyhow::Result<Option<Server>> {
    let Some(wanted) = options.emulator.clone() else {
        return Ok(None);
    };
    let listen = wanted.listen;
    let server =
        Server::start(wanted).with_context(|| format!("the emulator cannot start at {listen}"))?;
    options.b2.endpoint = server.endpoint();
    server.key_id().clone_into(&mut options.b2.key_id);
    options.b2.key = Secret::new(server.key());
    options.b2.bucket_id = None;
    options.b2.bucket_name = Some(server.bucket_name().to_owned());
    Ok(Some(server))
}

/// The line that says it is mounted, and with an emulator what to try.
fn introduction(
    options: &Options,
    appearance: &Appearance,
    point: &str,
    server: Option<&Server>,
) -> String {
    let below = match options.vfs.prefix.as_str() {
        "" => String::new(),
        prefix => format!("/{}", prefix.trim_end_matches('/')),
    };
    let mode = if appearance.read_only {
        ", read-only"
    } else {
        ""
    };
    let mut text = format!("{}{below} is mounted on {point}{mode}", appearance.bucket);
    let (Some(server), Some(emulator)) = (server, &options.emulator) else {
        return text;
    };
    let kept = match &emulator.dir {
        Some(dir) => format!("its content is kept in {}", dir.display()),
        None => "its content is in memory and vanishes at the end".to_owned(),
    };
    let _ = write!(
        text,
        "\nthis is an emulator of B2: {kept}\n\
         try:   cp /etc/passwd {point}/ ; ls -l {point} ; cat {point}/passwd.sha1\n\
         end:   Ctrl-C, or: fusermount3 -u {point}"
    );
    if emulator.listen.port() != 0 {
        let _ = write!(
            text,
            "\nother clients: endpoint {} key id {} key {} bucket {}",
            server.endpoint(),
            server.key_id(),
            server.key(),
            server.bucket_name()
        );
    }
    text
}

/// What is said already goes to stdout as it is.
pub fn tell_bytes(said: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(said);
    let _ = out.flush();
}

/// A line on stdout; a reader that has gone away is no reason to end.
pub fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// A message on stderr, and in the log file if there is one, behind those that wait; a reader that has stopped is no reason
/// to wait for long.
pub fn say(text: &str) {
    messages::say(text);
    messages::drain();
}
