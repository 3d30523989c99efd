//! What is copied into the mounts: trees that depend on a seed alone, and what the bucket shows when they are in it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use super::frame::server::Tally;

/// Size of the small files.
pub(crate) const SMALL: u64 = 4096;
/// Seconds after which a program is taken for hanging.
const HANGS_AFTER: &str = "3000";

/// `count` files of 4 KiB of noise, `each` of them in every folder; names are `NN/f00000`.
pub(crate) fn small_files(root: &Path, count: u64, each: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(count);
    let mut content = vec![0; SMALL as usize];
    for number in 0..count {
        let folder = root.join(format!("{:02}", number / each));
        if number % each == 0 {
            fs::create_dir_all(&folder)?;
        }
        random.fill(&mut content);
        put(&folder.join(format!("f{number:05}")), &content)?;
    }
    date_folders(root)
}

/// Files as in a program's sources: in folders of folders, of some hundred bytes to some ten thousand, of words.
pub(crate) fn sources(root: &Path, count: u64) -> Result<()> {
    const WORDS: &[&str] = &[
        "let", "match", "self", "pub", "fn", "result", "value", "{\n", "}\n", ";\n", "(", ")", "//",
    ];
    let mut random = fastrand::Rng::with_seed(1);
    for number in 0..count {
        let (part, module) = (number / 100, number / 15 % 7);
        let folder = root.join(format!("part{part:02}/src/module{module}"));
        fs::create_dir_all(&folder)?;
        let size = 200 << random.u32(0..8);
        let mut text = format!("// file {number}\n");
        while text.len() < size {
            text.push_str(random.choice(WORDS).copied().unwrap_or_default());
            text.push(' ');
        }
        put(&folder.join(format!("file{number}.rs")), text.as_bytes())?;
    }
    date_folders(root)
}

/// The time of everything: whole seconds, which every B2 client can keep.
fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000)
}

fn put(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content)?;
    let file = fs::File::options().write(true).open(path)?;
    Ok(file.set_modified(time())?)
}

/// Else a folder's time might by chance be in the second in which a copy of it is made.
fn date_folders(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            date_folders(&entry.path())?;
        }
    }
    Ok(fs::File::open(root)?.set_modified(time())?)
}

/// What the bucket shows when all that is under `root` has been stored.
pub(crate) fn tally(root: &Path) -> Result<Tally> {
    let mut sum = Tally { files: 0, bytes: 0 };
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_dir() {
            let inner = tally(&entry.path())?;
            sum.files += inner.files;
            sum.bytes += inner.bytes;
        } else if about.len() > 0 {
            sum.files += 1;
            sum.bytes += about.len();
        }
    }
    Ok(sum)
}

/// A program that is ended when it hangs, and that no configuration of the machine reaches.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", HANGS_AFTER, name])
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// Runs to success; what it wrote.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.output().context("timeout (coreutils) starts")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or_default();
        let arguments: Vec<_> = command.get_args().skip(2).take(2).collect();
        bail!("{arguments:?} ended with {}: {said}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A line of shell with `$1`, `$2`... from `arguments`.
pub(crate) fn shell(line: &str, arguments: &[&Path]) -> Result<String> {
    run(program("bash")
        .args(["-euo", "pipefail", "-c", line, "bash"])
        .args(arguments))
}
