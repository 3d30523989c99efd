//! The numbers of a mount in Prometheus' text format, version 0.0.4: pure, from snapshots.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use crate::b2::{BOUNDS_MS, CallTimes};
use crate::vfs::Stats;

/// What the numbers are of.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) bucket: String,
    pub(super) mountpoint: String,
    /// Seconds since 1970.
    pub(super) started: f64,
}

/// One moment.
#[derive(Debug)]
pub(super) struct Moment<'a> {
    pub(super) stats: &'a Stats,
    pub(super) times: &'a [CallTimes],
    /// For how long calls have not got through.
    pub(super) trouble: Option<Duration>,
    /// Resident memory in bytes, and seconds of processor time, where the system tells.
    pub(super) process: Option<(u64, f64)>,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

/// Builds the text, a family at a time.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // A String takes everything.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{open}{label}=\"{}\"", escaped(value));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    text
}

/// All of it.
pub(super) fn text(subject: &Subject, moment: &Moment<'_>) -> String {
    let mut out = Text::default();
    out.family(
        "b2fuse_info",
        "gauge",
        "What is mounted where, and by which version.",
    );
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("bucket", &subject.bucket),
        ("mountpoint", &subject.mountpoint),
    ];
    out.sample("b2fuse_info", &labels, 1);
    out.one(
        "b2fuse_start_time_seconds",
        "gauge",
        "When the mount began, in seconds since 1970.",
        subject.started,
    );
    calls(&mut out, moment);
    reads(&mut out, moment.stats);
    held(&mut out, moment.stats);
    if let Some((resident, seconds)) = moment.process {
        out.one(
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory of the process.",
            resident,
        );
        out.one(
            "process_cpu_seconds_total",
            "counter",
            "Processor time that the process has taken.",
            seconds,
        );
    }
    out.0
}

fn calls(out: &mut Text, moment: &Moment<'_>) {
    let b2 = &moment.stats.b2;
    let name = "b2fuse_b2_tries_total";
    out.family(name, "counter", "Tries of calls to B2.");
    for (call, count) in &b2.calls {
        out.sample(name, &[("call", call)], count);
    }
    let name = "b2fuse_b2_failed_tries_total";
    out.family(
        name,
        "counter",
        "Tries that failed, by HTTP status, or network (no answer), answer (it makes no sense), content (wrong bytes).",
    );
    for times in moment.times {
        for (why, count) in &times.failed {
            out.sample(name, &[("call", times.call), ("why", why)], count);
        }
    }
    let name = "b2fuse_b2_try_duration_seconds";
    out.family(
        name,
        "histogram",
        "Times of tries, from sending to the answer.",
    );
    for times in moment.times {
        let bounds = BOUNDS_MS
            .iter()
            .map(|bound| (*bound as f64 / 1000.0).to_string());
        let bounds = bounds.chain(std::iter::once("+Inf".to_owned()));
        for (bound, count) in bounds.zip(times.within) {
            let labels = [("call", times.call), ("le", bound.as_str())];
            out.sample(&format!("{name}_bucket"), &labels, count);
        }
        let labels = [("call", times.call)];
        out.sample(&format!("{name}_sum"), &labels, times.sum.as_secs_f64());
        let all = times.within.last().copied().unwrap_or(0);
        out.sample(&format!("{name}_count"), &labels, all);
    }
    let name = "b2fuse_b2_transactions_total";
    out.family(
        name,
        "counter",
        "Transactions by the class that Backblaze bills.",
    );
    for (class, count) in [("A", b2.class_a), ("B", b2.class_b), ("C", b2.class_c)] {
        out.sample(name, &[("class", class)], count);
    }
    let counters = [
        (
            "b2fuse_b2_sent_bytes_total",
            "Bytes of file content sent, repeated tries included.",
            b2.bytes_up,
        ),
        (
            "b2fuse_b2_received_bytes_total",
            "Bytes of file content received.",
            b2.bytes_down,
        ),
        (
            "b2fuse_b2_retries_total",
            "Tries beyond the first of their calls.",
            b2.retries,
        ),
        (
            "b2fuse_b2_authorizations_total",
            "Times that the account token was renewed.",
            b2.reauthorizations,
        ),
    ];
    for (name, help, value) in counters {
        out.one(name, "counter", help, value);
    }
    out.one(
        "b2fuse_b2_trouble_seconds",
        "gauge",
        "For how long calls have not got through; 0 while they do.",
        moment.trouble.map_or(0, |trouble| trouble.as_secs()),
    );
}

fn reads(out: &mut Text, stats: &Stats) {
    let reads = &stats.reads;
    let name = "b2fuse_reads_total";
    out.family(
        name,
        "counter",
        "Reads of the kernel, by what they were answered from.",
    );
    for (from, count) in [("memory", reads.from_memory), ("b2", reads.waited)] {
        out.sample(name, &[("from", from)], count);
    }
    let name = "b2fuse_read_bytes_total";
    out.family(
        name,
        "counter",
        "Bytes given to programs, and whether they were compared with a stored SHA-1.",
    );
    for (compared, bytes) in [("yes", reads.verified), ("no", reads.unverified)] {
        out.sample(name, &[("compared", compared)], bytes);
    }
    out.one(
        "b2fuse_resent_unverified_bytes_total",
        "counter",
        "Bytes of stored files that were sent again and could not be compared.",
        reads.resent_unverified,
    );
}

fn held(out: &mut Text, stats: &Stats) {
    let (memory, queue) = (&stats.memory, &stats.queue);
    let gauges = [
        (
            "b2fuse_memory_limit_bytes",
            "The setting memory.",
            memory.limit,
        ),
        (
            "b2fuse_memory_used_bytes",
            "Cache, read-ahead and unsent writes.",
            memory.used,
        ),
        (
            "b2fuse_memory_unsent_bytes",
            "Written, and not acknowledged by B2.",
            memory.unsent,
        ),
        (
            "b2fuse_memory_peak_bytes",
            "The most that was in use.",
            memory.peak,
        ),
        (
            "b2fuse_known_names",
            "Files and directories in memory.",
            stats.names.known as u64,
        ),
        (
            "b2fuse_pending_files",
            "Files, markers and attributes that B2 does not have yet.",
            queue.files as u64,
        ),
        ("b2fuse_pending_bytes", "Bytes in these files.", queue.bytes),
        (
            "b2fuse_pending_removals",
            "Names that B2 is being asked to remove.",
            queue.removals as u64,
        ),
        (
            "b2fuse_not_stored",
            "Of what is pending, how much has failed.",
            stats.not_stored.count as u64,
        ),
    ];
    for (name, help, value) in gauges {
        out.one(name, "gauge", help, value);
    }
}

/// Whether all is well, and else why not, without a path.
pub(super) fn health(stats: &Stats, trouble: Option<Duration>) -> Result<(), String> {
    if let Some(trouble) = trouble {
        return Err(format!(
            "calls to B2 have not got through for {} s",
            trouble.as_secs()
        ));
    }
    match stats.not_stored.count {
        0 => Ok(()),
        1 => Err("1 thing could not be stored; it is tried again".to_owned()),
        count => Err(format!(
            "{count} things could not be stored; they are tried again"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.sample("x", &[("a", "q\"\\\n"), ("b", "ü")], 1.5);
        text.sample("y", &[], 2);
        assert_eq!(text.0, "x{a=\"q\\\"\\\\\\n\",b=\"ü\"} 1.5\ny 2\n");
    }
}
