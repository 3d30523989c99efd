//! Switches that make the emulator as awkward as B2 may be.

use serde_json::{Value, json};

use crate::api::{Answer, start};

#[tokio::test]
async fn a_folder_row_may_come_again_on_the_next_page() {
    let f = start().await;
    f.upload_all(&["a", "d/1", "d/2", "d/3", "d/4", "e"]).await;
    f.server.set_faults(&["split-folders=2"]).unwrap();
    let mut pages = Vec::new();
    let mut start = json!("");
    while !start.is_null() {
        let query = json!({"delimiter": "/", "startFileName": start});
        let (rows, next) = f.names(query).await;
        pages.push(rows.len());
        start = next;
        if pages.len() == 1 {
            assert_eq!(start, "d/2 ");
        }
    }
    // `a`, `d/`; and `d/` again, `e`.
    assert_eq!(pages, [2, 2]);
}

#[tokio::test]
async fn a_strict_upload_url_is_dead_after_any_failure_but_429() {
    let f = start().await;
    for (fault, then) in [
        ("429", 200),
        ("503", 400),
        ("408", 400),
        ("lost-reply", 400),
    ] {
        f.server
            .set_faults(&["strict-urls", &format!("upload:{fault}:1")])
            .unwrap();
        let (url, token) = f.upload_url().await;
        let upload = || {
            f.http
                .post(url.clone())
                .header("authorization", token.clone())
                .header("x-bz-file-name", "a")
                .header("content-type", "text/plain")
                .header("x-bz-content-sha1", "do_not_verify")
                .body("hello")
        };
        let _ = upload().send().await;
        let answer = Answer::of(upload()).await.unwrap();
        assert_eq!(answer.status, then, "{fault}");
    }
}

#[tokio::test]
async fn a_bad_name_in_a_json_call_may_be_bad_json() {
    let f = start().await;
    let file = f.upload("a", b"hello").await;
    f.server.set_faults(&["json-names", "old-names"]).unwrap();
    for name in ["x".repeat(251), "a\u{7}".to_owned()] {
        let request = json!({"sourceFileId": file["fileId"], "fileName": name});
        let answer = f.call("b2_copy_file", request).await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, &body["code"]), (400, &json!("bad_json")));
    }
}

#[tokio::test]
async fn more_info_keys_than_the_switch_says_are_refused() {
    let f = start().await;
    let source = f.upload("a", b"hello").await;
    f.server.set_faults(&["info-keys=2"]).unwrap();
    let three = json!({"k1": "v", "k2": "v", "k3": "v"});
    let headers = [
        ("x-bz-info-k1", "v"),
        ("x-bz-info-k2", "v"),
        ("x-bz-info-k3", "v"),
    ];
    f.upload_error("b", &headers)
        .await
        .is_error(400, "bad_request");
    let copy = json!({
        "contentType": "text/plain", "fileInfo": three, "fileName": "b", "metadataDirective": "REPLACE",
        "sourceFileId": source["fileId"],
    });
    f.call("b2_copy_file", copy)
        .await
        .is_error(400, "bad_request");
    let large = json!({
        "bucketId": f.bucket, "contentType": "text/plain", "fileInfo": three, "fileName": "b",
    });
    f.call("b2_start_large_file", large)
        .await
        .is_error(400, "bad_request");
    f.upload_error("b", &headers[..2]).await.ok();
}

#[tokio::test]
async fn versions_with_one_time_are_listed_by_their_order() {
    let f = start().await;
    f.server.set_faults(&["stamp-step=3600000"]).unwrap();
    let mut ids = Vec::new();
    let mut stamps = Vec::new();
    for content in [b"one", b"two", b"six"] {
        let file = f.upload("a", content).await;
        ids.insert(0, file["fileId"].clone());
        stamps.push(file["uploadTimestamp"].clone());
    }
    stamps.dedup();
    assert!(stamps.len() <= 2, "an hour may end meanwhile: {stamps:?}");
    let page = f
        .ok("b2_list_file_versions", json!({"bucketId": f.bucket}))
        .await;
    let rows = page["files"].as_array().unwrap();
    let listed: Vec<_> = rows.iter().map(|row| row["fileId"].clone()).collect();
    assert_eq!(listed, ids);
    assert_eq!(f.get("a").await.body, b"six");
}

#[tokio::test]
async fn rows_of_a_replicated_bucket_tell_the_status() {
    let f = start().await;
    let before = f.upload("a", b"hello").await;
    assert_eq!(before.get("replicationStatus"), None);
    f.server.set_faults(&["replicated"]).unwrap();
    let page = f
        .ok("b2_list_file_names", json!({"bucketId": f.bucket}))
        .await;
    assert_eq!(page["files"][0]["replicationStatus"], "COMPLETED");
}
