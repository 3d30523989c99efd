//! What the rows share: the bytes that are read and written, and how each contender is mounted at its best.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use b2fuse::emulator::seeded_content;
use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::frame::MIB;
use super::frame::bare::FILE;
use super::frame::curl::Upload;
use super::frame::mount::Mount;
use super::frame::options::Options;
use super::frame::rclone::{self, Mode};
use super::frame::server::{Line, Server};

/// How programs read and write.
const STEP: usize = MIB as usize;
/// B2 takes no more in one upload.
const LARGEST_UPLOAD: u64 = 5_000_000_000;

/// The same in every row.
pub(crate) struct World {
    pub(crate) options: Options,
    /// The seeded content of [`FILE`]; also what is written.
    content: OnceCell<(Bytes, String)>,
    files: OnceCell<(Upload, Vec<File>)>,
    rclone: PathBuf,
}

impl World {
    pub(crate) fn new(options: Options) -> Result<Self> {
        Ok(Self {
            options,
            content: OnceCell::new(),
            files: OnceCell::new(),
            rclone: rclone::program()?,
        })
    }

    /// The bytes of sequential rows and their SHA-1.
    pub(crate) fn content(&self) -> &(Bytes, String) {
        self.content.get_or_init(|| {
            let mut content = vec![0; self.options.size() as usize];
            seeded_content(FILE, 0, &mut content);
            let sha1 = sha1(&content);
            (content.into(), sha1)
        })
    }

    /// The same in files for curl, in memory where the machine has `/dev/shm`. They have no names, so that none is
    /// left behind whatever happens.
    pub(crate) fn files(&self) -> Result<&Upload> {
        if self.files.get().is_none() {
            let (content, sha1) = self.content();
            let mut files = Vec::new();
            let whole = nameless(content, &mut files)?;
            let mut parts = Vec::new();
            let part = content.len().div_ceil(self.options.streams.max(1) as usize);
            for bytes in content.chunks(part) {
                parts.push((nameless(bytes, &mut files)?, self::sha1(bytes)));
            }
            let upload = Upload {
                whole,
                sha1: sha1.clone(),
                parts,
                size: content.len() as u64,
            };
            let _ = self.files.set((upload, files));
        }
        let (upload, _) = self.files.get().context("just set")?;
        Ok(upload)
    }

    /// A server that holds [`FILE`].
    pub(crate) fn server_with_file(&self, line: Line) -> Result<Server> {
        let server = Server::start(line)?;
        let (content, sha1) = self.content();
        let size = content.len() as u64;
        // Real bytes cost the server less than seeded ones, but on a slow line they would take their time,
        // and there the server's cost does not matter.
        if line.bandwidth.is_none() && size <= LARGEST_UPLOAD {
            server.upload(FILE, content.clone(), sha1)?;
        } else {
            server.seed(FILE, size, Some(sha1))?;
        }
        Ok(server)
    }

    pub(crate) fn b2fuse(&self, server: &Server, config: &str) -> Result<Mount> {
        Mount::b2fuse(server, &self.options.config(config)?)
    }

    pub(crate) fn rclone(&self, server: &Server, mode: Mode, flags: &[&str]) -> Result<Mount> {
        rclone::mount(server, &self.rclone, mode, flags, &self.options)
    }
}

/// A file without a name, and the path by which others can open it while we hold it.
fn nameless(bytes: &[u8], held: &mut Vec<File>) -> Result<PathBuf> {
    let memory = Path::new("/dev/shm");
    let mut file = if memory.is_dir() {
        tempfile::tempfile_in(memory)?
    } else {
        tempfile::tempfile()?
    };
    file.write_all(bytes)?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    held.push(file);
    Ok(path.into())
}

fn sha1(bytes: &[u8]) -> String {
    let hex = |byte: &u8| format!("{byte:02x}");
    Sha1::digest(bytes).iter().map(hex).collect()
}

/// Reads a file from end to end and looks at some bytes of each step; seconds to the first step's end, and in all.
pub(crate) fn read_through(path: &Path, name: &str, size: u64) -> Result<(f64, f64)> {
    let mut buffer = vec![0; STEP];
    let mut offset = 0;
    let mut first = None;
    let started = Instant::now();
    let mut file = File::open(path)?;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        first.get_or_insert_with(|| started.elapsed().as_secs_f64());
        check(name, offset, &buffer[..read.min(64)])?;
        offset += read as u64;
    }
    let total = started.elapsed().as_secs_f64();
    if offset != size {
        bail!("{name} ended after {offset} bytes of {size}");
    }
    Ok((first.unwrap_or(total), total))
}

/// Reads one stretch and looks at some bytes of it.
pub(crate) fn read_at(file: &File, name: &str, offset: u64, buffer: &mut [u8]) -> Result<()> {
    file.read_exact_at(buffer, offset)?;
    check(name, offset, &buffer[..buffer.len().min(64)])
}

fn check(name: &str, offset: u64, found: &[u8]) -> Result<()> {
    let mut wanted = [0; 64];
    let wanted = &mut wanted[..found.len()];
    seeded_content(name, offset, wanted);
    if found != wanted {
        bail!("{name} has wrong bytes at {offset}");
    }
    Ok(())
}

/// Writes a new file in steps and closes it, and sees to it that an error of the close is known.
pub(crate) fn write_through(path: &Path, content: &[u8], size: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let mut left = size as usize;
    while left > 0 {
        let from = (size as usize - left) % content.len();
        let step = STEP.min(left).min(content.len() - from);
        file.write_all(&content[from..from + step])?;
        left -= step;
    }
    close(file)
}

/// As `drop`, but with the result.
pub(crate) fn close(file: File) -> Result<()> {
    nix::unistd::close(file).context("close")
}
