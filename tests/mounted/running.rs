//! Programs that are run from the mount.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use crate::support::forks;
use crate::support::place::Place;

crate::scenarios! {
    the_file_of_a_running_program_cannot_be_emptied,
}

fn the_file_of_a_running_program_cannot_be_emptied(place: &mut dyn Place) {
    let program = place.path().join("sleep");
    fs::copy("/bin/sleep", &program).unwrap();
    let size = fs::metadata(&program).unwrap().len();
    let mut running = forks::spawn(Command::new(&program).arg("1000")).unwrap();
    for (write, flags) in [(true, 0), (true, libc::O_TRUNC), (false, libc::O_TRUNC)] {
        let mut options = OpenOptions::new();
        options.read(true).write(write).custom_flags(flags);
        let error = options.open(&program).expect_err("it runs");
        assert_eq!(error.kind(), ErrorKind::ExecutableFileBusy, "{error}");
    }
    assert_eq!(fs::metadata(&program).unwrap().len(), size);
    assert!(running.try_wait().unwrap().is_none(), "it still runs");
    running.kill().unwrap();
    running.wait().unwrap();
    // Nothing holds it any more.
    fs::write(&program, b"").unwrap();
}
