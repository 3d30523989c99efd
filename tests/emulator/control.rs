//! Who may use the emulator's own addresses: whoever has the account's key, and no page of a browser.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::api::{Answer, Fixture, basic, start};

fn counters(f: &Fixture) -> RequestBuilder {
    f.http.get(format!("{}/emulator/counters", f.endpoint))
}

fn with_key(f: &Fixture) -> RequestBuilder {
    counters(f).header("authorization", basic(f.server.key_id(), f.server.key()))
}

async fn status(request: RequestBuilder) -> u16 {
    Answer::of(request).await.unwrap().status
}

#[tokio::test]
async fn the_key_or_a_token_of_it_opens_them() {
    let f = start().await;
    assert_eq!(status(with_key(&f)).await, 200);
    let by_token = counters(&f).header("authorization", &f.token);
    assert_eq!(status(by_token).await, 200);
}

#[tokio::test]
async fn nothing_is_done_for_whoever_has_no_key() {
    let f = start().await;
    let wrong = [
        basic(f.server.key_id(), "K005wrong"),
        basic("nobody", f.server.key()),
        "4_wrong_token".to_owned(),
        String::new(),
    ];
    for (method, path) in [
        (Method::GET, "counters"),
        (Method::GET, "held"),
        (Method::GET, "nothing"),
        (Method::POST, "faults"),
        (Method::POST, "reset"),
        (Method::POST, "seed"),
        (Method::POST, "tally"),
        (Method::POST, "expire-tokens"),
    ] {
        let url = format!("{}/emulator/{path}", f.endpoint);
        let request = || f.http.request(method.clone(), &url).body("[\"*:500\"]");
        let answer = Answer::of(request()).await.unwrap();
        answer.is_error(401, "bad_auth_token");
        for wrong in &wrong {
            let answer = Answer::of(request().header("authorization", wrong)).await;
            answer.unwrap().is_error(401, "bad_auth_token");
        }
    }
    // Neither the faults nor the end of the tokens have come.
    f.ok("b2_list_file_names", json!({"bucketId": f.bucket}))
        .await;
}

#[tokio::test]
async fn a_restricted_key_does_not_open_them() {
    let f = start().await;
    let bucket = f.server.bucket_name();
    let (id, key) = f
        .server
        .create_key(&["listFiles", "readFiles"], Some(&[bucket]), None)
        .unwrap();
    let request = counters(&f).header("authorization", basic(&id, &key));
    let answer = Answer::of(request).await.unwrap();
    answer.is_error(401, "unauthorized");
    let token = crate::api::authorize(&f, 4, &id, &key).await.ok();
    let token = token["authorizationToken"].as_str().unwrap();
    let answer = Answer::of(counters(&f).header("authorization", token)).await;
    answer.unwrap().is_error(401, "unauthorized");
}

#[tokio::test]
async fn expired_tokens_are_told_so_and_the_key_still_works() {
    let f = start().await;
    f.server.expire_tokens();
    let answer = Answer::of(counters(&f).header("authorization", &f.token)).await;
    answer.unwrap().is_error(401, "expired_auth_token");
    assert_eq!(status(with_key(&f)).await, 200);
}

#[tokio::test]
async fn pages_from_elsewhere_are_refused_whatever_they_know() {
    let f = start().await;
    for origin in [
        "https://example.com",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://localhost:1",
        "null",
        "",
    ] {
        let request = with_key(&f).header("origin", origin);
        let answer = Answer::of(request).await.unwrap();
        answer.is_error(403, "access_denied");
    }
    assert_eq!(
        status(with_key(&f).header("origin", &f.endpoint)).await,
        200
    );
}

#[tokio::test]
async fn only_a_name_of_this_machine_is_answered() {
    let f = start().await;
    let port = f.endpoint.rsplit(':').next().unwrap();
    for host in ["example.com", "127.0.0.1.example.com", "192.0.2.1", "[::2]"] {
        let request = with_key(&f).header("host", format!("{host}:{port}"));
        let answer = Answer::of(request).await.unwrap();
        answer.is_error(403, "access_denied");
    }
    for host in ["127.0.0.1", "127.0.0.1:1", "localhost"] {
        let answer = Answer::of(with_key(&f).header("host", host)).await.unwrap();
        answer.is_error(403, "access_denied");
    }
    for host in ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"] {
        let request = with_key(&f).header("host", format!("{host}:{port}"));
        assert_eq!(status(request).await, 200, "{host}");
        let request = with_key(&f)
            .header("host", format!("{host}:{port}"))
            .header("origin", format!("http://{host}:{port}"));
        assert_eq!(status(request).await, 200, "{host}");
    }
}
