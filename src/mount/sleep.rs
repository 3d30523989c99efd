//! Notices that the machine has slept (suspend, hibernation): the clock of ordinary waits stands still meanwhile, so that
//! listings would seem fresh and connections alive.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval};

use crate::vfs::Vfs;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(2);
/// A shorter sleep changes nothing.
const SHORTEST: Duration = Duration::from_secs(2);

/// Looks, as long as the mount lives.
pub(super) async fn watch(vfs: Vfs) {
    let Some(mut slept) = slept_since_boot() else {
        return;
    };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(now) = slept_since_boot() else {
            return;
        };
        let time = now.saturating_sub(slept);
        slept = now;
        if time >= SHORTEST {
            log::info!("the machine has slept for {time:.0?}: B2 is asked anew");
            vfs.after_sleep();
        }
    }
}

/// How long the machine has slept since it was started (clock_gettime(2)).
fn slept_since_boot() -> Option<Duration> {
    // In this order a pause between the two calls makes it longer, never negative.
    let awake = clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?;
    let all = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    Some(Duration::from(all).saturating_sub(Duration::from(awake)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_are_there() {
        let slept = slept_since_boot().expect("Linux has both");
        assert!(slept < Duration::from_secs(1 << 32), "{slept:?}");
    }
}
