//! Downloads and file info (API §7).

use reqwest::Method;
use serde_json::json;

use crate::api::{Answer, bytes, sha1, start};

#[tokio::test]
async fn a_download_tells_everything_but_an_etag() {
    let f = start().await;
    let file = f.upload("d/a b.txt", b"0123456789").await;
    let id = file["fileId"].as_str().unwrap();
    for answer in [f.get("d/a b.txt").await, f.get_id(id).await] {
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, &b"0123456789"[..])
        );
        assert_eq!(answer.header("content-length"), "10");
        assert_eq!(answer.header("content-type"), "text/plain");
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.header("x-bz-file-id"), id);
        assert_eq!(answer.header("x-bz-file-name"), "d/a+b.txt");
        assert_eq!(answer.header("x-bz-content-sha1"), sha1(b"0123456789"));
        assert_eq!(
            answer.header("x-bz-upload-timestamp"),
            file["uploadTimestamp"].to_string()
        );
        assert!(!answer.header("date").is_empty());
        assert!(
            !answer.headers.contains_key("etag") && !answer.headers.contains_key("last-modified")
        );
    }
}

#[tokio::test]
async fn a_range_is_partial_with_the_hash_of_the_whole() {
    let f = start().await;
    let file = f.upload("a", b"0123456789").await;
    let get = async |range: &str| {
        let request = f
            .by_id(file["fileId"].as_str().unwrap())
            .header("range", range);
        Answer::of(request).await.unwrap()
    };
    let part = get("bytes=5-8").await;
    assert_eq!((part.status, part.body.as_slice()), (206, &b"5678"[..]));
    assert_eq!(part.header("content-range"), "bytes 5-8/10");
    assert_eq!(part.header("x-bz-content-sha1"), sha1(b"0123456789"));
    let clamped = get("bytes=8-99").await;
    assert_eq!(
        (clamped.status, clamped.header("content-range")),
        (206, "bytes 8-9/10")
    );
    assert_eq!(get("bytes=7-").await.body, b"789");
    // Malformed, and so ignored.
    assert_eq!(get("bytes=+1-2").await.status, 200);
    let whole = get("bytes=0-9").await;
    assert_eq!((whole.status, whole.header("content-range")), (200, ""));
    assert_eq!(get("nonsense").await.status, 200);
    get("bytes=10-")
        .await
        .is_error(416, "range_not_satisfiable");
    get("bytes=10-20")
        .await
        .is_error(416, "range_not_satisfiable");
}

#[tokio::test]
async fn an_empty_file_has_no_range() {
    let f = start().await;
    f.upload("a", b"").await;
    let request = f.by_name(Method::GET, "a").header("range", "bytes=0-0");
    Answer::of(request)
        .await
        .unwrap()
        .is_error(416, "range_not_satisfiable");
}

#[tokio::test]
async fn ranges_of_a_large_file_cross_its_parts() {
    let f = start().await;
    let (one, two) = (bytes(5_000_000, 1), bytes(3_000_000, 2));
    f.upload_large("a", &[&one, &two]).await;
    let whole = [one, two].concat();
    for (from, to) in [
        (0usize, 1usize),
        (4_999_990, 5_000_010),
        (5_000_000, 7_999_999),
        (1, 7_999_999),
    ] {
        let request = f
            .by_name(Method::GET, "a")
            .header("range", format!("bytes={from}-{to}"));
        let answer = Answer::of(request).await.unwrap();
        assert!(answer.body == whole[from..=to], "{from}-{to}");
    }
}

#[tokio::test]
async fn head_has_the_headers_and_its_errors_have_no_body() {
    let f = start().await;
    f.upload("a", b"0123456789").await;
    let head = async |name: &str, token: &str| {
        let url = format!("{}/file/{}/{name}", f.download_url, f.bucket_name);
        Answer::of(f.http.head(url).header("authorization", token))
            .await
            .unwrap()
    };
    let answer = head("a", &f.token).await;
    assert_eq!(
        (
            answer.status,
            answer.header("content-length"),
            answer.body.len()
        ),
        (200, "10", 0)
    );
    assert_eq!(answer.header("x-bz-content-sha1"), sha1(b"0123456789"));
    for (name, token, status) in [("b", &*f.token, 404), ("a", "wrong", 401)] {
        let answer = head(name, token).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0));
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let f = start().await;
    let file = f.upload("a", b"x").await;
    f.get("b").await.is_error(404, "not_found");
    let url = format!("{}/file/no-such-bucket/a", f.download_url);
    let request = f.http.get(url).header("authorization", &f.token);
    Answer::of(request)
        .await
        .unwrap()
        .is_error(404, "not_found");
    f.get_id("nonsense").await.is_error(400, "bad_request");
    f.ok(
        "b2_delete_file_version",
        json!({"fileId": file["fileId"], "fileName": "a"}),
    )
    .await;
    f.get_id(file["fileId"].as_str().unwrap())
        .await
        .is_error(404, "not_found");
    let info = async |id: &str| f.call("b2_get_file_info", json!({"fileId": id})).await;
    info(file["fileId"].as_str().unwrap())
        .await
        .is_error(404, "not_found");
    info("nonsense").await.is_error(400, "bad_request");
}

#[tokio::test]
async fn an_id_downloads_by_post_as_well() {
    let f = start().await;
    let file = f.upload("a", b"content").await;
    let request = f
        .http
        .post(format!(
            "{}/b2api/v2/b2_download_file_by_id",
            f.download_url
        ))
        .header("authorization", &f.token)
        .body(json!({"fileId": file["fileId"]}).to_string());
    assert_eq!(Answer::of(request).await.unwrap().body, b"content");
}

#[tokio::test]
async fn the_query_overrides_headers() {
    let f = start().await;
    f.upload("a", b"content").await;
    let url = format!(
        "{}/file/{}/a?b2ContentType=text%2Fx-own",
        f.download_url, f.bucket_name
    );
    let answer = Answer::of(f.http.get(&url).header("authorization", &f.token))
        .await
        .unwrap();
    assert_eq!(answer.header("content-type"), "text/x-own");
}

#[tokio::test]
async fn a_big_file_comes_whole() {
    let f = start().await;
    let content = bytes(20_000_000, 9);
    f.upload("a", &content).await;
    assert!(f.get("a").await.body == content);
}
