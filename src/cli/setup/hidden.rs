//! A terminal that shows nothing and sends no signals while a key is typed.
//!
//! It is given back as it was however the question ends: also by a signal that ends the program, whose handler does it first.
//! Only SIGKILL leaves it silent.

use std::io;
use std::os::fd::AsFd as _;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};

/// Those that end the program at a key's question, unless whoever started it has them ignored.
const ENDING: [Signal; 4] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
];

/// What the handler gives back; null: nothing. What it has ever pointed to stays where it is.
static BEFORE: AtomicPtr<libc::termios> = AtomicPtr::new(ptr::null_mut());

/// The terminal on stdin is silent as long as this lives.
pub(super) struct Hidden {
    before: Termios,
    /// The signals that are handled here now, and what they did before.
    handled: Vec<(Signal, SigAction)>,
}

impl Hidden {
    pub(super) fn begin() -> io::Result<Self> {
        let input = io::stdin();
        let before = tcgetattr(input.as_fd())?;
        let kept = Box::leak(Box::new(libc::termios::from(before.clone())));
        BEFORE.store(kept, Ordering::Release);
        // From here on, `drop` undoes what was done.
        let hidden = Self {
            before,
            handled: handle()?,
        };
        let mut quiet = hidden.before.clone();
        quiet
            .local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        quiet.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        quiet.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(input.as_fd(), SetArg::TCSANOW, &quiet)?;
        Ok(hidden)
    }
}

impl Drop for Hidden {
    #[allow(unsafe_code, reason = "signals get their effects back")]
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &self.before);
        for (signal, before) in &self.handled {
            // SAFETY: it is what the process began with.
            let _ = unsafe { sigaction(*signal, before) };
        }
        BEFORE.store(ptr::null_mut(), Ordering::Release);
    }
}

/// Has the signals give back the terminal; which, and what they did before.
#[allow(unsafe_code, reason = "handlers are set")]
fn handle() -> io::Result<Vec<(Signal, SigAction)>> {
    // The second time, which the handler itself brings about, the signal has its own effect.
    let action = SigAction::new(
        SigHandler::Handler(give_back),
        SaFlags::SA_RESETHAND,
        SigSet::empty(),
    );
    let mut handled = Vec::new();
    for signal in ENDING {
        // SAFETY: the handler does only what signal-safety(7) allows.
        let before = unsafe { sigaction(signal, &action) }?;
        if matches!(before.handler(), SigHandler::SigIgn) {
            // SAFETY: it is what the process began with.
            unsafe { sigaction(signal, &before) }?;
        } else {
            handled.push((signal, before));
        }
    }
    Ok(handled)
}

#[allow(unsafe_code, reason = "only plain calls of the system may be made")]
extern "C" fn give_back(signal: libc::c_int) {
    let before = BEFORE.load(Ordering::Acquire);
    // SAFETY: signal-safety(7) has all of these calls; `before` is null or points to what is neither freed nor changed.
    unsafe {
        let owner = libc::tcgetpgrp(libc::STDIN_FILENO);
        // A terminal that belongs to others by now is as they want it.
        if !before.is_null() && (owner == -1 || owner == libc::getpgrp()) {
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, before);
        }
        libc::raise(signal);
    }
}
