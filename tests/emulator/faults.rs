//! The switches, the control addresses and the counters of the emulator itself.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Answer, Fixture, basic, bytes, sha1, start, start_with};
use b2fuse::emulator::{Options, Seed, Server, seeded_content};

async fn control(f: &Fixture, path: &str, body: Value) -> Answer {
    let url = format!("{}/emulator/{path}", f.endpoint);
    let key = basic(f.server.key_id(), f.server.key());
    let request = f.http.post(url).header("authorization", key);
    Answer::of(request.body(body.to_string())).await.unwrap()
}

fn list(f: &Fixture) -> Value {
    json!({"bucketId": f.bucket})
}

#[tokio::test]
async fn statuses_strike_as_often_as_told() {
    let f = start().await;
    for (word, status, code) in [
        ("503", 503, "service_unavailable"),
        ("429", 429, "too_many_requests"),
        ("500", 500, "internal_error"),
        ("408", 408, "request_timeout"),
        ("400", 400, "bad_request"),
        ("403", 403, "cap_exceeded"),
        ("bad-token", 401, "bad_auth_token"),
    ] {
        control(&f, "faults", json!([format!("list_file_names:{word}:2")]))
            .await
            .ok();
        for _ in 0..2 {
            f.call("b2_list_file_names", list(&f))
                .await
                .is_error(status, code);
        }
        f.ok("b2_list_file_names", list(&f)).await;
    }
}

#[tokio::test]
async fn retry_after_is_told_when_asked() {
    let f = start().await;
    f.server.set_faults(&["*:429=7:1", "*:503:1"]).unwrap();
    assert_eq!(
        f.call("b2_list_file_names", list(&f))
            .await
            .header("retry-after"),
        "7"
    );
    assert_eq!(
        f.call("b2_list_file_names", list(&f))
            .await
            .header("retry-after"),
        ""
    );
}

#[tokio::test]
async fn a_gateway_answers_in_html() {
    let f = start().await;
    f.server.set_faults(&["*:502:1"]).unwrap();
    let answer = f.call("b2_list_file_names", list(&f)).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (502, "text/html")
    );
}

#[tokio::test]
async fn an_expired_token_stays_expired() {
    let f = start().await;
    f.server.set_faults(&["list_file_names:401:1"]).unwrap();
    for _ in 0..2 {
        f.call("b2_list_file_names", list(&f))
            .await
            .is_error(401, "expired_auth_token");
    }
}

#[tokio::test]
async fn tokens_expire_by_time_and_on_demand() {
    let f = start_with(Options {
        faults: vec!["token-life=3".to_owned()],
        ..Options::default()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(3100)).await;
    f.call("b2_list_file_names", list(&f))
        .await
        .is_error(401, "expired_auth_token");
    let f = start().await;
    let request = f.upload_request("a", b"x").await;
    control(&f, "expire-tokens", json!({})).await.ok();
    f.call("b2_list_file_names", list(&f))
        .await
        .is_error(401, "expired_auth_token");
    Answer::of(request)
        .await
        .unwrap()
        .is_error(401, "expired_auth_token");
}

#[tokio::test]
async fn resets_before_and_amid_an_upload_store_nothing() {
    let f = start().await;
    for kind in ["reset", "reset-mid"] {
        let request = f.upload_request("a", &bytes(3_000_000, 1)).await;
        f.server
            .set_faults(&[&format!("upload_file:{kind}:1")])
            .unwrap();
        assert!(Answer::of(request).await.is_err(), "{kind}");
        assert_eq!(f.versions(json!({})).await, vec![]);
    }
}

#[tokio::test]
async fn a_lost_reply_leaves_the_effect() {
    let f = start().await;
    f.server
        .set_faults(&["upload_file:lost-reply:1", "hide_file:lost-reply:1"])
        .unwrap();
    let request = f.upload_request("a", b"stored").await;
    assert!(Answer::of(request).await.is_err());
    assert_eq!(f.get("a").await.body, b"stored");
    let hide = json!({"bucketId": f.bucket, "fileName": "a"});
    assert!(f.try_call("b2_hide_file", hide.clone()).await.is_err());
    f.call("b2_hide_file", hide)
        .await
        .is_error(400, "already_hidden");
}

#[tokio::test]
async fn downloads_break_off_or_lie() {
    let f = start().await;
    let content = bytes(3_000_000, 1);
    f.upload("a", &content).await;
    for kind in ["truncate", "reset-mid"] {
        f.server
            .set_faults(&[&format!("download:{kind}:1")])
            .unwrap();
        let mut response = f.by_name(Method::GET, "a").send().await.unwrap();
        assert_eq!(response.content_length(), Some(3_000_000));
        let mut got = 0;
        let broke = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => got += chunk.len(),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(broke && got <= 1_500_000, "{kind}: {got} bytes");
    }
    f.server.set_faults(&["download:corrupt:1"]).unwrap();
    let wrong = f.get("a").await;
    assert_eq!((wrong.status, wrong.body.len()), (200, content.len()));
    assert_ne!(sha1(&wrong.body), wrong.header("x-bz-content-sha1"));
    assert!(f.get("a").await.body == content);
}

#[tokio::test]
async fn a_stall_delays_and_latency_does_always() {
    let f = start_with(Options {
        latency: Duration::from_millis(60),
        ..Options::default()
    })
    .await;
    let began = Instant::now();
    f.ok("b2_list_file_names", list(&f)).await;
    assert!(began.elapsed() >= Duration::from_millis(60));
    f.server.set_faults(&["*:stall=1:1"]).unwrap();
    let began = Instant::now();
    f.ok("b2_list_file_names", list(&f)).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_transfer_may_pause_in_its_middle() {
    let f = start().await;
    let content = bytes(3_000_000, 1);
    f.server
        .set_faults(&["upload:stall-mid=1:1", "download:stall-mid=1:1"])
        .unwrap();
    let began = Instant::now();
    f.upload("a", &content).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    let began = Instant::now();
    assert!(f.get("a").await.body == content);
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn bandwidth_bounds_each_direction() {
    let f = start_with(Options {
        bandwidth: Some(2_000_000),
        ..Options::default()
    })
    .await;
    let content = bytes(1_000_000, 1);
    let began = Instant::now();
    f.upload("a", &content).await;
    let up = began.elapsed();
    let began = Instant::now();
    assert!(f.get("a").await.body == content);
    let down = began.elapsed();
    for time in [up, down] {
        assert!((0.4..10.0).contains(&time.as_secs_f64()), "{time:?}");
    }
}

#[tokio::test]
async fn pages_may_be_short_or_empty_and_go_on() {
    let f = start().await;
    f.upload_all(&["a", "b"]).await;
    f.server
        .set_faults(&["list:empty-page:1", "list:short-page:1"])
        .unwrap();
    assert_eq!(f.names(json!({})).await, (vec![], json!("a")));
    let (rows, next) = f.names(json!({})).await;
    assert_eq!((rows.len(), next), (1, json!("b")));
    assert_eq!(f.names(json!({})).await.0.len(), 2);
}

#[tokio::test]
async fn the_test_mode_header_makes_faults() {
    let f = start().await;
    let body = list(&f).to_string();
    let call = |mode: &str| {
        f.http
            .post(format!("{}/b2api/v4/b2_list_file_names", f.api_url))
            .header("authorization", &f.token)
            .header("x-bz-test-mode", mode)
            .body(body.clone())
    };
    Answer::of(call("force_cap_exceeded"))
        .await
        .unwrap()
        .is_error(403, "cap_exceeded");
    let mut failed = 0;
    for _ in 0..60 {
        let request = f
            .upload_request("a", b"x")
            .await
            .header("x-bz-test-mode", "fail_some_uploads");
        failed += u32::from(Answer::of(request).await.unwrap().status == 503);
    }
    assert!((1..60).contains(&failed), "{failed}");
    let mut answers = Vec::new();
    for _ in 0..200 {
        answers.push(
            Answer::of(call("expire_some_account_authorization_tokens"))
                .await
                .unwrap(),
        );
    }
    answers.last().unwrap().is_error(401, "expired_auth_token");
}

#[tokio::test]
async fn calls_are_counted_by_name_and_class() {
    let f = start().await;
    control(&f, "reset", json!({})).await.ok();
    f.upload("a", b"12345").await;
    f.get("a").await;
    f.ok(
        "b2_list_file_names",
        json!({"bucketId": f.bucket, "maxFileCount": 2500}),
    )
    .await;
    let counters = f.server.counters();
    assert_eq!(
        (counters.class_a, counters.class_b, counters.class_c),
        (2, 1, 3)
    );
    assert_eq!((counters.bytes_in, counters.bytes_out), (5, 5));
    assert_eq!(counters.calls["b2_upload_file"], 1);
    let url = format!("{}/emulator/counters", f.endpoint);
    let request = f.http.get(url).header("authorization", &f.token);
    let json = Answer::of(request).await.unwrap().ok();
    assert_eq!(json["calls"]["b2_get_upload_url"], 1);
    assert_eq!(
        (&json["classC"], &json["answers"]["200"]),
        (&json!(3), &json!(4))
    );
}

#[tokio::test]
async fn seeded_objects_have_their_documented_content() {
    let f = start().await;
    let files = json!([
        {"name": "d/a.txt", "size": 10_000, "uploadTimestamp": 1_500_000_000_000u64, "info": {"k": "v"}},
        {"name": "huge", "size": 20_000_000_000u64},
    ]);
    let made = control(
        &f,
        "seed",
        json!({"bucketName": f.bucket_name, "files": files}),
    )
    .await
    .ok();
    assert_eq!(made["made"], 2);
    let answer = f.get("d/a.txt").await;
    let mut wanted = vec![0; 10_000];
    seeded_content("d/a.txt", 0, &mut wanted);
    assert!(answer.body == wanted);
    assert_eq!(answer.header("x-bz-content-sha1"), sha1(&wanted));
    assert_eq!(answer.header("x-bz-upload-timestamp"), "1500000000000");
    assert_eq!(answer.header("x-bz-info-k"), "v");
    let request = f
        .by_name(Method::GET, "huge")
        .header("range", "bytes=15000000003-15000000012");
    let mut wanted = [0; 10];
    seeded_content("huge", 15_000_000_003, &mut wanted);
    assert_eq!(Answer::of(request).await.unwrap().body, wanted);
}

#[tokio::test]
async fn wrong_words_are_refused_with_the_way_out() {
    let words = Options {
        faults: vec!["upload_file:never".to_owned()],
        ..Options::default()
    };
    let error = Server::start(words).expect_err("no such kind").to_string();
    assert!(
        error.contains("upload_file:never") && error.contains("kinds are"),
        "{error}"
    );
    let f = start().await;
    control(&f, "faults", json!(["nonsense"]))
        .await
        .is_error(400, "bad_request");
    let elsewhere = Options {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..Options::default()
    };
    assert!(Server::start(elsewhere).is_err());
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let f = start().await;
    let endpoint = f.endpoint.clone();
    let Fixture { server, .. } = f;
    drop(server);
    assert!(crate::api::http().get(endpoint).send().await.is_err());
}

#[tokio::test]
async fn keys_can_be_made_from_the_test() {
    let f = start().await;
    let seeds = [Seed {
        name: "in/a".to_owned(),
        size: 3,
        ..Seed::default()
    }];
    f.server.seed(&f.bucket_name, &seeds).unwrap();
    let (id, secret) = f
        .server
        .create_key(&["listFiles"], Some(&[&f.bucket_name]), Some("in/"))
        .unwrap();
    let k = crate::api::Caller::authorize(&f.endpoint, &id, &secret, &f.bucket_name).await;
    assert_eq!(k.names(json!({"prefix": "in/"})).await.0.len(), 1);
}

#[tokio::test]
async fn a_tally_tells_what_the_bucket_shows_and_is_not_counted() {
    let f = start().await;
    f.upload("d/a", b"12345").await;
    f.upload("d/a", b"123").await;
    f.upload("d/empty", b"").await;
    f.upload("d/hidden", b"1").await;
    f.upload("e", b"1").await;
    f.start_large("d/unfinished").await;
    let hidden = json!({"bucketId": f.bucket, "fileName": "d/hidden"});
    f.ok("b2_hide_file", hidden).await;
    let before = f.server.counters();
    let wanted = json!({"bucketName": f.bucket_name, "prefix": "d/"});
    let tally = control(&f, "tally", wanted).await.ok();
    assert_eq!(tally, json!({"names": 2, "empty": 1, "bytes": 3}));
    let everything = json!({"bucketName": f.bucket_name});
    let tally = control(&f, "tally", everything).await.ok();
    assert_eq!(tally, json!({"names": 3, "empty": 1, "bytes": 4}));
    assert_eq!(f.server.counters(), before);
    control(&f, "tally", json!({"bucketName": "nowhere"}))
        .await
        .is_error(400, "bad_bucket_id");
}

/// Polls until the server holds these calls; a guard against waiting for ever, no measure.
async fn holds(f: &Fixture, expected: &[(&str, &str)]) {
    for _ in 0..1000 {
        let held = f.server.held();
        let held: Vec<(&str, &str)> = held.iter().map(|held| (&*held.call, held.by)).collect();
        if held == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?} held instead of {expected:?}", f.server.held());
}

fn hide(f: &Fixture, name: &str) -> reqwest::RequestBuilder {
    let body = json!({"bucketId": f.bucket, "fileName": name});
    f.http
        .post(format!("{}/b2api/v4/b2_hide_file", f.api_url))
        .header("authorization", &f.token)
        .body(body.to_string())
}

#[tokio::test]
async fn the_first_calls_may_pass() {
    let f = start().await;
    f.server.set_faults(&["list_file_names:503:1@2"]).unwrap();
    for expected in [200, 200, 503, 200] {
        let answer = f.call("b2_list_file_names", list(&f)).await;
        assert_eq!(answer.status, expected);
    }
}

#[tokio::test]
async fn a_call_that_hangs_has_no_effect_and_is_told_as_long_as_somebody_waits() {
    let f = start().await;
    f.upload("a", b"stored").await;
    f.server.set_faults(&["*:hang"]).unwrap();
    let hidden = tokio::spawn(hide(&f, "a").send());
    holds(&f, &[("b2_hide_file", "hang")]).await;
    let url = format!("{}/emulator/held", f.endpoint);
    let request = f.http.get(url).header("authorization", &f.token);
    let told = Answer::of(request).await.unwrap().ok();
    assert_eq!(told, json!([{"call": "b2_hide_file", "by": "hang"}]));
    f.server.set_faults(&[]).unwrap();
    hidden.abort();
    holds(&f, &[]).await;
    assert_eq!(f.get("a").await.body, b"stored");
    // A body that is longer than what is on its way is read, or the end would not be noticed.
    let request = f.upload_request("b", &bytes(30_000_000, 1)).await;
    f.server.set_faults(&["*:hang"]).unwrap();
    let sent = tokio::spawn(request.send());
    holds(&f, &[("b2_upload_file", "hang")]).await;
    sent.abort();
    holds(&f, &[]).await;
    f.server.set_faults(&[]).unwrap();
    assert_eq!(f.get("b").await.status, 404);
}

#[tokio::test]
async fn a_late_answer_is_held_after_the_effect_and_a_stall_before_it() {
    let f = start().await;
    f.upload_all(&["a", "b"]).await;
    f.server
        .set_faults(&["*:late=60:1", "*:stall=1:1"])
        .unwrap();
    let hidden = tokio::spawn(hide(&f, "a").send());
    holds(&f, &[("b2_hide_file", "late")]).await;
    let second = tokio::spawn(hide(&f, "b").send());
    holds(&f, &[("b2_hide_file", "late"), ("b2_hide_file", "stall")]).await;
    assert_eq!(f.get("a").await.status, 404);
    assert_eq!(f.get("b").await.body, b"b");
    assert_eq!(second.await.unwrap().unwrap().status(), 200);
    assert_eq!(f.get("b").await.status, 404);
    hidden.abort();
    holds(&f, &[]).await;
}

#[tokio::test]
async fn a_list_may_be_behind() {
    let f = start().await;
    let long_ago = Seed {
        name: "old".to_owned(),
        size: 3,
        upload_timestamp: Some(1_000_000_000_000),
        ..Seed::default()
    };
    f.server.seed(&f.bucket_name, &[long_ago]).unwrap();
    f.upload_all(&["old", "new"]).await;
    f.call(
        "b2_hide_file",
        json!({"bucketId": f.bucket, "fileName": "old"}),
    )
    .await
    .ok();
    let rows = async |call: &str| {
        let page = f.ok(call, list(&f)).await;
        let rows = page["files"].as_array().unwrap().clone();
        let row = |row: &Value| format!("{} {}", row["fileName"], row["action"]).replace('"', "");
        rows.iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(rows("b2_list_file_names").await, ["new upload"]);
    f.server.set_faults(&["list:stale-list=60:2"]).unwrap();
    assert_eq!(rows("b2_list_file_names").await, ["old upload"]);
    assert_eq!(rows("b2_list_file_versions").await, ["old upload"]);
    assert_eq!(
        rows("b2_list_file_versions").await,
        ["new upload", "old hide", "old upload", "old upload"]
    );
}
