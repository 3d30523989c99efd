//! One measurement of one contender, and rounds of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::mount::Mount;
use super::options::Options;
use super::process::Usage;
use super::server::{Server, Traffic};
use super::{GIB, MIB};

/// What one round of one contender showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// In the unit of the row.
    pub(crate) value: f64,
    /// Seconds until the first data came.
    pub(crate) first: Option<f64>,
    /// Seconds until the programs that did the work had ended, where the value is when B2 had everything.
    pub(crate) closed: Option<f64>,
    /// Bytes.
    pub(crate) peak_rss: Option<u64>,
    /// Seconds of CPU for each GiB that was asked for.
    pub(crate) cpu_per_gib: Option<f64>,
    /// Seconds of CPU.
    pub(crate) cpu: Option<f64>,
    pub(crate) traffic: Option<Traffic>,
    /// Calls by their names.
    pub(crate) by_name: BTreeMap<String, u64>,
}

impl Sample {
    /// MiB per second.
    pub(crate) fn rate(bytes: u64, seconds: f64) -> f64 {
        bytes as f64 / MIB as f64 / seconds
    }

    pub(crate) fn per_gib(seconds: f64, bytes: u64) -> f64 {
        seconds * GIB as f64 / bytes as f64
    }

    pub(crate) fn with_traffic(self, traffic: Traffic) -> Self {
        Self {
            traffic: Some(traffic),
            ..self
        }
    }
}

/// A mount between the start of what is measured and its end.
///
/// CPU time and memory are those of that while; traffic is counted until the mount has ended, so that
/// what comes after the last `close()` and what was read ahead in vain is in it.
pub(crate) struct Watch<'a> {
    server: Option<&'a Server>,
    mount: Mount,
    before: Usage,
}

impl<'a> Watch<'a> {
    pub(crate) fn begin(server: Option<&'a Server>, mount: Mount) -> Result<Self> {
        if let Some(server) = server {
            server.reset_traffic()?;
        }
        let before = mount.usage()?;
        Ok(Self {
            server,
            mount,
            before,
        })
    }

    pub(crate) fn mount(&self) -> &Mount {
        &self.mount
    }

    /// `value` is in the row's unit, `asked` what was read and written in bytes, `own` the calls that the bench
    /// itself made meanwhile.
    pub(crate) fn end(self, value: f64, asked: u64, own: u64) -> Result<Sample> {
        let sample = self.end_uncounted(value)?;
        Ok(Sample {
            cpu_per_gib: sample.cpu.map(|cpu| Sample::per_gib(cpu, asked)),
            traffic: sample.traffic.map(|traffic| Traffic {
                calls: traffic.calls.saturating_sub(own),
                ..traffic
            }),
            ..sample
        })
    }

    /// The same where the bench made no calls of its own.
    pub(crate) fn end_uncounted(self, value: f64) -> Result<Sample> {
        let after = self.mount.usage()?;
        self.mount.end().context("after the measurement")?;
        let (traffic, by_name) = match self.server {
            None => (None, BTreeMap::new()),
            Some(server) => (Some(server.traffic()?), server.calls()?),
        };
        Ok(Sample {
            value,
            peak_rss: after.peak_rss,
            cpu: Some(after.cpu - self.before.cpu),
            traffic,
            by_name,
            ..Sample::default()
        })
    }
}

/// One round of a contender; takes the round's number.
type Run<'a> = Box<dyn FnMut(u64) -> Result<Sample> + 'a>;

/// Who does the work of a row.
pub(crate) struct Contender<'a> {
    name: String,
    run: Run<'a>,
    most: u64,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(
        name: impl Into<String>,
        run: impl FnMut(u64) -> Result<Sample> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
            most: u64::MAX,
        }
    }

    /// No more rounds than these, for who takes minutes.
    pub(crate) fn at_most(self, most: u64) -> Self {
        Self { most, ..self }
    }
}

/// What all rounds of a contender showed.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
    pub(crate) failure: Option<String>,
}

impl Measured {
    /// The median of what the samples have.
    pub(crate) fn median(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> = self.samples.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            n if n % 2 == 1 => Some(values[middle]),
            _ => Some(f64::midpoint(values[middle - 1], values[middle])),
        }
    }

    pub(crate) fn value(&self) -> Option<f64> {
        self.median(|sample| Some(sample.value))
    }

    /// The least and the greatest value.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        let values = || self.samples.iter().map(|sample| sample.value);
        Some((values().reduce(f64::min)?, values().reduce(f64::max)?))
    }

    /// The sample in the middle.
    pub(crate) fn typical(&self) -> Option<&Sample> {
        let mut samples: Vec<&Sample> = self.samples.iter().collect();
        samples.sort_by(|a, b| a.value.total_cmp(&b.value));
        samples.get(samples.len() / 2).copied()
    }

    pub(crate) fn peak_rss(&self) -> Option<u64> {
        self.samples
            .iter()
            .filter_map(|sample| sample.peak_rss)
            .max()
    }
}

/// Has the wanted contenders take turns. Who fails is out of the following rounds.
pub(crate) fn measure(
    options: &Options,
    rounds: u64,
    show: impl Fn(f64) -> String,
    contenders: Vec<Contender<'_>>,
) -> Vec<Measured> {
    let mut entered: Vec<(Run<'_>, u64, Measured)> = contenders
        .into_iter()
        .filter(|contender| options.wants_contender(&contender.name))
        .map(|contender| {
            let measured = Measured {
                name: contender.name,
                samples: Vec::new(),
                failure: None,
            };
            (contender.run, contender.most, measured)
        })
        .collect();
    for round in 0..rounds {
        for (run, most, measured) in &mut entered {
            if measured.failure.is_some() || round >= *most {
                continue;
            }
            match run(round) {
                Ok(sample) => {
                    eprintln!(
                        "  {}/{rounds} {}: {}",
                        round + 1,
                        measured.name,
                        show(sample.value)
                    );
                    measured.samples.push(sample);
                }
                Err(error) => {
                    eprintln!(
                        "  {}/{rounds} {}: failed: {error:#}",
                        round + 1,
                        measured.name
                    );
                    measured.failure = Some(format!("{error:#}"));
                }
            }
        }
    }
    entered.into_iter().map(|(.., measured)| measured).collect()
}
