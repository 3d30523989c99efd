//! Rows and bars, and the Markdown that shows them.

use std::fmt::Write as _;

use super::sample::Measured;
use super::{GIB, MIB};

/// What the values of a row are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    MibPerSecond,
    /// Time of a read, in latencies of the line.
    RoundTrips,
    /// Bytes downloaded for each byte asked for.
    DownPerAsked,
    Seconds,
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::MibPerSecond => format!("{value:.0} MiB/s"),
            Self::RoundTrips => format!("{value:.2} round trips"),
            Self::DownPerAsked => format!("{value:.2} x asked"),
            Self::Seconds => format!("{value:.2} s"),
        }
    }

    fn number(self, value: f64) -> String {
        let shown = self.show(value);
        shown.split(' ').next().unwrap_or_default().to_owned()
    }
}

/// What a contender should reach, and what it did.
#[derive(Debug)]
pub(crate) struct Bar {
    /// The contender's name.
    pub(crate) of: String,
    /// Of what `reached` is a share, or what it counts.
    pub(crate) what: String,
    pub(crate) reached: f64,
    pub(crate) wanted: f64,
    pub(crate) at_least: bool,
}

impl Bar {
    /// The contender's share of a limit, where both were measured.
    pub(crate) fn share(
        results: &[Measured],
        of: &str,
        limit: Option<(String, f64)>,
        wanted: f64,
    ) -> Option<Self> {
        let value = results.iter().find(|m| m.name == of)?.value()?;
        let (what, limit) = limit?;
        Some(Self {
            of: of.to_owned(),
            what: format!("of {what}"),
            reached: value / limit,
            wanted,
            at_least: true,
        })
    }

    /// A value that must not be exceeded.
    pub(crate) fn ceiling(
        results: &[Measured],
        of: &str,
        what: &str,
        wanted: f64,
        value: impl Fn(&Measured) -> Option<f64>,
    ) -> Option<Self> {
        let reached = value(results.iter().find(|m| m.name == of)?)?;
        Some(Self {
            of: of.to_owned(),
            what: what.to_owned(),
            reached,
            wanted,
            at_least: false,
        })
    }

    fn is_met(&self) -> bool {
        if self.at_least {
            self.reached >= self.wanted
        } else {
            self.reached <= self.wanted
        }
    }

    fn cell(&self) -> String {
        let sign = if self.at_least { "≥" } else { "≤" };
        let verdict = if self.is_met() { "" } else { ", **missed**" };
        let (reached, wanted) = (number(self.reached), number(self.wanted));
        format!("{reached} {} ({sign} {wanted}{verdict})", self.what)
    }
}

fn number(value: f64) -> String {
    if value >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// A finished row.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) title: String,
    pub(crate) unit: Unit,
    pub(crate) results: Vec<Measured>,
    pub(crate) bars: Vec<Bar>,
}

impl Row {
    /// The fastest of those whose names start so.
    pub(crate) fn best<'a>(results: &'a [Measured], start: &str) -> Option<(&'a str, f64)> {
        results
            .iter()
            .filter(|m| m.name.starts_with(start))
            .filter_map(|m| Some((m.name.as_str(), m.value()?)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// One table of all rows.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let head = [
        "work",
        "by",
        "median",
        "range",
        "first data",
        "peak RSS",
        "CPU s/GiB",
        "down",
        "up",
        "calls",
        "bar",
    ];
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        for (index, measured) in row.results.iter().enumerate() {
            let title = if index == 0 { row.title.as_str() } else { "" };
            let cells = cells(row, measured);
            let _ = writeln!(out, "| {title} | {} |", cells.join(" | ")); // a String takes everything
        }
    }
    out
}

fn cells(row: &Row, m: &Measured) -> Vec<String> {
    if let Some(failure) = &m.failure {
        // The whole of it went to stderr.
        let failure = failure.lines().next().unwrap_or_default().replace('|', " ");
        let mut cells = vec![m.name.clone(), format!("failed: {failure}")];
        cells.resize(10, String::new());
        return cells;
    }
    let or_blank = |value: Option<String>| value.unwrap_or_default();
    let traffic = |of: fn(super::server::Traffic) -> u64| {
        m.median(|sample| sample.traffic.map(|traffic| of(traffic) as f64))
    };
    let range = m.range().filter(|_| m.samples.len() > 1);
    let bars: Vec<String> = row
        .bars
        .iter()
        .filter(|bar| bar.of == m.name)
        .map(Bar::cell)
        .collect();
    vec![
        m.name.clone(),
        or_blank(m.value().map(|value| row.unit.show(value))),
        or_blank(
            range.map(|(low, high)| format!("{}–{}", row.unit.number(low), row.unit.number(high))),
        ),
        or_blank(
            m.median(|sample| sample.first)
                .map(|s| format!("{:.0} ms", s * 1000.0)),
        ),
        or_blank(m.peak_rss().map(|bytes| format!("{} MiB", bytes / MIB))),
        or_blank(
            m.median(|sample| sample.cpu_per_gib)
                .map(|s| format!("{s:.2}")),
        ),
        or_blank(traffic(|t| t.down).map(size)),
        or_blank(traffic(|t| t.up).map(size)),
        or_blank(traffic(|t| t.calls).map(|calls| format!("{calls:.0}"))),
        bars.join("; "),
    ]
}

fn size(bytes: f64) -> String {
    let (kib, mib, gib) = (bytes / 1024.0, bytes / MIB as f64, bytes / GIB as f64);
    if bytes == 0.0 {
        "0".to_owned()
    } else if mib < 1.0 {
        format!("{kib:.0} KiB")
    } else if gib < 1.0 {
        format!("{mib:.1} MiB")
    } else {
        format!("{gib:.2} GiB")
    }
}
