use super::*;

fn status(own: &[i32], shared: &[i32], blocked: &[i32], ignored: &[i32]) -> String {
    let mask = |signals: &[i32]| signals.iter().fold(0, |all, signal| all | bit(*signal));
    format!(
        "Name:\tcat\nUmask:\t0022\nSigQ:\t1/7\nSigPnd:\t{:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{:016x}\nSigIgn:\t{:016x}\nSigCgt:\t0000000000000000\n",
        mask(own),
        mask(shared),
        mask(blocked),
        mask(ignored)
    )
}

#[test]
fn a_kill_ends_a_wait_whatever_is_blocked() {
    let kill = [libc::SIGKILL];
    for text in [
        status(&kill, &[], &[], &[]),
        status(&[], &kill, &[libc::SIGINT], &[libc::SIGINT]),
        status(&[libc::SIGINT, libc::SIGKILL], &[], &[], &[]),
    ] {
        assert_eq!(of_status(&text), Wish::Die, "{text}");
    }
}

#[test]
fn a_signal_that_ends_programs_ends_a_wait_unless_it_is_blocked_or_ignored() {
    for signal in ENDING {
        let one = [signal];
        assert_eq!(of_status(&status(&one, &[], &[], &[])), Wish::Handle);
        assert_eq!(of_status(&status(&[], &one, &[], &[])), Wish::Handle);
        assert_eq!(of_status(&status(&one, &[], &one, &[])), Wish::None);
        assert_eq!(of_status(&status(&[], &one, &[], &one)), Wish::None);
    }
}

#[test]
fn other_signals_end_no_wait() {
    for signal in (1..=64).filter(|s| !ENDING.contains(s) && *s != libc::SIGKILL) {
        let text = status(&[signal], &[signal], &[], &[]);
        assert_eq!(of_status(&text), Wish::None, "{signal}");
    }
}

#[test]
fn what_is_no_status_says_nothing() {
    for text in ["", "SigPnd:\tx\n", "SigPnd:\tffffffffffffffff\n"] {
        assert_eq!(of_status(text), Wish::None, "{text:?}");
    }
}

#[test]
fn only_calls_that_read_can_be_told_of_an_error() {
    assert!(is_reading(&format!("{} 0x3 0x7f", libc::SYS_read)));
    assert!(!is_reading(&format!("{} 0x3 0x7f", libc::SYS_write)));
    for text in ["-1 0x7ffe 0x55", "running", ""] {
        assert!(!is_reading(text), "{text:?}");
    }
}

#[test]
fn the_system_tells_of_this_thread() {
    let thread = nix::unistd::gettid().as_raw().cast_unsigned();
    assert_eq!(ask(thread).0, Wish::None);
    assert!(read(thread, "status").contains("SigPnd:"));
}
