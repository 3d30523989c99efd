//! The table of API §12 row by row, and what no sequence of failures may break.

use std::time::Duration;

use proptest::prelude::*;

use super::{Decision, FailedTry, Ladder, Refusal, Route};

const LIMIT: Duration = Duration::from_secs(120);
const NOW: Duration = Duration::from_secs(1);

fn refused(status: u16, code: &str) -> FailedTry {
    FailedTry::Refused(Refusal {
        status,
        code: code.to_owned(),
        ..Refusal::default()
    })
}

fn asked_to_wait(status: u16, seconds: u64) -> FailedTry {
    FailedTry::Refused(Refusal {
        status,
        retry_after: Some(Duration::from_secs(seconds)),
        ..Refusal::default()
    })
}

fn broken() -> FailedTry {
    FailedTry::Network {
        sent: true,
        detail: String::new(),
    }
}

fn first(route: Route, failure: &FailedTry) -> Decision {
    Ladder::new(route, LIMIT).decide(failure, NOW, 0.5)
}

fn wait(decision: Decision) -> Duration {
    match decision {
        Decision::Retry { wait, .. } => wait,
        Decision::GiveUp => panic!("gave up"),
    }
}

const ALL: [Route; 4] = [Route::Api, Route::Authorize, Route::Upload, Route::Download];

#[test]
fn final_answers_are_not_asked_for_twice() {
    let rows = [
        (400, "bad_request"),
        (400, "bad_json"),
        (400, "out_of_range"),
        (400, "bad_bucket_id"),
        (400, "file_not_present"),
        (400, "no_such_file"),
        (400, "already_hidden"),
        (400, "missing_part"),
        (400, "part_sha1_mismatch"),
        (400, "source_too_large"),
        (401, "unauthorized"),
        (401, "access_denied"),
        (401, "unsupported"),
        (401, "email_not_verified"),
        (401, "no_payment_history"),
        (403, "cap_exceeded"),
        (403, "storage_cap_exceeded"),
        (403, "transaction_cap_exceeded"),
        (403, "download_cap_exceeded"),
        (403, "access_denied"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (409, "conflict"),
        (416, "range_not_satisfiable"),
        (302, ""),
    ];
    for route in ALL {
        for (status, code) in rows {
            let decision = first(route, &refused(status, code));
            assert_eq!(decision, Decision::GiveUp, "{route:?} {status} {code}");
        }
    }
}

#[test]
fn a_dead_account_token_is_renewed_at_once() {
    let renewed = Decision::Retry {
        wait: Duration::ZERO,
        renew: true,
    };
    for code in ["bad_auth_token", "expired_auth_token", ""] {
        for route in [Route::Api, Route::Download] {
            assert_eq!(first(route, &refused(401, code)), renewed, "{code}");
        }
        let decision = first(Route::Authorize, &refused(401, code));
        assert_eq!(decision, Decision::GiveUp);
    }
}

#[test]
fn a_token_that_stays_dead_ends_the_call() {
    let mut ladder = Ladder::new(Route::Api, LIMIT);
    let dead = refused(401, "expired_auth_token");
    assert_eq!(wait(ladder.decide(&dead, NOW, 0.5)), Duration::ZERO);
    assert!(wait(ladder.decide(&dead, NOW, 0.5)) > Duration::ZERO);
    assert_eq!(ladder.decide(&dead, NOW, 0.5), Decision::GiveUp);
}

const AT_ONCE: Decision = Decision::Retry {
    wait: Duration::ZERO,
    renew: false,
};

/// How often and for how long a call is tried that fails always, at once.
fn outlasts(route: Route, limit: Duration, failure: &FailedTry) -> (u32, Duration) {
    let mut ladder = Ladder::new(route, limit);
    let (mut tries, mut now) = (1, Duration::ZERO);
    while let Decision::Retry { wait, .. } = ladder.decide(failure, now, 0.5) {
        tries += 1;
        now += wait;
    }
    (tries, now)
}

#[test]
fn an_upload_tries_five_urls_where_time_mends_nothing() {
    let failures = [
        refused(401, "expired_auth_token"),
        refused(401, "bad_auth_token"),
        refused(400, "auth_token_limit"),
        FailedTry::Garbled(String::new()),
    ];
    for failure in failures {
        assert_eq!(first(Route::Upload, &failure), AT_ONCE, "{failure:?}");
        assert_eq!(outlasts(Route::Upload, LIMIT, &failure).0, 5);
        assert!(!failure.keeps_upload_url());
    }
}

#[test]
fn an_upload_goes_on_with_new_urls_until_its_time_is_up() {
    for failure in [
        refused(408, "request_timeout"),
        refused(500, "internal_error"),
        refused(503, "service_unavailable"),
        refused(502, ""),
        broken(),
    ] {
        assert_eq!(first(Route::Upload, &failure), AT_ONCE, "{failure:?}");
        for limit in [LIMIT / 10, LIMIT, 30 * LIMIT] {
            let (_, end) = outlasts(Route::Upload, limit, &failure);
            assert!(
                end > limit.mul_f64(0.8) && end < limit,
                "{end:?} of {limit:?}"
            );
        }
        assert!(!failure.keeps_upload_url());
    }
}

#[test]
fn every_fault_that_may_pass_is_waited_for_until_the_time_is_up() {
    for route in ALL {
        for failure in [broken(), refused(503, ""), refused(429, "")] {
            for limit in [LIMIT / 10, LIMIT, 30 * LIMIT] {
                let (_, end) = outlasts(route, limit, &failure);
                assert!(
                    end > limit.mul_f64(0.8) && end < limit,
                    "{route:?} {end:?} of {limit:?}"
                );
            }
        }
    }
}

#[test]
fn what_an_upload_sends_again_does_not_give_its_time_back() {
    let mut ladder = Ladder::new(Route::Upload, LIMIT);
    let mut now = Duration::ZERO;
    let mut tries = 0;
    loop {
        now += Duration::from_secs(600);
        ladder.sent_for(Duration::from_secs(600));
        match ladder.decide(&refused(503, ""), now, 0.5) {
            Decision::Retry { wait, .. } => now += wait,
            Decision::GiveUp => break,
        }
        tries += 1;
    }
    assert!((5..50).contains(&tries), "{tries}");
}

#[test]
fn a_slowed_upload_keeps_its_url() {
    let slow = asked_to_wait(429, 3);
    assert!(slow.keeps_upload_url());
    assert!(wait(first(Route::Upload, &slow)) >= Duration::from_secs(3));
}

#[test]
fn a_wrong_checksum_is_sent_again_twice() {
    let failure = FailedTry::Refused(Refusal {
        status: 400,
        code: "bad_request".to_owned(),
        message: "Sha1 did not match data received".to_owned(),
        retry_after: None,
    });
    assert_eq!(first(Route::Api, &failure), Decision::GiveUp);
    let mut ladder = Ladder::new(Route::Upload, LIMIT);
    assert_ne!(ladder.decide(&failure, NOW, 0.5), Decision::GiveUp);
    assert_ne!(ladder.decide(&failure, NOW, 0.5), Decision::GiveUp);
    assert_eq!(ladder.decide(&failure, NOW, 0.5), Decision::GiveUp);
}

#[test]
fn waits_double_from_a_second_and_outlast_a_minute() {
    for status in [408, 429, 500, 503, 504] {
        let mut ladder = Ladder::new(Route::Api, LIMIT);
        let failure = refused(status, "");
        let waits: Vec<u64> = (0..7)
            .map(|_| wait(ladder.decide(&failure, NOW, 0.5)).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30], "{status}");
    }
}

#[test]
fn a_lost_connection_is_tried_again_sooner() {
    let mut ladder = Ladder::new(Route::Api, LIMIT);
    let waits: Vec<u128> = (0..3)
        .map(|_| wait(ladder.decide(&broken(), NOW, 0.5)).as_millis())
        .collect();
    assert_eq!(waits, [125, 250, 500]);
}

#[test]
fn retry_after_is_honoured_and_restarts_the_ladder() {
    let mut ladder = Ladder::new(Route::Api, LIMIT);
    ladder.decide(&refused(503, ""), NOW, 0.5);
    ladder.decide(&refused(503, ""), NOW, 0.5);
    let told = wait(ladder.decide(&asked_to_wait(503, 7), NOW, 0.5));
    assert!((7..8).contains(&told.as_secs()), "{told:?}");
    let next = ladder.decide(&refused(503, ""), NOW, 0.5);
    assert_eq!(wait(next), Duration::from_secs(1));
}

#[test]
fn retry_after_is_never_undercut_and_spreads_those_who_were_told_the_same() {
    let told = |random| {
        let mut ladder = Ladder::new(Route::Api, LIMIT);
        wait(ladder.decide(&asked_to_wait(429, 60), NOW, random))
    };
    assert_eq!(told(0.0), Duration::from_secs(60));
    assert!(told(0.5) > told(0.0) && told(1.0) > told(0.5));
}

#[test]
fn retry_after_zero_backs_off_all_the_same() {
    let mut ladder = Ladder::new(Route::Api, LIMIT);
    let waits: Vec<u64> = (0..5)
        .map(|_| wait(ladder.decide(&asked_to_wait(429, 0), NOW, 0.5)).as_secs())
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16]);
}

#[test]
fn retry_after_as_long_as_the_limit_is_honoured_once() {
    for random in [0.0, 0.5, 1.0] {
        let mut ladder = Ladder::new(Route::Api, LIMIT);
        let told = wait(ladder.decide(&asked_to_wait(429, LIMIT.as_secs()), NOW, random));
        assert!(told >= LIMIT, "{told:?}");
        let after = NOW + told;
        assert!(ladder.remaining(after) > Duration::from_secs(5));
        let again = ladder.decide(&asked_to_wait(429, LIMIT.as_secs()), after, random);
        assert_eq!(again, Decision::GiveUp);
    }
}

#[test]
fn who_is_asked_to_wait_longer_than_a_call_may_last_gives_up() {
    let week = asked_to_wait(429, 7 * 24 * 3600);
    assert_eq!(first(Route::Api, &week), Decision::GiveUp);
}

#[test]
fn time_since_progress_ends_a_call() {
    for route in ALL {
        let mut ladder = Ladder::new(route, LIMIT);
        assert_eq!(ladder.decide(&broken(), LIMIT, 0.5), Decision::GiveUp);
        let mut ladder = Ladder::new(route, LIMIT);
        ladder.queued(LIMIT);
        assert_ne!(ladder.decide(&broken(), LIMIT, 0.5), Decision::GiveUp);
    }
}

#[test]
fn no_try_is_begun_in_the_last_moment() {
    let mut ladder = Ladder::new(Route::Api, LIMIT);
    let soon = Duration::from_millis(119_500);
    assert_eq!(ladder.decide(&broken(), soon, 0.5), Decision::GiveUp);
}

#[test]
fn a_network_that_is_back_is_noticed_soon() {
    let mut ladder = Ladder::new(Route::Api, LIMIT);
    let longest = (0..12).map(|_| wait(ladder.decide(&broken(), NOW, 0.5)));
    assert_eq!(longest.max(), Some(Duration::from_secs(10)));
}

#[test]
fn time_in_a_queue_does_not_count() {
    let mut ladder = Ladder::new(Route::Upload, LIMIT);
    ladder.queued(10 * LIMIT);
    let now = 10 * LIMIT + NOW;
    assert_eq!(ladder.remaining(now) + NOW, LIMIT);
    assert_ne!(ladder.decide(&broken(), now, 0.5), Decision::GiveUp);
}

#[test]
fn a_download_counts_anew_with_each_byte() {
    let mut ladder = Ladder::new(Route::Download, LIMIT);
    for round in 1..100 {
        let now = LIMIT * round / 2;
        assert_ne!(ladder.decide(&broken(), now, 0.5), Decision::GiveUp);
        ladder.progress(now);
    }
}

#[test]
fn what_may_have_been_done_is_told_from_what_was_not() {
    let lost = |sent| FailedTry::Network {
        sent,
        detail: String::new(),
    };
    for (failure, ambiguous) in [
        (lost(true), true),
        (lost(false), false),
        (lost(true).unsent(), false),
        (refused(500, "internal_error"), true),
        (refused(502, ""), true),
        (refused(503, "service_unavailable"), false),
        (refused(429, ""), false),
        (refused(400, ""), false),
        (FailedTry::Garbled(String::new()), true),
        (FailedTry::Nonsense(String::new()), false),
    ] {
        assert_eq!(failure.ambiguous(), ambiguous, "{failure:?}");
        assert_eq!(failure.may_have_worked(), ambiguous, "{failure:?}");
    }
    // B2 has the bytes, but not those that were meant.
    let mismatch = FailedTry::Mismatch(String::new());
    assert!(mismatch.may_have_worked() && !mismatch.ambiguous());
    assert_eq!((refused(404, "").status(), lost(true).status()), (404, 0));
}

#[test]
fn a_mistake_of_the_configuration_is_known_by_its_words() {
    let before = |detail: &str| FailedTry::Network {
        sent: false,
        detail: detail.to_owned(),
    };
    let says = |failure: FailedTry| failure.hopeless().unwrap_or_default();
    let host = "cannot connect: failed to lookup address: Name or service not known";
    assert!(says(before(host)).contains("endpoint's name"));
    assert!(says(before("invalid peer certificate: UnknownIssuer")).contains("certificates"));
    assert_eq!(before("connection refused").hopeless(), None);
    let sent = FailedTry::Network {
        sent: true,
        detail: host.to_owned(),
    };
    assert_eq!(sent.hopeless(), None);
}

#[test]
fn an_answer_that_cannot_be_read_is_as_a_lost_one() {
    let garbled = FailedTry::Garbled("half of it".to_owned());
    for route in [Route::Api, Route::Authorize, Route::Download] {
        assert_eq!(
            outlasts(route, LIMIT, &garbled),
            outlasts(route, LIMIT, &broken())
        );
    }
}

#[test]
fn wrong_bytes_and_nonsense_are_final() {
    for route in ALL {
        for failure in [
            FailedTry::Mismatch(String::new()),
            FailedTry::Nonsense(String::new()),
        ] {
            assert_eq!(first(route, &failure), Decision::GiveUp);
        }
    }
}

fn failures() -> impl Strategy<Value = FailedTry> {
    let status = prop_oneof![
        Just(400_u16),
        Just(401),
        Just(403),
        Just(408),
        Just(429),
        Just(500),
        Just(503),
        200..600_u16
    ];
    let code = prop_oneof![
        Just(""),
        Just("bad_auth_token"),
        Just("auth_token_limit"),
        Just("bad_request")
    ];
    prop_oneof![
        Just(broken()),
        (status, code, proptest::option::of(0..100_000_u64)).prop_map(|(status, code, after)| {
            FailedTry::Refused(Refusal {
                status,
                code: code.to_owned(),
                message: "checksum".to_owned(),
                retry_after: after.map(Duration::from_secs),
            })
        })
    ]
}

proptest! {
    #[test]
    fn every_call_ends_in_time_and_tries(
        route in prop_oneof![
            Just(Route::Api), Just(Route::Authorize), Just(Route::Upload), Just(Route::Download)
        ],
        limit in 1..1000_u64,
        failures in proptest::collection::vec((failures(), 0..20_000_u64, 0.0..1.0), 2000)
    ) {
        let limit = Duration::from_secs(limit);
        let mut ladder = Ladder::new(route, limit);
        let mut now = Duration::ZERO;
        let mut ended = false;
        for (failure, took, random) in failures {
            now += Duration::from_millis(took);
            match ladder.decide(&failure, now, random) {
                Decision::GiveUp => { ended = true; break }
                Decision::Retry { wait, renew } => {
                    prop_assert!(wait <= limit.mul_f64(1.1));
                    prop_assert!(!renew || matches!(route, Route::Api | Route::Download));
                    now += wait;
                    prop_assert!(now < limit.mul_f64(2.25), "a try would begin after the call's end");
                }
            }
        }
        prop_assert!(ended);
    }
}
