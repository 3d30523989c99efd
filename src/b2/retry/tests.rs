//! The table of API §12 row by row, and what no sequence of failures may break.

use std::time::Duration;

use proptest::prelude::*;

use super::{Decision, FailedTry, Ladder, MAX_RETRY_AFTER, Refusal, Route};

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

#[test]
fn an_upload_tries_five_urls_the_second_at_once() {
    let failures = [
        refused(401, "expired_auth_token"),
        refused(401, "bad_auth_token"),
        refused(400, "auth_token_limit"),
        refused(408, "request_timeout"),
        refused(500, "internal_error"),
        refused(503, "service_unavailable"),
        refused(502, ""),
        broken(),
        FailedTry::Garbled(String::new()),
    ];
    for failure in failures {
        let mut ladder = Ladder::new(Route::Upload, LIMIT);
        let at_once = Decision::Retry {
            wait: Duration::ZERO,
            renew: false,
        };
        assert_eq!(ladder.decide(&failure, NOW, 0.5), at_once, "{failure:?}");
        for _ in 0..3 {
            assert!(wait(ladder.decide(&failure, NOW, 0.5)) > Duration::ZERO);
        }
        assert_eq!(ladder.decide(&failure, NOW, 0.5), Decision::GiveUp);
        assert!(!failure.keeps_upload_url());
    }
}

#[test]
fn a_slowed_upload_keeps_its_url() {
    let slow = asked_to_wait(429, 3);
    assert!(slow.keeps_upload_url());
    assert_eq!(wait(first(Route::Upload, &slow)), Duration::from_secs(3));
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
    let told = ladder.decide(&asked_to_wait(503, 7), NOW, 0.5);
    assert_eq!(wait(told), Duration::from_secs(7));
    let next = ladder.decide(&refused(503, ""), NOW, 0.5);
    assert_eq!(wait(next), Duration::from_secs(1));
}

#[test]
fn retry_after_is_capped_and_never_outlasts_the_call() {
    let week = asked_to_wait(429, 7 * 24 * 3600);
    let mut patient = Ladder::new(Route::Api, 10 * LIMIT);
    assert_eq!(wait(patient.decide(&week, NOW, 0.5)), MAX_RETRY_AFTER);
    assert_eq!(first(Route::Api, &week), Decision::GiveUp);
}

#[test]
fn time_since_progress_ends_a_call() {
    for route in ALL {
        let mut ladder = Ladder::new(route, LIMIT);
        assert_eq!(ladder.decide(&broken(), LIMIT, 0.5), Decision::GiveUp);
        let mut ladder = Ladder::new(route, LIMIT);
        ladder.progress(LIMIT);
        assert_ne!(ladder.decide(&broken(), LIMIT, 0.5), Decision::GiveUp);
    }
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
    for second in 1..100 {
        let now = Duration::from_secs(second);
        assert_ne!(ladder.decide(&broken(), now, 0.5), Decision::GiveUp);
        ladder.progress(now);
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
        failures in proptest::collection::vec((failures(), 0..20_000_u64, 0.0..1.0), 20)
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
                    prop_assert!(wait < limit);
                    prop_assert!(wait <= MAX_RETRY_AFTER);
                    prop_assert!(!renew || matches!(route, Route::Api | Route::Download));
                    now += wait;
                    prop_assert!(now < limit, "a try would begin after the call's end");
                }
            }
        }
        prop_assert!(ended);
    }
}
