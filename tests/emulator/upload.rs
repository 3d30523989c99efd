//! Single uploads: hashes, lengths, URLs (API §5).

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::api::{Answer, Fixture, bytes, encode, sha1, start};

#[tokio::test]
async fn an_upload_replies_the_whole_entry() {
    let f = start().await;
    let file = f.upload("d/a.txt", b"hello").await;
    let id = file["fileId"].as_str().unwrap();
    assert!(
        id.starts_with(&format!("4_z{}_f1", f.bucket)) && id.len() <= 200,
        "{id}"
    );
    assert!(file["uploadTimestamp"].as_u64().unwrap() > 1_700_000_000_000);
    let wanted = json!({
        "accountId": f.account_id, "action": "upload", "bucketId": f.bucket, "contentLength": 5,
        "contentMd5": "5d41402abc4b2a76b9719d911017c592", "contentSha1": sha1(b"hello"),
        "contentType": "text/plain", "fileId": id, "fileInfo": {}, "fileName": "d/a.txt",
        "fileRetention": {
            "isClientAuthorizedToRead": true, "value": {"mode": null, "retainUntilTimestamp": null},
        },
        "legalHold": {"isClientAuthorizedToRead": true, "value": null},
        "serverSideEncryption": {"algorithm": "AES256", "mode": "SSE-B2"},
        "uploadTimestamp": file["uploadTimestamp"],
    });
    assert_eq!(file, wanted);
    let listed = f
        .ok("b2_list_file_names", json!({"bucketId": f.bucket}))
        .await;
    assert_eq!(listed["files"][0], wanted);
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let f = start().await;
    let file = f.upload("empty", b"").await;
    assert_eq!(file["contentSha1"], sha1(b""));
    let answer = f.get("empty").await;
    assert_eq!((answer.status, answer.header("content-length")), (200, "0"));
}

async fn upload_with_sha1(f: &crate::api::Caller, sha1: &str, body: Vec<u8>) -> Answer {
    let (url, token) = f.upload_url().await;
    let request = f
        .http
        .post(url)
        .header("authorization", token)
        .header("x-bz-file-name", "a")
        .header("content-type", "text/plain")
        .header("x-bz-content-sha1", sha1)
        .body(body);
    Answer::of(request).await.unwrap()
}

#[tokio::test]
async fn the_sha1_may_come_first_last_or_not_at_all() {
    let f = start().await;
    let given = sha1(b"content");
    let first = upload_with_sha1(&f, &given, b"content".to_vec()).await.ok();
    let mut with_tail = b"content".to_vec();
    with_tail.extend_from_slice(given.as_bytes());
    let last = upload_with_sha1(&f, "hex_digits_at_end", with_tail)
        .await
        .ok();
    for file in [&first, &last] {
        assert_eq!(
            (&file["contentSha1"], &file["contentLength"]),
            (&json!(given), &json!(7))
        );
    }
    let unverified = format!("unverified:{given}");
    let none = upload_with_sha1(&f, "do_not_verify", b"content".to_vec())
        .await
        .ok();
    assert_eq!(none["contentSha1"], unverified);
    let answer = f.get("a").await;
    assert_eq!(
        (answer.body.as_slice(), answer.header("x-bz-content-sha1")),
        (&b"content"[..], &*unverified)
    );
}

#[tokio::test]
async fn a_wrong_sha1_stores_nothing() {
    let f = start().await;
    let wrong = sha1(b"other");
    upload_with_sha1(&f, &wrong, b"content".to_vec())
        .await
        .is_error(400, "bad_request");
    let mut tail = b"content".to_vec();
    tail.extend_from_slice(wrong.as_bytes());
    upload_with_sha1(&f, "hex_digits_at_end", tail)
        .await
        .is_error(400, "bad_request");
    upload_with_sha1(&f, "hex_digits_at_end", b"short".to_vec())
        .await
        .is_error(400, "bad_request");
    upload_with_sha1(&f, &wrong.to_uppercase(), b"other".to_vec())
        .await
        .is_error(400, "bad_request");
    assert_eq!(f.versions(json!({})).await, vec![]);
}

#[tokio::test]
async fn every_upload_makes_a_new_version() {
    let f = start().await;
    let old = f.upload("a", b"old").await;
    let new = f.upload("a", b"new").await;
    assert_ne!(old["fileId"], new["fileId"]);
    assert!(old["uploadTimestamp"].as_u64() < new["uploadTimestamp"].as_u64());
    assert_eq!(f.get("a").await.body, b"new");
    assert_eq!(f.get_id(old["fileId"].as_str().unwrap()).await.body, b"old");
    assert_eq!(f.versions(json!({})).await.len(), 2);
}

#[tokio::test]
async fn the_needed_headers_are_needed() {
    let f = start().await;
    for name in ["x-bz-file-name", "x-bz-content-sha1", "content-type"] {
        let mut request = f.upload_request("a", b"x").await.build().unwrap();
        request.headers_mut().remove(name);
        assert_eq!(
            f.http.execute(request).await.unwrap().status(),
            400,
            "{name}"
        );
    }
    for name in ["content-disposition", "content-encoding", "expires"] {
        f.upload_error("a", &[(name, "x")])
            .await
            .is_error(400, "bad_request");
    }
}

#[tokio::test]
async fn an_account_token_is_no_upload_token_and_the_other_way_round() {
    let f = start().await;
    let mut request = f.upload_request("a", b"x").await.build().unwrap();
    request
        .headers_mut()
        .insert("authorization", f.token.parse().unwrap());
    assert_eq!(f.http.execute(request).await.unwrap().status(), 401);
    let (_, token) = f.upload_url().await;
    let request = f
        .http
        .post(format!("{}/b2api/v4/b2_list_file_names", f.api_url))
        .header("authorization", token)
        .body(json!({"bucketId": f.bucket}).to_string());
    Answer::of(request)
        .await
        .unwrap()
        .is_error(401, "bad_auth_token");
}

#[tokio::test]
async fn an_upload_without_length_is_refused() {
    let f = start().await;
    let (url, token) = f.upload_url().await;
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {token}\r\nx-bz-file-name: a\r\n\
         content-type: text/plain\r\nx-bz-content-sha1: do_not_verify\r\ntransfer-encoding: chunked\r\n\r\n\
         1\r\nx\r\n0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 400"), "{reply}");
}

/// Returns when the server has seen the head of an upload.
async fn begun(f: &Fixture) {
    while !f.server.counters().calls.contains_key("b2_upload_file") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await; // from counting to checking the head
}

#[tokio::test]
async fn an_upload_url_takes_one_upload_at_a_time_and_many_in_turn() {
    let f = start().await;
    let (url, token) = f.upload_url().await;
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut slow = tokio::net::TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {token}\r\nx-bz-file-name: slow\r\n\
         content-type: text/plain\r\nx-bz-content-sha1: do_not_verify\r\ncontent-length: 4\r\n\r\nab"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    begun(&f).await;
    let quick = || {
        f.http
            .post(&url)
            .header("authorization", &token)
            .header("x-bz-file-name", encode("quick"))
            .header("content-type", "text/plain")
            .header("x-bz-content-sha1", "do_not_verify")
            .body("x")
    };
    Answer::of(quick())
        .await
        .unwrap()
        .is_error(400, "auth_token_limit");
    slow.write_all(b"cd").await.unwrap();
    let mut reply = [0; 12];
    slow.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"HTTP/1.1 200");
    Answer::of(quick()).await.unwrap().ok();
    assert_eq!(f.get("slow").await.body, b"abcd");
}

#[tokio::test]
async fn an_upload_that_breaks_off_stores_nothing_and_frees_its_url() {
    let f = start().await;
    let (url, token) = f.upload_url().await;
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut broken = tokio::net::TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {token}\r\nx-bz-file-name: a\r\n\
         content-type: text/plain\r\nx-bz-content-sha1: do_not_verify\r\ncontent-length: 400\r\n\r\nab"
    );
    broken.write_all(head.as_bytes()).await.unwrap();
    begun(&f).await;
    drop(broken);
    while !f.server.counters().answers.contains_key(&0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(f.versions(json!({})).await, vec![]);
    let again = f
        .http
        .post(&url)
        .header("authorization", &token)
        .header("x-bz-file-name", "a")
        .header("content-type", "text/plain")
        .header("x-bz-content-sha1", "do_not_verify")
        .body("x");
    Answer::of(again).await.unwrap().ok();
}

#[tokio::test]
async fn the_stamp_is_that_of_the_beginning() {
    let f = start().await;
    let (url, token) = f.upload_url().await;
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut slow = tokio::net::TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {token}\r\nx-bz-file-name: a\r\n\
         content-type: text/plain\r\nx-bz-content-sha1: do_not_verify\r\ncontent-length: 4\r\n\r\nsl"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    begun(&f).await;
    f.upload("a", b"quick").await;
    slow.write_all(b"ow").await.unwrap();
    let mut reply = [0; 12];
    slow.read_exact(&mut reply).await.unwrap();
    assert_eq!(f.get("a").await.body, b"quick");
}

#[tokio::test]
async fn a_custom_stamp_needs_the_feature() {
    let f = start().await;
    let header = [("x-bz-custom-upload-timestamp", "1000000000000")];
    f.upload_error("a", &header)
        .await
        .is_error(400, "custom_timestamp_not_allowed");
    f.server.set_faults(&["custom-timestamps"]).unwrap();
    assert_eq!(
        f.upload_error("a", &header).await.ok()["uploadTimestamp"],
        1_000_000_000_000u64
    );
}

#[tokio::test]
async fn uploads_side_by_side_get_stamps_and_ids_of_their_own() {
    let f = start().await;
    let names: Vec<_> = (0..40).map(|i| format!("{i:02}")).collect();
    let uploads = names
        .iter()
        .map(|name| async { f.upload(name, &bytes(100_000, 7)).await });
    let files = futures_util::future::join_all(uploads).await;
    for field in ["fileId", "uploadTimestamp"] {
        let all: HashSet<_> = files.iter().map(|file| file[field].to_string()).collect();
        assert_eq!(all.len(), names.len(), "{field}");
    }
    let (rows, next) = f.names(json!({})).await;
    assert_eq!(
        rows.into_iter().map(|(_, name)| name).collect::<Vec<_>>(),
        names
    );
    assert_eq!(next, Value::Null);
}
