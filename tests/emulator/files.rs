//! Hiding and deleting (API §8).

use serde_json::{Value, json};

use crate::api::{Caller, start, wanted};

async fn hide(f: &Caller, name: &str) -> Value {
    f.ok(
        "b2_hide_file",
        json!({"bucketId": f.bucket, "fileName": name}),
    )
    .await
}

async fn delete(f: &Caller, file: &Value) -> Value {
    let body = json!({"fileId": file["fileId"], "fileName": file["fileName"]});
    f.ok("b2_delete_file_version", body).await
}

#[tokio::test]
async fn a_hide_marker_covers_and_its_deletion_uncovers() {
    let f = start().await;
    let file = f.upload("a", b"content").await;
    let marker = hide(&f, "a").await;
    assert_eq!(marker["action"], "hide");
    assert_eq!(marker["contentType"], "application/x-bz-hide-marker");
    assert_eq!(marker["contentLength"], 0);
    for field in ["fileRetention", "legalHold", "serverSideEncryption"] {
        assert!(marker.get(field).is_none(), "{field}");
    }
    f.get("a").await.is_error(404, "not_found");
    assert_eq!(
        f.get_id(file["fileId"].as_str().unwrap()).await.body,
        b"content"
    );
    assert_eq!(
        f.versions(json!({})).await,
        wanted(&[("hide", "a"), ("upload", "a")])
    );
    delete(&f, &marker).await;
    assert_eq!(f.get("a").await.body, b"content");
}

#[tokio::test]
async fn an_upload_uncovers_too() {
    let f = start().await;
    f.upload("a", b"old").await;
    hide(&f, "a").await;
    f.upload("a", b"new").await;
    assert_eq!(f.get("a").await.body, b"new");
    hide(&f, "a").await;
    assert_eq!(f.versions(json!({})).await.len(), 4);
}

#[tokio::test]
async fn only_what_shows_can_be_hidden() {
    let f = start().await;
    let body = json!({"bucketId": f.bucket, "fileName": "a"});
    f.call("b2_hide_file", body.clone())
        .await
        .is_error(400, "no_such_file");
    f.upload("a", b"x").await;
    f.ok("b2_hide_file", body.clone()).await;
    f.call("b2_hide_file", body)
        .await
        .is_error(400, "already_hidden");
}

#[tokio::test]
async fn deleting_the_newest_exposes_the_older() {
    let f = start().await;
    let old = f.upload("a", b"old").await;
    let new = f.upload("a", b"new").await;
    let reply = delete(&f, &new).await;
    assert_eq!(reply, json!({"fileId": new["fileId"], "fileName": "a"}));
    assert_eq!(f.get("a").await.body, b"old");
    delete(&f, &old).await;
    f.get("a").await.is_error(404, "not_found");
    assert_eq!(f.versions(json!({})).await, vec![]);
}

#[tokio::test]
async fn deleting_an_older_version_changes_nothing_to_see() {
    let f = start().await;
    let old = f.upload("a", b"old").await;
    f.upload("a", b"new").await;
    delete(&f, &old).await;
    assert_eq!(f.get("a").await.body, b"new");
}

#[tokio::test]
async fn name_and_id_must_both_fit() {
    let f = start().await;
    let file = f.upload("a", b"x").await;
    let body = |name: &str, id: &Value| json!({"fileId": id, "fileName": name});
    f.call("b2_delete_file_version", body("b", &file["fileId"]))
        .await
        .is_error(400, "file_not_present");
    f.call("b2_delete_file_version", body("a", &json!("bad-id")))
        .await
        .is_error(400, "bad_request");
    delete(&f, &file).await;
    f.call("b2_delete_file_version", body("a", &file["fileId"]))
        .await
        .is_error(400, "file_not_present");
}
