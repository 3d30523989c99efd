//! Simulated readers on simulated lines: how many reads they get, and what is downloaded for them.

use super::*;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Ranges that are fetched side by side.
const CONNECTIONS: usize = 8;

fn line(ms: u64, rate: u64) -> Line {
    Line {
        round_trip: Duration::from_millis(ms),
        rate: rate * MIB,
    }
}

/// One reader of one version, and the clock.
struct World {
    line: Line,
    size: u64,
    share: u64,
    around: Around,
    now: Duration,
    /// When each connection is free.
    connections: [Duration; CONNECTIONS],
    /// When each block of 32 KiB is here.
    blocks: BTreeMap<u64, Duration>,
    bytes: u64,
    reads: u64,
}

impl World {
    fn new(line: Line, size: u64, share: u64) -> Self {
        Self {
            line,
            size,
            share,
            around: Around::default(),
            now: Duration::from_secs(100),
            connections: [Duration::ZERO; CONNECTIONS],
            blocks: BTreeMap::new(),
            bytes: 0,
            reads: 0,
        }
    }

    fn fetch(&mut self, range: &Range<u64>, begin: Duration) {
        let blocks = range.start / MIN_MISS..range.end.div_ceil(MIN_MISS);
        let missing: Vec<u64> = blocks
            .filter(|block| !self.blocks.contains_key(block))
            .collect();
        let bytes = missing.len() as u64 * MIN_MISS;
        let end = begin
            + self.line.round_trip
            + Duration::from_secs_f64(bytes as f64 / self.line.rate as f64);
        self.bytes += bytes;
        self.blocks
            .extend(missing.into_iter().map(|block| (block, end)));
    }

    /// Reads 4 KiB.
    fn read(&mut self, at: u64) {
        let (begun, block) = (self.now, at / MIN_MISS);
        self.reads += 1;
        if !self.blocks.contains_key(&block) {
            let wanted = at..(at + 4 * KIB).min(self.size);
            let all = self.around.miss(&wanted, self.size, self.line, self.now);
            assert!(all.start <= wanted.start && wanted.end <= all.end && all.end <= self.size);
            self.fetch(&all, self.now);
        }
        self.now = self.now.max(self.blocks[&block]) + Duration::from_micros(100);
        let waited = self.now.saturating_sub(begun);
        if waited <= Duration::from_micros(100) {
            return;
        }
        let busy = self
            .connections
            .iter()
            .filter(|free| **free > begun)
            .count() as u64;
        self.around.waited(waited, self.line, busy);
        loop {
            let free = (0..CONNECTIONS)
                .min_by_key(|at| self.connections[*at])
                .unwrap_or(0);
            // Twice as many as there are connections are asked for.
            if self.connections[free] > self.now + self.line.round_trip {
                break;
            }
            let Some(range) = self.around.buy(self.size, self.share, self.line) else {
                break;
            };
            let begin = self.connections[free].max(self.now);
            self.fetch(&range, begin);
            let last = (range.end - 1) / MIN_MISS;
            self.connections[free] = self.blocks[&last];
        }
    }

    fn seconds(&self) -> f64 {
        self.now
            .saturating_sub(Duration::from_secs(100))
            .as_secs_f64()
    }
}

#[test]
fn a_file_that_fits_is_soon_read_at_the_speed_of_memory() {
    let mut random = fastrand::Rng::with_seed(1);
    for (line, size, least) in [
        (line(50, 20), 128 * MIB, 60_000),
        (line(50, 20), 256 * MIB, 40_000),
        (line(5, 20), 256 * MIB, 40_000),
        (line(200, 20), 128 * MIB, 20_000),
        (line(50, 200), 256 * MIB, 60_000),
    ] {
        let mut world = World::new(line, size, 384 * MIB);
        while world.seconds() < 10.0 {
            world.read(random.u64(0..size / (4 * KIB)) * 4 * KIB);
        }
        assert!(world.reads >= least, "{line:?}: {} of {size}", world.reads);
        assert!(world.bytes <= size, "{line:?}: {} of {size}", world.bytes);
    }
}

#[test]
fn some_hundred_queries_of_a_small_database_take_less_than_a_second() {
    let mut random = fastrand::Rng::with_seed(2);
    let mut world = World::new(line(50, 20), 10 * MIB, 384 * MIB);
    world.read(0);
    for _ in 0..200 {
        world.read(random.u64(0..10 * MIB / (4 * KIB)) * 4 * KIB);
    }
    assert!(world.seconds() < 0.8, "{}", world.seconds());
}

#[test]
fn ten_reads_far_apart_bring_little_on_any_line() {
    for ms in [1, 5, 50, 200, 1000] {
        for rate in [1, 2, 20, 200, 2000] {
            for share in [100 * MIB, 1 << 40] {
                let mut world = World::new(line(ms, rate), 16 << 30, share);
                for at in 0..10 {
                    world.read(at * 1_600 * MIB + 12 * KIB);
                }
                assert!(
                    world.bytes <= 24 * MIB,
                    "{ms} ms, {rate} MiB/s: {}",
                    world.bytes
                );
                assert!(world.seconds() < 10.0 * (ms as f64 / 1000.0 + 0.3));
            }
        }
    }
}

#[test]
fn who_goes_through_a_file_in_steps_gets_nothing_besides() {
    for steps in [1, -1] {
        let mut world = World::new(line(50, 20), 512 * MIB, 1 << 40);
        for at in 0..400_u64 {
            let at = if steps == 1 { at } else { 400 - at };
            world.read(at * MIB + 64 * KIB);
        }
        assert_eq!(world.bytes, 400 * 128 * KIB);
    }
}

#[test]
fn reads_far_apart_in_time_bring_an_eighth_of_a_round_trip_each() {
    let mut world = World::new(line(50, 20), 1 << 30, 1 << 40);
    for at in 0..100 {
        world.read(at * 10 * MIB);
        world.now += Duration::from_secs(3);
    }
    assert_eq!(world.bytes, 100 * 128 * KIB);
}

#[test]
fn of_a_file_that_does_not_fit_only_what_is_used_is_fetched() {
    let mut random = fastrand::Rng::with_seed(3);
    // All of it: nothing would be there when it is needed.
    let mut world = World::new(line(50, 20), 64 << 30, 100 * MIB);
    for _ in 0..1000 {
        world.read(random.u64(0..(16 << 20)) * 4 * KIB);
    }
    assert!(world.bytes <= 1100 * 128 * KIB, "{}", world.bytes);
    // A region of it.
    let mut world = World::new(line(50, 20), 64 << 30, 100 * MIB);
    for _ in 0..10_000 {
        world.read((5 << 30) + random.u64(0..10 * KIB) * 4 * KIB);
    }
    assert!(world.seconds() < 5.0, "{}", world.seconds());
    assert!(world.bytes <= 60 * MIB, "{}", world.bytes);
    // Some places of it.
    let mut world = World::new(line(50, 20), 64 << 30, 100 * MIB);
    for _ in 0..10_000 {
        let place = random.u64(0..4) * (15 << 30);
        world.read(place + random.u64(0..128) * 4 * KIB);
    }
    assert!(world.seconds() < 3.0, "{}", world.seconds());
    assert!(world.bytes <= 24 * MIB, "{}", world.bytes);
}

#[test]
fn a_small_file_comes_with_its_first_read() {
    let mut around = Around::default();
    let wanted = 8 * KIB..12 * KIB;
    let now = Duration::from_secs(9);
    assert_eq!(around.miss(&wanted, MIB, line(50, 20), now), 0..MIB);
    assert_eq!(
        around.miss(&wanted, 2 * MIB, line(50, 20), now),
        0..128 * KIB
    );
    assert_eq!(around.buy(2 * MIB, MIB, line(50, 20)), None);
}

#[test]
fn what_is_gone_can_be_bought_again() {
    let mut around = Around::default();
    let (size, now) = (2 * MIB, Duration::from_secs(9));
    let mut buy_all = |places: &[u64]| {
        let mut bought = Vec::new();
        for place in places {
            around.miss(&(*place..place + 4 * KIB), size, line(50, 20), now);
            around.waited(Duration::from_secs(1), line(50, 20), 1);
            while let Some(range) = around.buy(size, size, line(50, 20)) {
                bought.push(range);
            }
        }
        bought
    };
    let all: u64 = buy_all(&[0, MIB, 0, MIB, 0, MIB, 0, MIB])
        .iter()
        .map(|r| r.end - r.start)
        .sum();
    assert!(all >= size, "{all}");
    let again = buy_all(&[MIB]);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0], MIB..MIB + UNIT);
}
