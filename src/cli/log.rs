//! What reaches stderr: short lines about the mount by default, everything with `--debug`.
//!
//! `RUST_LOG` beats both. Other crates are heard from `--debug` on only: fuser warns of every request
//! that a dying mount leaves unanswered, and HTTP crates speak of each connection.

use std::io::Write;

use clap::{ArgAction, Args};
use log::{Level, LevelFilter};

use crate::mount::stderr;

#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
pub(super) struct MessageOptions {
    /// Say more
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Say everything
    #[arg(long)]
    debug: bool,
}

/// Starts logging and turns a panic into a logged fault.
pub(super) fn start(options: &MessageOptions) {
    let detailed = options.debug || options.verbose > 0;
    let mut builder = env_logger::Builder::new();
    builder
        .target(env_logger::Target::Pipe(Box::new(stderr::Lines)))
        .filter_level(if options.debug {
            LevelFilter::Info
        } else {
            LevelFilter::Error
        })
        .filter_module(
            "b2fuse",
            // Below the level in force, which SIGUSR2 changes while it runs.
            LevelFilter::Debug,
        )
        .format(move |out, record| {
            let word = match record.level() {
                Level::Error => "error: ",
                Level::Warn => "warning: ",
                _ => "",
            };
            if detailed {
                let time = out.timestamp_millis();
                writeln!(out, "{time} {}: {word}{}", record.target(), record.args())
            } else {
                writeln!(out, "b2fuse: {word}{}", record.args())
            }
        });
    if options.debug {
        builder.filter_module("fuser", LevelFilter::Debug);
    }
    let filters = std::env::var("RUST_LOG");
    if let Ok(filters) = &filters {
        builder.parse_filters(filters);
    }
    // A second logger in one process keeps the first.
    let _ = builder.try_init();
    if !detailed && filters.is_err() {
        log::set_max_level(LevelFilter::Info);
    }
    std::panic::set_hook(Box::new(|panic| {
        log::error!("fault in b2fuse, please report it: {panic}");
        stderr::drain();
    }));
}
