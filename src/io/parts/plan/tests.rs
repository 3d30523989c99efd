use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    large_file: 100_000_000,
    sizes: SIZES,
};
const SIZES: Sizes = Sizes {
    least: MIN_PART,
    part: 16_000_000,
};
const MB: u64 = 1_000_000;

const BASE: Source = other(0, 0);

const fn other(version: u64, at: u64) -> Source {
    Source::Stored { version, at }
}

fn run(source: Source, len: u64) -> Run {
    Run { source, len }
}

/// Base runs lie where they lie in the base.
fn placed(mut runs: Vec<Run>) -> Vec<Run> {
    let mut offset = 0;
    for run in &mut runs {
        if let Source::Stored { version: 0, at } = &mut run.source {
            *at = offset;
        }
        offset += run.len;
    }
    runs
}

fn plan(runs: &[Run], limits: Limits) -> Plan {
    super::plan(placed(runs.to_vec()).into_iter(), limits)
}

fn steps(plan: Plan) -> Vec<Step> {
    match plan {
        Plan::Parts(steps) => steps,
        Plan::Upload => panic!("one upload"),
    }
}

#[test]
fn appending_to_a_large_file_sends_only_what_was_appended() {
    let base = 10 << 30;
    let steps = steps(plan(&[run(BASE, base), run(Source::Data, 1 << 20)], LIMITS));
    assert_eq!(
        steps.last(),
        Some(&Step::Send(base..base + (1 << 20))),
        "{steps:?}"
    );
    assert_eq!(steps.iter().map(sent_bytes).sum::<u64>(), 1 << 20);
    assert_eq!(steps.len(), 23);
}

#[test]
fn patching_a_byte_in_the_middle_sends_one_minimal_part() {
    let steps = steps(plan(
        &[run(BASE, 3 << 30), run(Source::Data, 1), run(BASE, 3 << 30)],
        LIMITS,
    ));
    assert_eq!(steps.iter().map(sent_bytes).sum::<u64>(), MIN_PART);
}

#[test]
fn small_content_goes_up_in_one_call() {
    assert_eq!(plan(&[], LIMITS), Plan::Upload);
    assert_eq!(plan(&[run(Source::Data, 100 * MB)], LIMITS), Plan::Upload);
    assert_eq!(
        plan(&[run(BASE, 4 * MB), run(Source::Data, 1)], LIMITS),
        Plan::Upload
    );
}

#[test]
fn a_patch_of_a_middling_file_does_not_download_it() {
    let steps = steps(plan(
        &[
            run(BASE, 45 * MB),
            run(Source::Data, 4096),
            run(BASE, 45 * MB),
        ],
        LIMITS,
    ));
    assert_eq!(steps.iter().map(sent_bytes).sum::<u64>(), MIN_PART);
}

#[test]
fn a_few_stored_bytes_in_what_is_sent_anyway_are_no_reason_for_parts() {
    let runs = [
        run(Source::Data, 50 * MB),
        run(BASE, 4 * MB),
        run(Source::Data, 10 * MB),
    ];
    assert_eq!(plan(&runs, LIMITS), Plan::Upload);
}

#[test]
fn what_holds_downloaded_bytes_is_cut_short() {
    let runs = [
        run(Source::Data, 60 * MB),
        run(BASE, 4 * MB),
        run(Source::Data, 60 * MB),
    ];
    // Each is held in memory while it is sent.
    let steps = steps(plan(&runs, LIMITS));
    assert_eq!(steps.len() as u64, 124 * MB / MIN_PART, "{steps:?}");
}

#[test]
fn what_is_too_short_swallows_the_shorter_neighbour_and_no_more() {
    for (left, right) in [(5_500_000, 6 * MB), (6 * MB, 5_500_000)] {
        let runs = [
            run(other(3, 0), 20 * MB),
            run(other(1, 0), left),
            run(Source::Data, MB),
            run(other(2, 0), right),
            run(other(4, 0), 200 * MB),
        ];
        let steps = steps(plan(&runs, LIMITS));
        assert_eq!(
            steps.iter().map(sent_bytes).sum::<u64>(),
            6_500_000,
            "{steps:?}"
        );
    }
}

#[test]
fn a_cut_file_is_copied_in_two_parts() {
    assert_eq!(
        plan(&[run(BASE, 7 * MB)], LIMITS),
        Plan::Parts(vec![Step::Copy(0..5 * MB), Step::Copy(5 * MB..7 * MB)])
    );
}

#[test]
fn the_end_of_a_stream_is_shared_evenly() {
    for (len, part) in [
        (0, MIN_PART),
        (10 * MB, MIN_PART),
        (80 * MB, 10 * MB),
        (128 * MB, 16 * MB),
        (136 * MB, 8_500_000),
        (256 * MB, 16 * MB),
    ] {
        assert_eq!(SIZES.even(len, 8).part, part, "{len}");
    }
    assert_eq!(Sizes::new(MIN_PART, 4 * MB).even(30 * MB, 3).part, MIN_PART);
}

#[test]
fn ten_terabytes_fit_in_ten_thousand_parts() {
    for source in [BASE, Source::Data, Source::Zero] {
        let steps = steps(plan(&[run(source, MAX_FILE)], LIMITS));
        assert!(steps.len() <= 10_000, "{source:?}: {}", steps.len());
    }
    let mut spotted = Vec::new();
    for _ in 0..30_000 {
        spotted.push(run(BASE, 100 * MB));
        spotted.push(run(Source::Data, 1));
    }
    let steps = steps(plan(&spotted, LIMITS));
    assert!(steps.len() <= 10_000, "{}", steps.len());
}

#[test]
fn a_byte_and_terabytes_of_zeros_are_a_plan() {
    for source in [BASE, Source::Data] {
        for zeros in [4 << 40, MAX_FILE - 1] {
            let steps = steps(plan(&[run(source, 1), run(Source::Zero, zeros)], LIMITS));
            assert!(steps.len() <= 10_000, "{}", steps.len());
        }
    }
}

#[test]
fn a_plan_of_many_patches_takes_as_many_steps() {
    // Far and near each other: of hundreds of thousands, a quadratic plan takes minutes.
    for gap in [100, 10 * MB] {
        let mut spotted = Vec::new();
        for _ in 0..300_000 {
            spotted.push(run(BASE, gap));
            spotted.push(run(Source::Data, 4096));
        }
        let steps = steps(plan(&spotted, LIMITS));
        assert!(steps.len() <= 10_000, "{}", steps.len());
    }
}

#[test]
fn what_comes_from_two_versions_is_copied_from_each() {
    let head = run(other(1, 0), 30 * MB);
    assert_eq!(
        plan(&[head, run(other(2, 30 * MB), 10 * MB)], LIMITS),
        Plan::Parts(vec![Step::Copy(0..30 * MB), Step::Copy(30 * MB..40 * MB)])
    );
    // The same version, but not the same place.
    assert_eq!(
        plan(&[head, run(other(1, 0), 30 * MB)], LIMITS),
        Plan::Parts(vec![Step::Copy(0..30 * MB), Step::Copy(30 * MB..60 * MB)])
    );
    // In one piece, though it came in two.
    assert_eq!(
        plan(&[head, run(other(1, 30 * MB), 6 * MB)], LIMITS),
        Plan::Parts(vec![Step::Copy(0..18 * MB), Step::Copy(18 * MB..36 * MB)])
    );
}

#[test]
fn a_short_copy_between_two_versions_is_fetched_and_filled_up() {
    let steps = steps(plan(
        &[
            run(other(1, 0), 50 * MB),
            run(other(2, 0), 1000),
            run(other(3, 0), 50 * MB),
        ],
        LIMITS,
    ));
    assert_eq!(steps.len(), 3, "{steps:?}");
    assert_eq!(steps.iter().map(sent_bytes).sum::<u64>(), MIN_PART);
}

fn runs() -> impl Strategy<Value = Vec<Run>> {
    let source = prop_oneof![
        3 => Just(BASE),
        2 => (1u64..3, 0u64..4).prop_map(|(version, at)| other(version, at * MIN_PART)),
        2 => Just(Source::Data),
        1 => Just(Source::Zero),
    ];
    let len = prop_oneof![1u64..10_000, 1u64..12_000_000, 1u64..3_000_000_000];
    proptest::collection::vec((source, len).prop_map(|(s, l)| run(s, l)), 1..30)
}

/// What accounts may ask for; almost always the usual.
fn least() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => Just(MIN_PART),
        1 => 1u64..MIN_PART,
        1 => MIN_PART..30_000_000,
    ]
}

#[test]
fn an_account_that_allows_short_parts_gets_shorter_patches() {
    let limits = Limits {
        sizes: Sizes::new(100_000, 16 * MB),
        ..LIMITS
    };
    let patched = [run(BASE, 3 << 30), run(Source::Data, 1), run(BASE, 3 << 30)];
    let steps = steps(plan(&patched, limits));
    assert_eq!(steps.iter().map(sent_bytes).sum::<u64>(), 100_000);
    // But a copy of some bytes only is not worth a call.
    let dotted: Vec<Run> = (0..200)
        .flat_map(|_| [run(BASE, 200_000), run(Source::Data, 100)])
        .collect();
    let steps = self::steps(plan(&[&dotted[..], &patched[..]].concat(), limits));
    assert!(steps.len() < 100, "{}", steps.len());
}

proptest! {
    #[test]
    fn as_many_parts_as_b2_has_already(
        runs in runs(),
        least in least(),
        part in 1u64..20_000_000,
        min in 1u64..40,
    ) {
        let runs = placed(runs);
        let size: u64 = runs.iter().map(|r| r.len).sum();
        // As long as that many parts need.
        let min = min.min(1 + size.saturating_sub(1) / least);
        let steps = super::parts(0, runs.iter().copied(), Sizes::new(least, part), 10_000, min);
        prop_assert!(steps.len() as u64 >= min);
        let mut at = 0;
        for (i, step) in steps.iter().enumerate() {
            prop_assert_eq!(step.range().start, at);
            prop_assert!(step.len() >= least || i + 1 == steps.len() && step.len() > 0);
            at = step.range().end;
        }
        prop_assert_eq!(at, size);
    }

    #[test]
    fn a_plan_covers_everything_once_within_the_limits(
        runs in runs(),
        least in least(),
        part in 1u64..64_000_000,
    ) {
        let limits = Limits { sizes: Sizes::new(least, part), ..LIMITS };
        let runs = placed(runs);
        let size: u64 = runs.iter().map(|r| r.len).sum();
        let Plan::Parts(steps) = plan(&runs, limits) else {
            prop_assert!(size <= least || size <= limits.large_file);
            return Ok(());
        };
        prop_assert!((2..=10_000).contains(&steps.len()));
        let mut at = 0;
        for (i, step) in steps.iter().enumerate() {
            let range = step.range();
            prop_assert_eq!(range.start, at);
            let len = range.end - range.start;
            prop_assert!((1..=MAX_PART).contains(&len));
            prop_assert!(len >= least || i + 1 == steps.len(), "part {} has {}", i, len);
            at = range.end;
            if let Step::Copy(range) = step {
                // Only what lies in one piece in one version may be copied.
                let (mut from, mut place) = (0, None);
                for run in &runs {
                    let to = from + run.len;
                    if from < range.end && to > range.start {
                        let Source::Stored { version, at } = run.source else {
                            panic!("{:?} is copied", run.source);
                        };
                        let here = (version, i128::from(at) - i128::from(from));
                        prop_assert_eq!(*place.get_or_insert(here), here);
                    }
                    from = to;
                }
            }
        }
        prop_assert_eq!(at, size);
        // Each stretch that must be sent costs at most what fills it up on either side.
        let mut stretches = joined(runs.iter().copied()).collect::<Vec<_>>();
        let worth = least.max(PARTS_COST);
        stretches.retain(|run| !run.source.is_stored() || run.len < worth);
        let must: u64 = stretches.iter().map(|run| run.len).sum();
        let sent: u64 = steps.iter().map(sent_bytes).sum();
        let fill = (stretches.len() as u64 + 1) * 2 * worth;
        prop_assert!(sent <= must + fill, "sent {} of {}", sent, must);
    }
}

/// How far a stream comes in so much memory (as `Budget` leaves it to writes), in bytes and parts.
fn streamed_to(memory: u64, part: u64, uploads: usize) -> (u64, u64) {
    let sizes = Sizes::new(MIN_PART, part);
    let (mut issued, mut n, mut before) = (0, 0, 0);
    while n < most_streamed(issued) && issued < MAX_FILE {
        let size = streamed(n, sizes, memory, uploads);
        assert!(size >= before.max(MIN_PART) && size <= MAX_PART);
        assert!(size <= (memory / 2).max(MIN_PART), "{size}");
        before = size;
        issued += size;
        n += 1;
    }
    (issued, n)
}

/// What `Budget` leaves to writes.
fn left_to_writes(memory: u64) -> u64 {
    memory - (memory / 8).clamp(12 << 20, 64 << 20)
}

#[test]
fn a_stream_comes_as_far_as_is_said() {
    let usual =
        |memory: u64| streamed_to(left_to_writes(memory << 20), 16 << 20, 8).0 / 1_000_000_000;
    assert_eq!(
        [32, 64, 128, 512, 1024, 2048, 8192].map(usual),
        [41, 108, 234, 973, 2_210, 10_000, 10_002]
    );
    // How much of that with all uploads under way.
    let sizes = Sizes::new(MIN_PART, 16 << 20);
    let with_all = |memory: u64| {
        let memory = left_to_writes(memory << 20);
        let parts = (0..).map(|n| streamed(n, sizes, memory, 8));
        parts
            .take_while(|size| *size <= (memory / 9).max(MIN_PART))
            .sum::<u64>()
            / 1_000_000_000
    };
    assert_eq!([64, 512, 2048, 4096].map(with_all), [30, 195, 52, 1_844]);
}

proptest! {
    #[test]
    fn ten_terabytes_stream_through_two_gibibytes(
        memory in (2u64 << 30)..(64 << 30),
        part in MIN_PART..1_000_000_000,
        uploads in 1usize..64,
    ) {
        let (issued, n) = streamed_to(left_to_writes(memory), part, uploads);
        prop_assert!(issued >= MAX_FILE && n <= 9_900, "{} in {}", issued, n);
    }

    #[test]
    fn what_lies_behind_a_stream_can_be_copied(
        memory in (12u64 << 20)..(64 << 30),
        part in MIN_PART..1_000_000_000,
        uploads in 1usize..64,
    ) {
        let (issued, n) = streamed_to(memory, part, uploads);
        let rest = MAX_FILE.saturating_sub(issued);
        if rest > 0 {
            let steps = super::parts(issued, [run(other(1, 0), rest)].into_iter(), SIZES, MAX_PARTS - n, 1);
            prop_assert!(steps.len() as u64 + n <= MAX_PARTS);
        }
    }
}
