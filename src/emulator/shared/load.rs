//! How many requests the server takes, by the switches `rate-limit` and `at-once`; strict, and without any burst.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::faults::Switches;
use crate::emulator::error::{ApiError, Result};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// When those of the last second began; kept only while there is a limit.
    begun: VecDeque<Instant>,
}

/// The requests that were not refused for their number.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Load {
    state: Mutex<State>,
}

/// One of them, until it is answered.
pub(in crate::emulator) struct Running<'a> {
    load: &'a Load,
}

impl Load {
    /// Takes a request, or refuses it; refused ones do not count.
    pub(in crate::emulator) fn begin(
        &self,
        switches: &Switches,
        now: Instant,
    ) -> Result<Running<'_>> {
        let mut state = self.state.lock();
        let full = |limit: Option<usize>, so_many: usize| limit.is_some_and(|most| so_many >= most);
        let refuse = |what: &str| Err(ApiError::new(429, "too_many_requests", what));
        while state.begun.front().is_some_and(|at| *at + SECOND <= now) {
            state.begun.pop_front();
        }
        if full(switches.at_once, state.running) {
            return refuse("too many requests at once");
        }
        if full(switches.rate_limit, state.begun.len()) {
            return refuse("too many requests in a second");
        }
        state.running += 1;
        if switches.rate_limit.is_some() {
            state.begun.push_back(now);
        }
        Ok(Running { load: self })
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.load.state.lock().running -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_second_refuses_until_its_first_request_is_a_second_old() {
        let switches = Switches {
            rate_limit: Some(3),
            ..Switches::default()
        };
        let (load, start) = (Load::default(), Instant::now());
        let taken = |millis| {
            let now = start + Duration::from_millis(millis);
            load.begin(&switches, now).is_ok()
        };
        assert_eq!(
            [0, 10, 20, 30, 999].map(taken),
            [true, true, true, false, false]
        );
        assert_eq!([1000, 1001, 1010].map(taken), [true, false, true]);
    }

    #[test]
    fn so_many_at_once_and_no_more() {
        let switches = Switches {
            at_once: Some(2),
            ..Switches::default()
        };
        let (load, now) = (Load::default(), Instant::now());
        let first = load.begin(&switches, now).expect("free");
        let _second = load.begin(&switches, now).expect("free");
        assert_eq!(
            load.begin(&switches, now).err().map(|e| e.status),
            Some(429)
        );
        drop(first);
        assert!(load.begin(&switches, now).is_ok());
    }
}
