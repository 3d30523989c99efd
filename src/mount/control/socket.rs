//! The socket: who may connect, how many at once, lines in and out.
//!
//! Each connection has a task of its own; one that says nothing for a minute, or takes no answer, is closed. What is
//! asked for ends when its connection is closed.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Interest, Ready,
};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Control;
use super::protocol::{Fault, Kind, LINE_MAX, answer_line, request_of};

/// Connections at once.
const MOST: usize = 8;
/// How long one may say nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// How long an answer may take to be taken.
const UNTAKEN: Duration = Duration::from_secs(10);

/// The listening socket; dropped, it is gone.
#[derive(Debug)]
pub(in crate::mount) struct Socket {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Socket {
    /// Listens at a path in a directory that only its user may enter. Must be called inside a tokio runtime.
    pub(in crate::mount) fn listen(path: &Path, control: Control) -> io::Result<Self> {
        // The directory is this user's own, and the name has this process's number in it: it is of one that has ended.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let task = tokio::spawn(accept(listener, control));
        Ok(Self {
            path: path.to_owned(),
            task,
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, control: Control) {
    let places = Arc::new(Semaphore::new(MOST));
    let owner = nix::unistd::geteuid().as_raw();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::debug!("control socket: {error}");
                // Out of descriptors, perhaps: not at once again.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let peer = stream.peer_cred().ok().map(|peer| peer.uid());
        let refusal = if !peer.is_some_and(|uid| may_ask(uid, owner)) {
            Some(Fault::new(
                Kind::Access,
                "only the user who has mounted it, and root, may ask",
            ))
        } else if places.available_permits() == 0 {
            Some(Fault::new(
                Kind::Busy,
                "too many ask at once: try again in a moment",
            ))
        } else {
            None
        };
        if let Some(fault) = refusal {
            // What a new connection takes at once; nobody waits for it.
            let _ = stream.try_write(&answer_line(Err(fault)));
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let control = control.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = serve(stream, control).await {
                log::debug!("control socket: {error}");
            }
        });
    }
}

/// Whether a user may ask the mount of another.
fn may_ask(uid: u32, owner: u32) -> bool {
    uid == owner || uid == 0
}

/// Answers one request after the other.
async fn serve(stream: UnixStream, control: Control) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let line = match timeout(SILENCE, read_line(&mut reader, LINE_MAX)).await {
            Err(_) => return Ok(()),
            Ok(line) => line?,
        };
        let request = match line {
            Line::End => return Ok(()),
            Line::TooLong => {
                let text = format!("a request has at most {LINE_MAX} bytes");
                let fault = Fault::new(Kind::Request, text);
                // Where the next line begins is not known.
                return write(&mut writer, &answer_line(Err(fault))).await;
            }
            Line::Whole(line) => request_of(&line),
        };
        let answer = match request {
            Err(fault) => Err(fault),
            Ok(request) => tokio::select! {
                answer = control.answer(request) => answer,
                () = gone(&mut reader, &writer) => return Ok(()),
            },
        };
        write(&mut writer, &answer_line(answer)).await?;
    }
}

async fn write(writer: &mut OwnedWriteHalf, line: &[u8]) -> io::Result<()> {
    timeout(UNTAKEN, writer.write_all(line))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Comes when the other end has gone. One that will say no more may still listen.
async fn gone(reader: &mut BufReader<OwnedReadHalf>, writer: &OwnedWriteHalf) {
    const LOOK: Duration = Duration::from_millis(200);
    let more = reader.fill_buf().await;
    if more.is_ok_and(|more| !more.is_empty()) {
        return std::future::pending().await;
    }
    while !writer
        .ready(Interest::WRITABLE)
        .await
        .is_ok_and(Ready::is_write_closed)
    {
        tokio::time::sleep(LOOK).await;
    }
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// Nothing more comes.
    End,
    /// Without its end.
    Whole(Vec<u8>),
    TooLong,
}

/// The next line, of which at most `most` bytes are kept in memory.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin), most: usize) -> io::Result<Line> {
    let mut line = Vec::new();
    loop {
        let piece = reader.fill_buf().await?;
        if piece.is_empty() {
            return Ok(Line::End);
        }
        let end = piece.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(piece.len());
        if line.len() + taken >= most {
            return Ok(Line::TooLong);
        }
        line.extend_from_slice(&piece[..taken]);
        reader.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(Line::Whole(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_root_may_ask() {
        assert!(may_ask(1000, 1000) && may_ask(0, 1000) && may_ask(0, 0));
        assert!(!may_ask(1001, 1000) && !may_ask(1000, 0));
    }

    #[tokio::test]
    async fn lines_are_read_one_by_one_and_long_ones_are_refused() {
        let mut input = &b"one\n\ntwo\nhalf"[..];
        for line in [&b"one"[..], b"", b"two"] {
            let read = read_line(&mut input, 10).await.expect("read");
            assert_eq!(read, Line::Whole(line.to_vec()));
        }
        // What has no end is no request.
        assert_eq!(read_line(&mut input, 10).await.expect("read"), Line::End);
        for (length, long) in [(8, false), (9, true), (100_000, true)] {
            let text = format!("{}x\n", "x".repeat(length));
            // In pieces of three bytes.
            let mut input = BufReader::with_capacity(3, text.as_bytes());
            let read = read_line(&mut input, 10).await.expect("read");
            assert_eq!(read == Line::TooLong, long, "{length}");
        }
    }
}
