//! Contents that are encrypted with a key of the customer's, SSE-C (API §5.2, §6.1, §7).

use serde_json::{Value, json};

use crate::api::{Answer, Fixture, bytes, sha1, start, url_and_token};

/// A key of 32 bytes, and its MD5, in base64.
const KEY: (&str, &str) = (
    "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=",
    "dnF5x6K/8ZZRzpfSlMMM+w==",
);
const OTHER: (&str, &str) = (
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "tP/LI3N87DFaSk0aoqYgzg==",
);

fn headers((key, md5): (&'static str, &'static str)) -> [(&'static str, &'static str); 3] {
    [
        ("x-bz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-bz-server-side-encryption-customer-key", key),
        ("x-bz-server-side-encryption-customer-key-md5", md5),
    ]
}

fn with(
    request: reqwest::RequestBuilder,
    headers: &[(&'static str, &str)],
) -> reqwest::RequestBuilder {
    let add = |request: reqwest::RequestBuilder, (name, value): &(&'static str, &str)| {
        request.header(*name, *value)
    };
    headers.iter().fold(request, add)
}

/// As JSON calls take it.
fn setting((key, md5): (&str, &str)) -> Value {
    json!({"algorithm": "AES256", "customerKey": key, "customerKeyMd5": md5, "mode": "SSE-C"})
}

fn mode(row: &Value) -> &Value {
    &row["serverSideEncryption"]["mode"]
}

async fn encrypted(f: &Fixture, name: &str) -> Value {
    f.upload_error(name, &headers(KEY)).await.ok()
}

async fn get(f: &Fixture, method: reqwest::Method, headers: &[(&'static str, &str)]) -> Answer {
    let request = with(f.by_name(method, "a"), headers);
    Answer::of(request).await.unwrap()
}

#[tokio::test]
async fn a_download_needs_the_key_again() {
    let f = start().await;
    let file = encrypted(&f, "a").await;
    f.get("a").await.is_error(400, "bad_request");
    let id = file["fileId"].as_str().unwrap();
    f.get_id(id).await.is_error(400, "bad_request");
    let head = get(&f, reqwest::Method::HEAD, &[]).await;
    assert_eq!((head.status, head.body.len()), (400, 0));
    let wrong = get(&f, reqwest::Method::GET, &headers(OTHER)).await;
    wrong.is_error(403, "access_denied");
    let right = get(&f, reqwest::Method::GET, &headers(KEY)).await;
    assert_eq!(right.body, b"content");
    let md5 = "x-bz-server-side-encryption-customer-key-md5";
    assert_eq!(right.header(md5), KEY.1);
}

#[tokio::test]
async fn rows_tell_the_mode() {
    let f = start().await;
    let file = encrypted(&f, "a").await;
    assert_eq!(mode(&file), "SSE-C");
    let request = json!({"bucketId": f.bucket});
    let page = f.ok("b2_list_file_names", request).await;
    assert_eq!(
        page["files"][0]["serverSideEncryption"],
        json!({"algorithm": "AES256", "mode": "SSE-C"})
    );
    // What is known of the file needs no key.
    let info = f
        .ok("b2_get_file_info", json!({"fileId": file["fileId"]}))
        .await;
    assert_eq!(info["contentLength"], 7);
}

#[tokio::test]
async fn a_key_must_be_whole_and_have_the_md5_that_is_told() {
    let f = start().await;
    let [algorithm, key, md5] = headers(KEY);
    let short = ("x-bz-server-side-encryption-customer-key", "MTIzNDU2Nzg=");
    let other = headers(OTHER)[2];
    let none = ("x-bz-server-side-encryption-customer-algorithm", "none");
    for bad in [
        &[algorithm, key, other][..],
        &[algorithm, short, md5],
        &[none, key, md5],
        &[algorithm, md5],
        &[algorithm, key],
        &[key, md5],
    ] {
        f.upload_error("a", bad).await.is_error(400, "bad_request");
    }
    assert_eq!(f.names(json!({})).await.0, []);
}

#[tokio::test]
async fn a_copy_needs_the_sources_key_and_takes_one_of_its_own() {
    let f = start().await;
    let source = encrypted(&f, "a").await;
    let copy = async |mut body: Value| {
        body["fileName"] = "b".into();
        body["sourceFileId"] = source["fileId"].clone();
        f.call("b2_copy_file", body).await
    };
    let from = "sourceServerSideEncryption";
    let to = "destinationServerSideEncryption";
    copy(json!({})).await.is_error(400, "bad_request");
    copy(json!({to: setting(KEY)}))
        .await
        .is_error(400, "bad_request");
    copy(json!({from: setting(OTHER)}))
        .await
        .is_error(403, "access_denied");
    copy(json!({from: setting((KEY.0, OTHER.1))}))
        .await
        .is_error(400, "bad_request");
    assert_eq!(f.names(json!({})).await.0.len(), 1);
    let plain = copy(json!({from: setting(KEY)})).await.ok();
    assert_eq!(mode(&plain), "SSE-B2", "it is not inherited");
    assert_eq!(f.get("b").await.body, b"content");
    let sealed = copy(json!({from: setting(KEY), to: setting(OTHER)}))
        .await
        .ok();
    assert_eq!(mode(&sealed), "SSE-C");
    f.get("b").await.is_error(400, "bad_request");
}

#[tokio::test]
async fn each_part_needs_the_key_of_its_file() {
    let f = start().await;
    let body = json!({
        "bucketId": f.bucket, "contentType": "text/plain", "fileName": "a",
        "serverSideEncryption": setting(KEY),
    });
    let file = f.ok("b2_start_large_file", body).await;
    let upload = async |number: u64, part: &[u8], headers: &[(&'static str, &str)]| {
        let url = f
            .ok("b2_get_upload_part_url", json!({"fileId": file["fileId"]}))
            .await;
        let (url, token) = url_and_token(&url);
        let request = f
            .http
            .post(url)
            .header("authorization", token)
            .header("x-bz-part-number", number.to_string())
            .header("x-bz-content-sha1", sha1(part))
            .body(part.to_vec());
        Answer::of(with(request, headers)).await.unwrap()
    };
    let first = bytes(5_000_000, 1);
    for wrong in [&[][..], &headers(OTHER)] {
        upload(1, &first, wrong).await.is_error(400, "bad_request");
    }
    upload(1, &first, &headers(KEY)).await.ok();
    let source = f.upload("source", b"tail").await;
    let copy = async |key: Value| {
        let body = json!({
            "destinationServerSideEncryption": key, "largeFileId": file["fileId"], "partNumber": 2,
            "sourceFileId": source["fileId"],
        });
        f.call("b2_copy_part", body).await
    };
    copy(Value::Null).await.is_error(400, "bad_request");
    copy(setting(KEY)).await.ok();
    let body = json!({"fileId": file["fileId"], "partSha1Array": [sha1(&first), sha1(b"tail")]});
    f.ok("b2_finish_large_file", body).await;
    f.get("a").await.is_error(400, "bad_request");
}
