//! Where arriving bytes go: into memory, or into files of the emulator's directory.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::emulator::content::{Blob, Hasher, SEGMENT, Source};

/// Makes blobs.
#[derive(Debug)]
pub(in crate::emulator) struct Store {
    dir: Option<PathBuf>,
    last: AtomicU64,
    /// Blobs that die after this one leave their files in place.
    alive: Arc<()>,
}

impl Store {
    /// `dir` must exist; `last` is the greatest number in use.
    pub(in crate::emulator) fn new(dir: Option<PathBuf>, last: u64, alive: Arc<()>) -> Self {
        Self {
            dir,
            last: AtomicU64::new(last),
            alive,
        }
    }

    /// Takes in `len` bytes.
    pub(in crate::emulator) fn sink(&self, len: u64, with_md5: bool) -> io::Result<Sink> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let target = match &self.dir {
            None => Target::Memory {
                done: Vec::with_capacity(len.div_ceil(SEGMENT as u64).min(4096) as usize),
                filling: Vec::new(),
            },
            Some(dir) => {
                let path = dir.join(number.to_string());
                let file = File::options()
                    .create(true)
                    .truncate(true)
                    .write(true)
                    .mode(0o600)
                    .open(&path)?;
                Target::File {
                    file,
                    path,
                    alive: self.alive.clone(),
                }
            }
        };
        Ok(Sink {
            number,
            len,
            taken: 0,
            hasher: Hasher::new(with_md5),
            target,
        })
    }
}

enum Target {
    Memory {
        done: Vec<Bytes>,
        filling: Vec<u8>,
    },
    File {
        file: File,
        path: PathBuf,
        alive: Arc<()>,
    },
    Done,
}

/// Bytes on their way in, hashed as they come.
pub(in crate::emulator) struct Sink {
    number: u64,
    len: u64,
    taken: u64,
    hasher: Hasher,
    target: Target,
}

impl Sink {
    /// The only copy that an upload is ever given.
    pub(in crate::emulator) fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        match &mut self.target {
            Target::File { file, .. } => {
                file.write_all(bytes)?;
                self.taken += bytes.len() as u64;
            }
            Target::Memory { done, filling } => {
                while !bytes.is_empty() {
                    if filling.capacity() == 0 {
                        let left = self.len.saturating_sub(self.taken).max(1);
                        filling.reserve_exact(left.min(SEGMENT as u64) as usize);
                    }
                    let room = filling.capacity().min(SEGMENT) - filling.len();
                    let (now, later) = bytes.split_at(room.min(bytes.len()));
                    filling.extend_from_slice(now);
                    self.taken += now.len() as u64;
                    bytes = later;
                    if filling.len() == SEGMENT || self.taken == self.len {
                        done.push(std::mem::take(filling).into());
                    }
                }
            }
            Target::Done => {}
        }
        Ok(())
    }

    /// All `len` bytes must have come.
    pub(in crate::emulator) fn finish(mut self) -> Blob {
        let hasher = std::mem::replace(&mut self.hasher, Hasher::new(false));
        let source = match std::mem::replace(&mut self.target, Target::Done) {
            Target::Memory { done, .. } => Source::Memory(done),
            Target::File { path, alive, .. } => Source::File {
                path,
                alive: Arc::downgrade(&alive),
            },
            Target::Done => Source::Memory(Vec::new()),
        };
        Blob {
            number: self.number,
            len: self.taken,
            source,
            hashes: Some(hasher.finish()),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Target::File { path, .. } = &self.target {
            // Left over files are removed at the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::content::Content;
    use crate::emulator::text::hex;

    #[test]
    fn what_goes_in_comes_out_of_memory_and_of_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let bytes: Vec<u8> = (0..2 * SEGMENT + 12345).map(|i| (i % 251) as u8).collect();
        for place in [None, Some(dir.path().to_owned())] {
            let store = Store::new(place, 0, Arc::new(()));
            let mut sink = store.sink(bytes.len() as u64, true).expect("opens");
            for chunk in bytes.chunks(70_001) {
                sink.push(chunk).expect("takes");
            }
            let content = Content::whole(Arc::new(sink.finish()));
            let mut reader = content.reader();
            let mut read = Vec::new();
            while let Some(part) = reader.next().expect("reads") {
                read.extend_from_slice(&part);
            }
            assert!(read == bytes);
        }
    }

    #[test]
    fn the_hash_of_nothing_is_known() {
        let store = Store::new(None, 0, Arc::new(()));
        let blob = store.sink(0, true).expect("opens").finish();
        let hashes = blob.hashes.expect("hashed");
        assert_eq!(
            hex(&hashes.sha1),
            "da39a3ee5e6b4b0d3255bfef95601890afd80709"
        );
        assert_eq!(
            hashes.md5.map(|digest| hex(&digest)).as_deref(),
            Some("d41d8cd98f00b204e9800998ecf8427e")
        );
    }

    #[test]
    fn files_of_dropped_blobs_go_while_the_server_lives_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let alive = Arc::new(());
        let store = Store::new(Some(dir.path().to_owned()), 0, alive.clone());
        let first = store.sink(0, false).expect("opens").finish();
        let second = store.sink(0, false).expect("opens").finish();
        drop(store.sink(9, false).expect("opens"));
        drop(first);
        assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 1);
        drop((store, alive));
        drop(second);
        assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 1);
    }
}
