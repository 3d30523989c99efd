//! What is logged: short lines about the mount by default, everything with `--debug`. Where to: `mount::messages`.
//!
//! `RUST_LOG` beats both. Other crates are heard from `--debug` on only: fuser warns of every request
//! that a dying mount leaves unanswered, and HTTP crates speak of each connection.

use clap::{ArgAction, Args};
use log::{LevelFilter, Log, Metadata, Record};

use crate::config::Logging;
use crate::mount::messages::{self, Format, Style};

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Messages")]
pub(super) struct MessageOptions {
    /// Say more
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Say everything
    #[arg(long)]
    debug: bool,
    /// Say only what is wrong, and show no progress
    #[arg(short, long, conflicts_with_all = ["verbose", "debug"])]
    quiet: bool,
}

impl MessageOptions {
    /// These, and others below them.
    pub(super) fn over(&self, under: &Self) -> Self {
        Self {
            verbose: self.verbose.saturating_add(under.verbose),
            debug: self.debug || under.debug,
            quiet: self.quiet || under.quiet,
        }
    }

    fn style(&self, format: Format) -> Style {
        Style {
            format,
            detailed: self.debug || self.verbose > 0,
        }
    }
}

/// Chooses what is said, by the rules of `RUST_LOG`.
struct Chosen(env_logger::Logger);

impl Log for Chosen {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.0.matches(record) {
            messages::log(record);
        }
    }

    fn flush(&self) {}
}

/// Starts logging, to stderr at first, and turns a panic into a logged fault.
pub(super) fn start(options: &MessageOptions) {
    let style = options.style(Format::Text);
    messages::look(style);
    let mut builder = env_logger::Builder::new();
    builder
        .filter_level(if options.debug {
            LevelFilter::Info
        } else {
            LevelFilter::Error
        })
        .filter_module(
            "b2fuse",
            // Below the level in force, which SIGUSR2 changes while it runs.
            LevelFilter::Debug,
        );
    if options.debug {
        builder.filter_module("fuser", LevelFilter::Debug);
    }
    let filters = std::env::var("RUST_LOG");
    if let Ok(filters) = &filters {
        builder.parse_filters(filters);
    }
    let chosen = Chosen(builder.build());
    let most = chosen.0.filter();
    // A second logger in one process keeps the first.
    if log::set_boxed_logger(Box::new(chosen)).is_ok() {
        log::set_max_level(most);
    }
    if !style.detailed && filters.is_err() {
        log::set_max_level(if options.quiet {
            LevelFilter::Warn
        } else {
            LevelFilter::Info
        });
    }
    std::panic::set_hook(Box::new(|panic| {
        log::error!("fault in b2fuse, please report it: {panic}");
        messages::drain();
    }));
}

/// Logs as it is configured from here on.
pub(super) fn configure(options: &MessageOptions, logging: &Logging) {
    messages::look(options.style(logging.format));
    if let Some(path) = &logging.file {
        messages::to_file(path.clone());
    }
}
