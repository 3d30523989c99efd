//! Object Lock (API §8).

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::api::{Answer, Fixture, start};

fn in_an_hour() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64
        + 3_600_000
}

async fn locked() -> Fixture {
    let f = start().await;
    let body = json!({"accountId": f.account_id, "bucketId": f.bucket, "fileLockEnabled": true});
    f.ok("b2_update_bucket", body).await;
    f
}

async fn retain(f: &Fixture, file: &Value, mode: &str, until: u64, bypass: bool) -> Answer {
    let body = json!({
        "bypassGovernance": bypass, "fileId": file["fileId"], "fileName": file["fileName"],
        "fileRetention": {"mode": mode, "retainUntilTimestamp": until},
    });
    f.call("b2_update_file_retention", body).await
}

async fn delete(f: &Fixture, file: &Value, bypass: bool) -> Answer {
    let body = json!({
        "bypassGovernance": bypass, "fileId": file["fileId"], "fileName": file["fileName"],
    });
    f.call("b2_delete_file_version", body).await
}

#[tokio::test]
async fn a_retained_version_cannot_be_deleted() {
    let f = locked().await;
    let file = f.upload("a", b"x").await;
    let until = in_an_hour();
    retain(&f, &file, "compliance", until, false).await.ok();
    let info = f
        .ok("b2_get_file_info", json!({"fileId": file["fileId"]}))
        .await;
    assert_eq!(
        info["fileRetention"]["value"],
        json!({"mode": "compliance", "retainUntilTimestamp": until})
    );
    for bypass in [false, true] {
        delete(&f, &file, bypass)
            .await
            .is_error(401, "access_denied");
        retain(&f, &file, "compliance", until - 1000, bypass)
            .await
            .is_error(401, "access_denied");
    }
    f.upload("a", b"overwriting still works").await;
}

#[tokio::test]
async fn governance_can_be_bypassed() {
    let f = locked().await;
    let until = in_an_hour().to_string();
    let request = f
        .upload_request("a", b"x")
        .await
        .header("x-bz-file-retention-mode", "governance")
        .header("x-bz-file-retention-retain-until-timestamp", &until);
    let file = Answer::of(request).await.unwrap().ok();
    let answer = f.get("a").await;
    assert_eq!(answer.header("x-bz-file-retention-mode"), "governance");
    assert_eq!(
        answer.header("x-bz-file-retention-retain-until-timestamp"),
        until
    );
    delete(&f, &file, false)
        .await
        .is_error(401, "access_denied");
    delete(&f, &file, true).await.ok();
}

#[tokio::test]
async fn a_legal_hold_keeps_until_it_is_off() {
    let f = locked().await;
    let file = f.upload("a", b"x").await;
    let hold = async |state: &str| {
        let body = json!({"fileId": file["fileId"], "fileName": "a", "legalHold": state});
        f.call("b2_update_file_legal_hold", body).await
    };
    hold("on").await.ok();
    delete(&f, &file, true).await.is_error(401, "access_denied");
    hold("perhaps").await.is_error(400, "bad_request");
    hold("off").await.ok();
    delete(&f, &file, false).await.ok();
}

#[tokio::test]
async fn a_bucket_without_lock_has_none() {
    let f = start().await;
    let file = f.upload("a", b"x").await;
    let answer = retain(&f, &file, "governance", in_an_hour(), false).await;
    answer.is_error(400, "bucket_missing_file_lock");
}

#[tokio::test]
async fn the_default_retention_of_the_bucket_is_taken() {
    let f = locked().await;
    let body = json!({
        "accountId": f.account_id, "bucketId": f.bucket,
        "defaultRetention": {"mode": "governance", "period": {"duration": 1, "unit": "days"}},
    });
    f.ok("b2_update_bucket", body).await;
    let file = f.upload("a", b"x").await;
    assert_eq!(file["fileRetention"]["value"]["mode"], "governance");
    delete(&f, &file, false)
        .await
        .is_error(401, "access_denied");
}

#[tokio::test]
async fn a_retention_ends_in_the_future() {
    let f = locked().await;
    let past = "retain_until_timestamp_must_be_in_future";
    let headers = [
        ("x-bz-file-retention-mode", "governance"),
        (
            "x-bz-file-retention-retain-until-timestamp",
            "1000000000000",
        ),
    ];
    f.upload_error("a", &headers).await.is_error(400, past);
    assert_eq!(f.names(json!({})).await.0, []);
    let file = f.upload("a", b"x").await;
    retain(&f, &file, "governance", 1_000_000_000_000, false)
        .await
        .is_error(400, past);
    delete(&f, &file, false).await.ok();
}

#[tokio::test]
async fn a_bucket_with_lock_keeps_it() {
    let f = locked().await;
    let body = json!({"accountId": f.account_id, "bucketId": f.bucket, "fileLockEnabled": false});
    f.call("b2_update_bucket", body)
        .await
        .is_error(400, "file_lock_conflict");
}
