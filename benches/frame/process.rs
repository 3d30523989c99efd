//! A child process that ends with us, and what the kernel knows of its memory and CPU time.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// Units of `/proc/PID/stat`: `USER_HZ`, 100 on every Linux.
const TICKS: f64 = 100.0;
/// How long a process may take to end; a guard, no measure.
const PATIENCE: Duration = Duration::from_secs(900);

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// The most memory it ever held, in bytes; none when it has ended.
    pub(crate) peak_rss: Option<u64>,
    /// What it holds now, in bytes; none when it has ended.
    pub(crate) rss: Option<u64>,
    /// Seconds of CPU, user and system.
    pub(crate) cpu: f64,
}

/// A running process; terminated, and waited for, when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command` so that it gets SIGTERM when the thread that called ends. What it says goes to `log`.
    pub(crate) fn start(command: &Command, log: &Path) -> Result<Self> {
        let log = File::create(log).context("a file for messages")?;
        let mut tied = tied(command);
        tied.stdout(log.try_clone()?).stderr(log);
        Self::spawn(tied, command)
    }

    /// The same with a pipe in and a pipe out.
    pub(crate) fn piped(command: &Command) -> Result<Self> {
        let mut tied = tied(command);
        tied.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self::spawn(tied, command)
    }

    fn spawn(mut tied: Command, command: &Command) -> Result<Self> {
        let name = Path::new(command.get_program());
        let name = name.file_name().unwrap_or_default().to_string_lossy();
        let child = tied
            .spawn()
            .with_context(|| format!("cannot start {name} through setpriv (util-linux)"))?;
        Ok(Self {
            child,
            name: name.into_owned(),
        })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        usage(self.child.id())
    }

    /// Sends SIGTERM and waits.
    pub(crate) fn terminate(&mut self) -> Result<ExitStatus> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        if self.ended()?.is_none() {
            kill(pid, Signal::SIGTERM)?;
        }
        self.wait()
    }

    /// Waits for an end that something else has caused.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if started.elapsed() > PATIENCE {
                self.child.kill()?;
                self.child.wait()?;
                bail!("{} did not end", self.name);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for an end that comes by itself; what it wrote to its pipe, and its CPU time.
    pub(crate) fn finish(mut self) -> Result<(String, Usage)> {
        let mut said = String::new();
        if let Some(mut out) = self.child.stdout.take() {
            out.read_to_string(&mut said)?;
        }
        // Left as a zombie, it can still be asked.
        let pid = Pid::from_raw(self.child.id().cast_signed());
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
        let usage = self.usage()?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok((said, usage))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing better is known than to go on.
        let _ = self.terminate();
    }
}

/// `command`, started by a helper that has it terminated when its parent goes.
fn tied(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "TERM"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        tied.current_dir(folder);
    }
    tied
}

fn usage(pid: u32) -> Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold blanks; user and system time are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || -> Result<f64> { Ok(fields.next().context("a time")?.parse()?) };
    let cpu = (ticks()? + ticks()?) / TICKS;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let memory = |name: &str| -> Result<Option<u64>> {
        let kib = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = kib.map(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>());
        Ok(kib.transpose()?.map(|kib| kib * 1024))
    };
    Ok(Usage {
        peak_rss: memory("VmHWM:")?,
        rss: memory("VmRSS:")?,
        cpu,
    })
}
