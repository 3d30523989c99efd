//! Names and file info: what is accepted and what comes back (API §5.3, §10).

use reqwest::Method;
use serde_json::json;

use crate::api::{Answer, start, start_with};
use b2fuse::emulator::Options;

#[tokio::test]
async fn any_utf8_without_control_codes_is_a_name() {
    let f = start().await;
    for name in [
        "a b",
        "a+b",
        "ä/ö",
        "100%",
        "a\\b",
        "//",
        "/a",
        "a/",
        "a?b#c&d",
        "'\"`",
        "\u{1f600}",
        "e\u{301}",
    ] {
        let file = f.upload(name, name.as_bytes()).await;
        assert_eq!(file["fileName"], name);
        let id = file["fileId"].as_str().unwrap();
        assert_eq!(f.get_id(id).await.body, name.as_bytes(), "{name}");
        assert_eq!(f.get(name).await.body, name.as_bytes(), "{name}");
    }
    assert_eq!(f.names(json!({})).await.0.len(), 12);
}

#[tokio::test]
async fn a_plus_means_a_space() {
    let f = start().await;
    let request = f.upload_request("x", b"x").await.build().unwrap();
    let mut request = request;
    request
        .headers_mut()
        .insert("x-bz-file-name", "a+b%2Bc".parse().unwrap());
    let response = f.http.execute(request).await.unwrap();
    let file: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(file["fileName"], "a b+c");
    let url = format!("{}/file/{}/a+b%2Bc", f.download_url, f.bucket_name);
    let answer = Answer::of(f.http.get(url).header("authorization", &f.token))
        .await
        .unwrap();
    assert_eq!(answer.body, b"x");
    assert_eq!(answer.header("x-bz-file-name"), "a+b%2Bc");
}

#[tokio::test]
async fn control_codes_empty_and_long_names_are_refused() {
    let f = start_with(Options {
        faults: vec!["no-encryption".to_owned()],
        ..Options::default()
    })
    .await;
    // Of segments that are not too long.
    let long = |len: usize| {
        let mut name = format!("{}/", "n".repeat(249)).repeat(4);
        name += &"n".repeat(len - name.len());
        name
    };
    for name in ["", "a\u{1f}", "a\u{7f}", &long(1025), &"n".repeat(251)] {
        f.upload_error(name, &[]).await.is_error(400, "bad_request");
        let body = json!({"bucketId": f.bucket, "contentType": "b2/x-auto", "fileName": name});
        f.call("b2_start_large_file", body)
            .await
            .is_error(400, "bad_request");
    }
    f.upload(&long(1024), b"x").await;
    f.upload(&"n".repeat(250), b"x").await;
    let mut request = f.upload_request("x", b"x").await.build().unwrap();
    request
        .headers_mut()
        .insert("x-bz-file-name", "%ff".parse().unwrap());
    assert_eq!(f.http.execute(request).await.unwrap().status(), 400);
}

#[tokio::test]
async fn info_comes_back_in_lower_case_keys() {
    let f = start().await;
    let request = f
        .upload_request("a", b"x")
        .await
        .header("X-Bz-Info-Src_Last_Modified_Millis", "1234")
        .header("X-Bz-Info-Colour", "bl%C3%BC+%2B");
    let file = Answer::of(request).await.unwrap().ok();
    assert_eq!(
        file["fileInfo"],
        json!({"colour": "blü +", "src_last_modified_millis": "1234"})
    );
    let answer = f.get("a").await;
    assert_eq!(answer.header("x-bz-info-src_last_modified_millis"), "1234");
    assert_eq!(answer.header("x-bz-info-colour"), "bl%C3%BC+%2B");
    let info = f
        .ok("b2_get_file_info", json!({"fileId": file["fileId"]}))
        .await;
    assert_eq!(info["fileInfo"], file["fileInfo"]);
}

#[tokio::test]
async fn reserved_info_becomes_headers_of_downloads() {
    let f = start().await;
    let request = f
        .upload_request("a", b"x")
        .await
        .header(
            "x-bz-info-b2-content-disposition",
            "attachment;+filename%3D%22x%22",
        )
        .header("x-bz-info-b2-content-language", "de")
        .header("x-bz-info-b2-content-encoding", "gzip");
    Answer::of(request).await.unwrap().ok();
    let answer = Answer::of(f.by_name(Method::HEAD, "a")).await.unwrap();
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"x\""
    );
    assert_eq!(answer.header("content-language"), "de");
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert!(!answer.headers.contains_key("x-bz-info-b2-content-language"));
    for (name, value) in [
        ("x-bz-info-b2-other", "x"),
        ("x-bz-info-b2-content-language", "not%20one"),
        ("x-bz-info-b2-expires", "soon"),
    ] {
        f.upload_error("b", &[(name, value)])
            .await
            .is_error(400, "bad_request");
    }
}

#[tokio::test]
async fn name_and_info_fit_into_2048_bytes_of_headers_with_encryption_and_7000_without() {
    let f = start().await;
    let info = |bytes: usize| "v".repeat(bytes);
    let try_both = async |bytes: usize| {
        let upload = f
            .upload_error("a", &[("x-bz-info-k", &info(bytes))])
            .await
            .status;
        let body = json!({
            "bucketId": f.bucket, "contentType": "b2/x-auto", "fileInfo": {"k": info(bytes)}, "fileName": "a",
        });
        (upload, f.call("b2_start_large_file", body).await.status)
    };
    assert_eq!(try_both(1900).await, (200, 200));
    assert_eq!(try_both(2048).await, (400, 400));
    let plain = start_with(Options {
        faults: vec!["no-encryption".to_owned()],
        ..Options::default()
    })
    .await;
    assert_eq!(
        plain
            .upload_error("a", &[("x-bz-info-k", &info(6800))])
            .await
            .status,
        200
    );
    assert_eq!(
        plain
            .upload_error("a", &[("x-bz-info-k", &info(7000))])
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn the_content_type_is_guessed_only_when_asked() {
    let f = start().await;
    assert_eq!(f.upload("a.TXT", b"x").await["contentType"], "text/plain");
    assert_eq!(
        f.upload("a.unknown", b"x").await["contentType"],
        "application/octet-stream"
    );
    let body = json!({"bucketId": f.bucket, "contentType": "b2/x-auto", "fileName": "a.png"});
    assert_eq!(
        f.ok("b2_start_large_file", body).await["contentType"],
        "image/png"
    );
    let mut request = f.upload_request("b.txt", b"x").await.build().unwrap();
    request
        .headers_mut()
        .insert("content-type", "x-my/type".parse().unwrap());
    f.http.execute(request).await.unwrap();
    assert_eq!(f.get("b.txt").await.header("content-type"), "x-my/type");
}

#[tokio::test]
async fn the_old_rules_for_slashes_are_a_switch() {
    let f = start().await;
    f.server.set_faults(&["old-names"]).unwrap();
    for name in ["/a", "a/", "a//b", "a\\b", &"s".repeat(251)] {
        f.upload_error(name, &[]).await.is_error(400, "bad_request");
    }
    f.upload("a/b", b"x").await;
}
