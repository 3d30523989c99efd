//! Server-side copies (API §6.1).

use serde_json::{Value, json};

use crate::api::{Answer, bytes, sha1, start};

#[tokio::test]
async fn a_copy_is_a_new_upload_of_the_same_content() {
    let f = start().await;
    let request = f
        .upload_request("a.txt", b"content")
        .await
        .header("x-bz-info-k", "v");
    let source = Answer::of(request).await.unwrap().ok();
    let copy = f
        .ok(
            "b2_copy_file",
            json!({"fileName": "b", "sourceFileId": source["fileId"]}),
        )
        .await;
    assert_eq!(copy["action"], "copy");
    for field in [
        "contentLength",
        "contentSha1",
        "contentMd5",
        "contentType",
        "fileInfo",
    ] {
        assert_eq!(copy[field], source[field], "{field}");
    }
    assert!(copy["uploadTimestamp"].as_u64() > source["uploadTimestamp"].as_u64());
    assert_ne!(copy["fileId"], source["fileId"]);
    assert_eq!(f.get("b").await.body, b"content");
    let info = f
        .ok("b2_get_file_info", json!({"fileId": copy["fileId"]}))
        .await;
    assert_eq!(info["action"], "upload");
    assert_eq!(f.names(json!({})).await.0[1].0, "upload");
}

#[tokio::test]
async fn replacing_takes_type_and_info_from_the_call_only() {
    let f = start().await;
    let request = f
        .upload_request("a", b"content")
        .await
        .header("x-bz-info-k", "v");
    let source = Answer::of(request).await.unwrap().ok();
    let copy = async |mut body: Value| {
        body["fileName"] = "b".into();
        body["sourceFileId"] = source["fileId"].clone();
        f.call("b2_copy_file", body).await
    };
    let replaced = copy(json!({
        "contentType": "text/x-new", "fileInfo": {"Other": "ä"}, "metadataDirective": "REPLACE",
    }))
    .await
    .ok();
    assert_eq!(
        (&replaced["contentType"], &replaced["fileInfo"]),
        (&json!("text/x-new"), &json!({"other": "ä"}))
    );
    let emptied = copy(json!({"contentType": "text/x-new", "metadataDirective": "REPLACE"}))
        .await
        .ok();
    assert_eq!(emptied["fileInfo"], json!({}));
    copy(json!({"metadataDirective": "REPLACE"}))
        .await
        .is_error(400, "bad_request");
    copy(json!({"contentType": "text/x-new"}))
        .await
        .is_error(400, "bad_request");
    copy(json!({"fileInfo": {}, "metadataDirective": "COPY"}))
        .await
        .is_error(400, "bad_request");
}

#[tokio::test]
async fn a_range_is_copied_with_a_hash_of_its_own() {
    let f = start().await;
    let source = f.upload("a", b"0123456789").await;
    let copy = async |range: &str| {
        let body = json!({"fileName": "b", "range": range, "sourceFileId": source["fileId"]});
        f.call("b2_copy_file", body).await
    };
    let copied = copy("bytes=2-4").await.ok();
    assert_eq!(
        (&copied["contentLength"], &copied["contentSha1"]),
        (&json!(3), &json!(sha1(b"234")))
    );
    assert_eq!(f.get("b").await.body, b"234");
    copy("bytes=4-10")
        .await
        .is_error(416, "range_not_satisfiable");
    copy("bytes=4-2").await.is_error(400, "bad_request");
    copy("2-4").await.is_error(400, "bad_request");
    copy("bytes=+2-4").await.is_error(400, "bad_request");
}

#[tokio::test]
async fn a_copy_survives_its_source() {
    let f = start().await;
    let source = f.upload("a", b"content").await;
    f.ok(
        "b2_copy_file",
        json!({"fileName": "b", "sourceFileId": source["fileId"]}),
    )
    .await;
    let gone = json!({"fileId": source["fileId"], "fileName": "a"});
    f.ok("b2_delete_file_version", gone).await;
    assert_eq!(f.get("b").await.body, b"content");
    let again = json!({"fileName": "c", "sourceFileId": source["fileId"]});
    f.call("b2_copy_file", again)
        .await
        .is_error(404, "not_found");
}

#[tokio::test]
async fn a_copy_may_go_to_another_bucket() {
    let f = start().await;
    let body = json!({"accountId": f.account_id, "bucketName": "b2fuse-other", "bucketType": "allPrivate"});
    let other = f.ok("b2_create_bucket", body).await;
    let source = f.upload("a", b"content").await;
    let body = json!({
        "destinationBucketId": other["bucketId"], "fileName": "a", "sourceFileId": source["fileId"],
    });
    assert_eq!(
        f.ok("b2_copy_file", body).await["bucketId"],
        other["bucketId"]
    );
    let body = json!({"destinationBucketId": "nowhere", "fileName": "a", "sourceFileId": source["fileId"]});
    f.call("b2_copy_file", body)
        .await
        .is_error(400, "bad_bucket_id");
}

#[tokio::test]
async fn a_source_beyond_the_limit_needs_copies_of_parts() {
    let f = start().await;
    f.server.set_faults(&["maximum-copy=100"]).unwrap();
    let source = f.upload("a", &bytes(101, 1)).await;
    let body = json!({"fileName": "b", "sourceFileId": source["fileId"]});
    let answer = f.call("b2_copy_file", body).await;
    answer.is_error(400, "source_too_large");
    assert_eq!(answer.json()["message"], "Copy source too big: 101");
    let part = json!({"fileName": "b", "range": "bytes=0-99", "sourceFileId": source["fileId"]});
    f.ok("b2_copy_file", part).await;
}

#[tokio::test]
async fn copied_and_uploaded_parts_mix() {
    let f = start().await;
    let (one, two, tail) = (bytes(5_000_000, 1), bytes(2_000_000, 2), bytes(33, 3));
    let source = f.upload_large("a", &[&one, &two]).await;
    let whole = [&one[..], &two[..]].concat();
    let file = f.start_large("b").await;
    let copy = async |number: u64, range: &str| {
        let body = json!({
            "largeFileId": file["fileId"], "partNumber": number, "range": range, "sourceFileId": source["fileId"],
        });
        f.call("b2_copy_part", body).await
    };
    // Across the border of the source's parts.
    let first = copy(1, "bytes=1000000-6499999").await.ok();
    assert_eq!(first["contentSha1"], sha1(&whole[1_000_000..6_500_000]));
    assert_eq!(
        (&first["contentLength"], &first["partNumber"]),
        (&json!(5_500_000), &json!(1))
    );
    copy(2, "bytes=6999999-7000000")
        .await
        .is_error(416, "range_not_satisfiable");
    copy(10_001, "bytes=0-9").await.is_error(400, "bad_request");
    f.upload_part(&file, 2, &tail).await.ok();
    let body =
        json!({"fileId": file["fileId"], "partSha1Array": [first["contentSha1"], sha1(&tail)]});
    f.ok("b2_finish_large_file", body).await;
    assert!(f.get("b").await.body == [&whole[1_000_000..6_500_000], &tail[..]].concat());
}

#[tokio::test]
async fn a_whole_copy_of_a_large_file_has_no_hash_either() {
    let f = start().await;
    let source = f.upload_large("a", &[&bytes(5_000_000, 1), b"x"]).await;
    let copy = f
        .ok(
            "b2_copy_file",
            json!({"fileName": "b", "sourceFileId": source["fileId"]}),
        )
        .await;
    assert_eq!(copy["contentSha1"], "none");
}
