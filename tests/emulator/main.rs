//! What the emulator does as the B2 service does: one behaviour a test, by raw requests.
//!
//! Sections are those of the fact sheet (API §n). A test that does not touch `server` needs nothing but an endpoint, a
//! master key and an empty private bucket, and so describes the service as well.
#![allow(clippy::unwrap_used)]

mod account;
mod api;
mod control;
mod copy;
mod customer_keys;
mod disk;
mod download;
mod expect;
mod faults;
mod files;
mod keys;
mod large;
mod listing;
mod locks;
mod names;
mod switches;
mod upload;
