//! Which ticks were given lately, so that a change needs no time of its own to be known as recent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::vfs::names::tree::Tick;

/// Ticks in steps of a second, the oldest first.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Lately(VecDeque<Step>);

#[derive(Debug)]
struct Step {
    began: Instant,
    last: Tick,
}

impl Lately {
    /// For how long listings may lag behind what was stored.
    pub(in crate::vfs::names) const SPAN: Duration = Duration::from_secs(30);
    const STEP: Duration = Duration::from_secs(1);

    /// A tick is given.
    pub(in crate::vfs) fn note(&mut self, tick: Tick, now: Instant) {
        match self.0.back_mut() {
            Some(step) if now.saturating_duration_since(step.began) < Self::STEP => {
                step.last = tick;
                return;
            }
            _ => self.0.push_back(Step {
                began: now,
                last: tick,
            }),
        }
        // One old step says which ticks are old.
        while self.0.get(1).is_some_and(|step| old(step, now)) {
            self.0.pop_front();
        }
    }

    /// Whether a tick was given lately, a second more or less.
    pub(in crate::vfs) fn has(&self, tick: Tick, now: Instant) -> bool {
        let old = self.0.iter().rev().find(|step| old(step, now));
        old.is_none_or(|step| tick > step.last)
    }
}

fn old(step: &Step, now: Instant) -> bool {
    now.saturating_duration_since(step.began) >= Lately::SPAN + Lately::STEP
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_given_half_a_minute_ago_is_not_late(pauses in prop::collection::vec(0u64..20_000, 1..60)) {
            let mut now = Instant::now();
            let mut lately = Lately::default();
            let mut given = Vec::new();
            for (tick, pause) in pauses.into_iter().enumerate() {
                now += Duration::from_millis(pause);
                lately.note(tick as Tick, now);
                given.push((tick as Tick, now));
                for (tick, at) in &given {
                    let age = now - *at;
                    if age < Lately::SPAN {
                        prop_assert!(lately.has(*tick, now), "{age:?}");
                    } else if age > Lately::SPAN + Lately::STEP * 2 {
                        prop_assert!(!lately.has(*tick, now), "{age:?}");
                    }
                }
                prop_assert!(lately.0.len() <= 34);
            }
        }
    }
}
