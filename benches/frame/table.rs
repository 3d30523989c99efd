//! Rows and bars, and the Markdown that shows them.

use std::fmt::Write as _;

use super::sample::{Measured, Sample};
use super::server::Traffic;
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
    /// Of memory, for each name that the mount knows.
    BytesPerName,
    PerSecond,
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::MibPerSecond => format!("{value:.0} MiB/s"),
            Self::RoundTrips => format!("{value:.2} round trips"),
            Self::DownPerAsked => format!("{value:.2} x asked"),
            Self::Seconds => format!("{value:.2} s"),
            Self::BytesPerName => format!("{value:.0} B a name"),
            Self::PerSecond => format!("{value:.0} /s"),
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

    /// A value that must be reached.
    pub(crate) fn floor(
        results: &[Measured],
        of: &str,
        what: &str,
        wanted: f64,
        value: impl Fn(&Measured) -> Option<f64>,
    ) -> Option<Self> {
        let ceiling = Self::ceiling(results, of, what, wanted, value)?;
        Some(Self {
            at_least: true,
            ..ceiling
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

/// What a table tells of each contender, after the work and the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Median,
    Range,
    First,
    Closed,
    PeakRss,
    CpuPerGib,
    Cpu,
    Down,
    Up,
    Calls,
    CallsByName,
    Bar,
}

impl Column {
    fn head(self) -> &'static str {
        match self {
            Self::Median => "median",
            Self::Range => "range",
            Self::First => "first data",
            Self::Closed => "last close",
            Self::PeakRss => "peak RSS",
            Self::CpuPerGib => "CPU s/GiB",
            Self::Cpu => "CPU",
            Self::Down => "down",
            Self::Up => "up",
            Self::Calls => "calls",
            Self::CallsByName => "of them",
            Self::Bar => "bar",
        }
    }

    fn cell(self, row: &Row, m: &Measured) -> Option<String> {
        let traffic = |of: fn(Traffic) -> u64| {
            m.median(|sample| sample.traffic.map(|traffic| of(traffic) as f64))
        };
        let seconds = |of: fn(&Sample) -> Option<f64>| m.median(of).map(|s| format!("{s:.2} s"));
        match self {
            Self::Median => m.value().map(|value| row.unit.show(value)),
            Self::Range => {
                let (low, high) = m.range().filter(|_| m.samples.len() > 1)?;
                let (low, high) = (row.unit.number(low), row.unit.number(high));
                Some(format!("{low}–{high}"))
            }
            Self::First => {
                let first = m.median(|sample| sample.first)?;
                Some(format!("{:.0} ms", first * 1000.0))
            }
            Self::Closed => seconds(|sample| sample.closed),
            Self::PeakRss => m.peak_rss().map(|bytes| format!("{} MiB", bytes / MIB)),
            Self::CpuPerGib => m
                .median(|sample| sample.cpu_per_gib)
                .map(|s| format!("{s:.2}")),
            Self::Cpu => seconds(|sample| sample.cpu),
            Self::Down => traffic(|t| t.down).map(size),
            Self::Up => traffic(|t| t.up).map(size),
            Self::Calls => traffic(|t| t.calls).map(|calls| format!("{calls:.0}")),
            Self::CallsByName => m.typical().map(by_name),
            Self::Bar => {
                let bars: Vec<String> = row
                    .bars
                    .iter()
                    .filter(|bar| bar.of == m.name)
                    .map(Bar::cell)
                    .collect();
                Some(bars.join("; "))
            }
        }
    }
}

/// The calls of one round, the most frequent first.
fn by_name(sample: &Sample) -> String {
    let mut calls: Vec<(&String, &u64)> = sample.by_name.iter().collect();
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let calls: Vec<String> = calls
        .into_iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    calls.join(", ")
}

/// One table of all rows.
pub(crate) fn markdown(rows: &[Row], columns: &[Column]) -> String {
    let heads: Vec<&str> = columns.iter().map(|column| column.head()).collect();
    let mut out = format!(
        "| work | by | {} |\n|{}\n",
        heads.join(" | "),
        "---|".repeat(heads.len() + 2)
    );
    for row in rows {
        for (index, measured) in row.results.iter().enumerate() {
            let title = if index == 0 { row.title.as_str() } else { "" };
            let title = title.replace('|', "\\|");
            let cells = cells(row, measured, columns);
            let _ = writeln!(out, "| {title} | {} |", cells.join(" | ")); // a String takes everything
        }
    }
    out
}

fn cells(row: &Row, m: &Measured, columns: &[Column]) -> Vec<String> {
    let mut cells = vec![m.name.clone()];
    if let Some(failure) = &m.failure {
        // The whole of it went to stderr.
        let failure = failure.lines().next().unwrap_or_default().replace('|', " ");
        cells.push(format!("failed: {failure}"));
        cells.resize(columns.len() + 1, String::new());
        return cells;
    }
    cells.extend(columns.iter().map(|c| c.cell(row, m).unwrap_or_default()));
    cells
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
