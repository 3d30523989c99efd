//! What the emulator does as the B2 service does: one behaviour a test, by raw requests.
//!
//! Sections are those of the fact sheet (API §n). Tests that switch faults or look at counters are in `faults`; the
//! others need nothing but an endpoint, a master key and an empty private bucket.
#![allow(clippy::unwrap_used)]

mod account;
mod api;
mod copy;
mod disk;
mod download;
mod faults;
mod files;
mod large;
mod listing;
mod locks;
mod names;
mod upload;
