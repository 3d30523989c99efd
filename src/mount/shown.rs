//! One line on the terminal of a foreground mount, renewed in place: what is on its way, as long as something is.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::ending::{human, to_store};
use super::messages;
use crate::b2::Client;
use crate::vfs::Vfs;

/// Between two looks; what is over before the next one is not shown.
const EVERY: Duration = Duration::from_secs(1);
/// Of a rate, the new one counts so much: parts and files come in lumps.
const NEW: f64 = 0.3;
/// Less in a second is no transfer worth a line.
const LEAST: f64 = 16_384.0;
/// Columns, where the terminal does not tell.
const WIDTH: usize = 80;

/// Taken away when dropped.
pub(super) struct Shown(JoinHandle<()>);

impl Shown {
    /// `None` without a terminal, or where nobody wants to be told.
    pub(super) fn begin(client: Client, vfs: Vfs, background: bool) -> Option<Self> {
        let wanted = log::max_level() >= log::LevelFilter::Info;
        if background || !wanted || !std::io::stderr().is_terminal() {
            return None;
        }
        Some(Self(tokio::spawn(show(client, vfs))))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.abort();
        messages::renew(String::new());
    }
}

async fn show(client: Client, vfs: Vfs) {
    let (mut up, mut down) = (Rate::default(), Rate::default());
    let mut shown = false;
    loop {
        tokio::time::sleep(EVERY).await;
        let counters = client.counters();
        let now = Instant::now();
        up.note(now, counters.bytes_up);
        down.note(now, counters.bytes_down);
        let pending = vfs.pending();
        let busy = pending.files > 0 || pending.removals > 0;
        if !busy && down.bytes < LEAST {
            if std::mem::take(&mut shown) {
                messages::renew(String::new());
            }
            continue;
        }
        shown = true;
        let mut parts = Vec::new();
        if busy {
            parts.push(to_store(&pending));
            parts.extend(up.told("sending"));
        }
        parts.extend(down.told("receiving"));
        let width = terminal_size::terminal_size_of(std::io::stderr());
        // The last column is left free: some terminals would begin a new line.
        let width = width
            .map_or(WIDTH, |(width, _)| usize::from(width.0))
            .max(2)
            - 1;
        messages::renew(parts.join(", ").chars().take(width).collect());
    }
}

/// Bytes a second, smoothed.
#[derive(Debug, Default)]
struct Rate {
    before: Option<(Instant, u64)>,
    bytes: f64,
}

impl Rate {
    /// So many in all until now.
    fn note(&mut self, now: Instant, all: u64) {
        if let Some((then, before)) = self.before.replace((now, all)) {
            let seconds = now.saturating_duration_since(then).as_secs_f64().max(0.001);
            let rate = all.saturating_sub(before) as f64 / seconds;
            self.bytes += NEW * (rate - self.bytes);
        }
    }

    fn told(&self, what: &str) -> Option<String> {
        (self.bytes >= LEAST).then(|| format!("{what} {}/s", human(self.bytes as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_comes_and_goes() {
        let (mut rate, begin) = (Rate::default(), Instant::now());
        let mut all = 7;
        for second in 0..20 {
            rate.note(begin + second * EVERY, all);
            all += 2 << 20;
        }
        assert_eq!(rate.told("sending").as_deref(), Some("sending 2.0 MiB/s"));
        for second in 20..60 {
            rate.note(begin + second * EVERY, all);
        }
        assert_eq!(rate.told("sending"), None);
    }
}
