//! INTERFACE STUB.
#![allow(missing_docs)]
use std::process::ExitCode;
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
