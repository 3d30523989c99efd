//! How far the end of a mount is, in a line now and then; without a clock, time is passed in.

use std::collections::VecDeque;
use std::time::Duration;

use crate::vfs::Pending;

/// What the user is told while the end goes on.
#[derive(Debug)]
pub(super) struct Progress {
    /// Somebody watches: silence would look like a standstill.
    watched: bool,
    /// What was told last, and when.
    told: Option<(Duration, String)>,
    /// Unsent bytes at moments before, for the rate.
    before: VecDeque<(Duration, u64)>,
}

impl Progress {
    /// How often it may be asked for a line.
    pub(super) const EVERY: Duration = Duration::from_secs(1);
    /// A rate is that of so much time: parts and files come in lumps.
    const RATE_OVER: Duration = Duration::from_secs(30);

    pub(super) fn new(watched: bool) -> Self {
        Self {
            watched,
            told: None,
            before: VecDeque::new(),
        }
    }

    /// The line to be said now, if any; where nothing has changed there are fewer.
    pub(super) fn line(&mut self, now: Duration, pending: &Pending) -> Option<String> {
        let rate = self.rate(now, pending.unsent);
        // An error that is another one each time (it tells how long was tried) is no news.
        let state = format!(
            "{} {} {}",
            togo(pending),
            pending.last.is_some(),
            pending.hopeless
        );
        let patience = Duration::from_secs(if self.watched { 10 } else { 60 });
        if let Some((at, last)) = &self.told
            && (now < *at + Self::EVERY || (*last == state && now < *at + patience))
        {
            return None;
        }
        let speed = match rate {
            0 => String::new(),
            rate => format!(
                ", {}/s, {} left",
                human(rate),
                span(pending.unsent.div_ceil(rate))
            ),
        };
        let line = format!(
            "storing: {}{speed}{} (once more Ctrl-C gives up)",
            togo(pending),
            trouble(pending)
        );
        self.told = Some((now, state));
        Some(line)
    }

    /// Bytes a second that B2 has taken lately.
    fn rate(&mut self, now: Duration, unsent: u64) -> u64 {
        self.before.push_back((now, unsent));
        while self.before.len() > 2
            && self
                .before
                .get(1)
                .is_some_and(|(at, _)| now.saturating_sub(*at) >= Self::RATE_OVER)
        {
            self.before.pop_front();
        }
        let Some((at, then)) = self.before.front() else {
            return 0;
        };
        let millis = now.saturating_sub(*at).as_millis() as u64;
        then.saturating_sub(unsent).saturating_mul(1000) / millis.max(1)
    }
}

/// What has failed last, and whether waiting helps.
fn trouble(pending: &Pending) -> String {
    let Some(last) = &pending.last else {
        return String::new();
    };
    let hopeless = match pending.hopeless {
        0 => String::new(),
        all if all == pending.files => "; this does not pass by waiting alone".to_owned(),
        some => format!("; {some} of them do not pass by waiting alone"),
    };
    format!("; last error: {}{hopeless}", last.text)
}

fn togo(pending: &Pending) -> String {
    format!("{} to go", amount(pending))
}

/// What is still in memory only, for the service manager.
pub(in crate::mount) fn to_store(pending: &Pending) -> String {
    format!("{} to store", amount(pending))
}

fn amount(pending: &Pending) -> String {
    let files = match pending.files {
        1 => "1 file".to_owned(),
        files => format!("{files} files"),
    };
    let removals = match pending.removals {
        0 => String::new(),
        1 => ", 1 removal".to_owned(),
        removals => format!(", {removals} removals"),
    };
    format!("{files}, {}{removals}", human(pending.unsent))
}

/// `90` is `1 min 30 s`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `1536` is `1.5 KiB`.
pub fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "bytes" {
                format!("{bytes} bytes")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::vfs::{Failure, Prospect};

    const SECOND: Duration = Duration::from_secs(1);

    fn pending(files: usize, unsent: u64, removals: usize) -> Pending {
        Pending {
            files,
            unsent,
            removals,
            ..Pending::default()
        }
    }

    #[test]
    fn progress_is_told_in_human_units() {
        assert_eq!(human(0), "0 bytes");
        assert_eq!(human(1023), "1023 bytes");
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(5 << 30), "5.0 GiB");
        assert_eq!(human(3 << 40), "3.0 TiB");
        assert_eq!(span(59), "59 s");
        assert_eq!(span(90), "1 min 30 s");
        assert_eq!(span(7500), "2 h 5 min");
        assert_eq!(togo(&pending(1, 2 << 20, 0)), "1 file, 2.0 MiB to go");
        assert_eq!(togo(&pending(2, 0, 1)), "2 files, 0 bytes, 1 removal to go");
        assert_eq!(
            togo(&pending(0, 0, 9)),
            "0 files, 0 bytes, 9 removals to go"
        );
    }

    #[test]
    fn a_line_tells_rate_and_time_left_and_the_last_error() {
        let mut progress = Progress::new(true);
        let first = progress.line(SECOND, &pending(3, 10 << 20, 0));
        assert_eq!(
            first.as_deref(),
            Some("storing: 3 files, 10.0 MiB to go (once more Ctrl-C gives up)")
        );
        let mut later = pending(2, 8 << 20, 0);
        later.last = Some(Failure {
            text: "no network".to_owned(),
            prospect: Prospect::Passes,
            since: Instant::now(),
            at: Instant::now(),
        });
        assert_eq!(
            progress.line(3 * SECOND, &later).as_deref(),
            Some(
                "storing: 2 files, 8.0 MiB to go, 1.0 MiB/s, 8 s left; last error: no network \
                 (once more Ctrl-C gives up)"
            )
        );
        later.hopeless = 2;
        later.unsent = 0;
        let line = progress.line(4 * SECOND, &later).expect("it has changed");
        assert!(
            line.contains("no network; this does not pass by waiting alone"),
            "{line}"
        );
    }

    #[test]
    fn where_nothing_changes_little_is_said() {
        let lines = |watched, seconds: u32| {
            let mut progress = Progress::new(watched);
            let said =
                (0..10 * seconds).filter_map(|i| progress.line(SECOND / 10 * i, &pending(1, 7, 0)));
            said.count()
        };
        assert_eq!(lines(true, 60), 6);
        assert_eq!(lines(false, 600), 10);
        let mut progress = Progress::new(false);
        let said = (0..100)
            .filter_map(|i| progress.line(SECOND / 10 * i, &pending(1, 100 - u64::from(i), 0)));
        assert_eq!(said.count(), 10, "one a second at most");
    }
}
