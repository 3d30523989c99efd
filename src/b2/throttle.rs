//! A limit on the bytes of content a second, in one direction, for all transfers together.
//!
//! [`Throttle`] is a token bucket: each transfer asks for one small piece at a time and is told when it may move it, in the
//! order in which they ask, so that all get the same share. [`Schedule`] is its arithmetic, without clock. The rate can be
//! changed at any time, also while transfers wait. (The crate `governor` fixes its rate for good and knows no turn among
//! those who wait.) Nobody waits for another transfer, and whoever goes away gives back what was kept for it.
//!
//! Callers: `body` (up), `download` (down), `client`.

use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The lowest limit, in bytes a second: with less, no program would wait for a file.
pub const BANDWIDTH_MIN: u64 = 16 << 10;
/// What may be moved at once after a pause is what the rate gives in this time.
const BURST: Duration = Duration::from_millis(250);
/// Pieces in a second; smaller ones than [`SMALLEST`] would cost more than they smooth.
const PIECES: u64 = 20;
const SMALLEST: u64 = 1 << 10;
const LARGEST: u64 = 128 << 10;

/// When pieces may be moved; times are since the throttle's start.
#[derive(Debug, Default)]
struct Schedule {
    rate: Option<NonZeroU64>,
    /// At that time the rate has given all that was let through or promised.
    paid: Duration,
    /// Counts changes of the rate, each of which forgets all promises.
    era: u64,
}

impl Schedule {
    fn set(&mut self, rate: Option<NonZeroU64>, now: Duration) {
        *self = Self {
            rate,
            paid: now,
            era: self.era + 1,
        };
    }

    /// When so many bytes may be moved that somebody asks for at `now`.
    fn promise(&mut self, bytes: u64, now: Duration) -> Duration {
        let from = self.paid.max(now.saturating_sub(BURST));
        self.paid = from + self.cost(bytes);
        from.max(now)
    }

    /// They will not be moved.
    fn take_back(&mut self, bytes: u64, era: u64) {
        if era == self.era {
            self.paid = self.paid.saturating_sub(self.cost(bytes));
        }
    }

    fn cost(&self, bytes: u64) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(bytes as f64 / rate.get() as f64)
        })
    }
}

/// Lets so many bytes a second through, or all.
#[derive(Debug)]
pub(super) struct Throttle {
    origin: Instant,
    /// The rate in bytes a second, 0 without: saves the lock.
    rate: AtomicU64,
    schedule: Mutex<Schedule>,
    changed: Notify,
}

impl Throttle {
    /// So many bytes a second, or no limit.
    pub(super) fn new(rate: Option<NonZeroU64>) -> Self {
        Self {
            origin: Instant::now(),
            rate: AtomicU64::new(rate.map_or(0, NonZeroU64::get)),
            schedule: Mutex::new(Schedule {
                rate,
                ..Schedule::default()
            }),
            changed: Notify::new(),
        }
    }

    /// Another rate from now on; those who wait are told anew when their turn is.
    pub(super) fn set(&self, rate: Option<NonZeroU64>) {
        self.schedule.lock().set(rate, self.origin.elapsed());
        self.rate.store(rate.map_or(0, NonZeroU64::get), Relaxed);
        self.changed.notify_waiters();
    }

    /// How many bytes to ask for at once; `None` where nothing is limited and nobody has to ask.
    pub(super) fn piece(&self) -> Option<usize> {
        match self.rate.load(Relaxed) {
            0 => None,
            rate => Some((rate / PIECES).clamp(SMALLEST, LARGEST) as usize),
        }
    }

    /// Waits until so many bytes may be moved.
    pub(super) async fn take(&self, bytes: usize) {
        let bytes = bytes as u64;
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before the look at the rate, or a change just after it would be missed.
            changed.as_mut().enable();
            let (at, promise) = self.promise(bytes);
            tokio::select! {
                () = sleep_until(at) => return promise.kept(),
                () = changed => {}
            }
        }
    }

    fn promise(&self, bytes: u64) -> (Instant, Promise<'_>) {
        let mut schedule = self.schedule.lock();
        let at = schedule.promise(bytes, self.origin.elapsed());
        let promise = Promise {
            throttle: self,
            bytes,
            era: schedule.era,
        };
        (self.origin + at, promise)
    }
}

/// Bytes that somebody waits for; given back when dropped.
struct Promise<'a> {
    throttle: &'a Throttle,
    bytes: u64,
    era: u64,
}

impl Promise<'_> {
    fn kept(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        let mut schedule = self.throttle.schedule.lock();
        schedule.take_back(self.bytes, self.era);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;
    use proptest::prelude::*;
    use tokio::time::timeout;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn rate(bytes: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(bytes)
    }

    /// Moves so much in pieces; tells when each was moved.
    async fn transfer(throttle: &Throttle, mut bytes: usize) -> Vec<Duration> {
        let mut moved = Vec::new();
        while bytes > 0 {
            let piece = throttle.piece().unwrap_or(bytes).min(bytes);
            throttle.take(piece).await;
            moved.push(throttle.origin.elapsed());
            bytes -= piece;
        }
        moved
    }

    #[tokio::test(start_paused = true)]
    async fn content_moves_evenly_at_the_rate() {
        let throttle = Throttle::new(rate(100_000));
        let moved = transfer(&throttle, 1_000_000).await;
        assert_eq!(moved.len(), 200);
        for (n, at) in moved.iter().enumerate() {
            let even = ms(50 * n as u64);
            assert!(*at >= even && *at <= even + ms(2), "{n}: {at:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_saves_up_a_quarter_of_a_second() {
        let throttle = Throttle::new(rate(100_000));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let begun = throttle.origin.elapsed();
        let moved = transfer(&throttle, 100_000).await;
        let at_once = moved.iter().filter(|at| **at < begun + ms(10)).count();
        assert!((5..=6).contains(&at_once), "{at_once}");
    }

    #[tokio::test(start_paused = true)]
    async fn transfers_share_the_rate_whoever_came_first() {
        let throttle = Arc::new(Throttle::new(rate(100_000)));
        let transfers = (0..4).map(|n| {
            let throttle = Arc::clone(&throttle);
            async move {
                tokio::time::sleep(ms(10 * n)).await;
                transfer(&throttle, 100_000).await.pop().expect("moved")
            }
        });
        let ends = join_all(transfers).await;
        let (first, last) = (ends.iter().min(), ends.iter().max());
        assert!(first.expect("four") >= &ms(3600), "{ends:?}");
        assert!(last.expect("four") <= &ms(4100), "{ends:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_rate_reaches_those_who_wait() {
        let throttle = Throttle::new(rate(1024));
        let moving = transfer(&throttle, 1 << 20);
        let changing = async {
            tokio::time::sleep(ms(10_500)).await;
            throttle.set(rate(102_400));
            tokio::time::sleep(Duration::from_secs(5)).await;
            throttle.set(None);
        };
        let (moved, ()) = tokio::join!(moving, changing);
        let within = |from, to| moved.iter().filter(|at| (from..to).contains(*at)).count();
        assert!((10..=11).contains(&within(ms(0), ms(10_500))), "{moved:?}");
        // No longer a KiB at a time, but a twentieth of the new rate; at last all that is left.
        assert!((98..=102).contains(&within(ms(10_500), ms(15_500))));
        assert!(moved.last().expect("moved") < &ms(15_600));
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_costs_nothing() {
        let throttle = Throttle::new(rate(1024));
        throttle.take(1024).await;
        for _ in 0..100 {
            let gone = timeout(ms(1), throttle.take(100 << 10)).await;
            assert!(gone.is_err());
        }
        timeout(ms(1000), throttle.take(1024)).await.expect("soon");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits() {
        let throttle = Throttle::new(None);
        assert_eq!(throttle.piece(), None);
        throttle.take(usize::MAX).await;
        assert_eq!(throttle.origin.elapsed(), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn never_more_than_rate_and_burst(
            rate in 1024..100_000_000_u64,
            asks in proptest::collection::vec((1..200_000_u64, 0..3000_u64), 1..200)
        ) {
            let mut schedule = Schedule { rate: NonZeroU64::new(rate), ..Schedule::default() };
            let (mut now, mut moved) = (Duration::ZERO, Vec::new());
            for (bytes, pause) in asks {
                now += ms(pause);
                now = schedule.promise(bytes, now);
                moved.push((now, bytes));
            }
            for (first, &(from, _)) in moved.iter().enumerate() {
                let mut sum = 0;
                for &(at, bytes) in &moved[first..] {
                    // The last piece is paid for after it has moved.
                    let most = rate as f64 * (at.saturating_sub(from) + BURST).as_secs_f64();
                    prop_assert!(sum as f64 <= most + 1.0);
                    sum += bytes;
                }
            }
        }
    }
}
