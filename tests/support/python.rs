//! Scenarios in Python: many system calls and several processes in a few lines.

use std::path::Path;

use super::tools::{both, finish, program};

/// Runs a script after `prelude.py`, in `root`; gives what it prints.
#[track_caller]
pub(crate) fn python(root: &Path, script: &str) -> String {
    let output = finish(
        program("python3")
            .args(["-B", "-c", &format!("from prelude import *\n{script}")])
            .arg(root)
            .env(
                "PYTHONPATH",
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support"),
            ),
    );
    // A traceback says it better than the command would.
    assert!(output.status.success(), "{}", both(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
