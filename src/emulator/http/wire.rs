//! One TCP connection: limited in speed where asked, and able to end in a reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::emulator::exchange::request::Line;

/// Lets `rate` bytes per second through, in steps small enough to look like a line of that speed.
#[derive(Debug)]
struct Throttle {
    rate: u64,
    /// When the bytes let through so far have gone.
    gone: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// Lost time that may be made up for; hides the timer's coarseness.
const SLACK: Duration = Duration::from_millis(20);

impl Throttle {
    fn new(rate: u64) -> Self {
        Self {
            rate: rate.max(1),
            gone: Instant::now(),
            sleep: None,
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        Poll::Ready((self.rate / 100).clamp(1 << 10, 256 << 10) as usize)
    }

    fn used(&mut self, bytes: usize) {
        let now = Instant::now();
        let began = now
            .checked_sub(SLACK)
            .map_or(now, |early| self.gone.max(early));
        self.gone = began + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        if self.gone > now {
            self.sleep = Some(Box::pin(tokio::time::sleep_until(self.gone)));
        }
    }
}

pub(super) struct Wire {
    stream: TcpStream,
    line: Arc<Line>,
    incoming: Option<Throttle>,
    outgoing: Option<Throttle>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, line: Arc<Line>, bandwidth: Option<u64>) -> Self {
        Self {
            stream,
            line,
            incoming: bandwidth.map(Throttle::new),
            outgoing: bandwidth.map(Throttle::new),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.line.is_reset() {
            // Without it the client sees an ordinary end, which is also a fault.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(throttle) = &mut this.incoming else {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        };
        let most = ready!(throttle.poll_ready(cx)).min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        throttle.used(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(throttle) = &mut this.outgoing else {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        };
        let most = ready!(throttle.poll_ready(cx)).min(bytes.len());
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &bytes[..most]))?;
        throttle.used(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.outgoing.is_none() {
            return Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        }
        let first = slices.iter().find(|slice| !slice.is_empty());
        Pin::new(this).poll_write(cx, first.map_or(&[], |slice| slice))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
