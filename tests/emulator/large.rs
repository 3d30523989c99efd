//! Large files (API §6).

use serde_json::{Value, json};

use crate::api::{Answer, authorize, bytes, sha1, start, url_and_token, wanted};

const MIN: usize = 5_000_000;

#[tokio::test]
async fn parts_become_one_file_under_the_stamp_of_the_start() {
    let f = start().await;
    let (one, two) = (bytes(MIN, 1), bytes(1234, 2));
    let started = f.start_large("a").await;
    assert_eq!(started["action"], "start");
    assert_eq!(
        (&started["contentSha1"], &started["contentLength"]),
        (&json!("none"), &json!(0))
    );
    assert!(started["fileId"].as_str().unwrap().contains("_f2"));
    let second = f.upload_part(&started, 2, &two).await.ok();
    assert_eq!(second["partNumber"], 2);
    assert_eq!(second["contentSha1"], sha1(&two));
    assert_eq!(second["contentLength"], 1234);
    f.upload_part(&started, 1, &one).await.ok();
    let body = json!({"fileId": started["fileId"], "partSha1Array": [sha1(&one), sha1(&two)]});
    let file = f.ok("b2_finish_large_file", body).await;
    assert_eq!(file["action"], "upload");
    assert_eq!(file["fileId"], started["fileId"]);
    assert_eq!(file["uploadTimestamp"], started["uploadTimestamp"]);
    assert_eq!(
        (&file["contentSha1"], &file["contentMd5"]),
        (&json!("none"), &Value::Null)
    );
    let answer = f.get("a").await;
    assert!(answer.body == [one, two].concat());
    assert_eq!(answer.header("x-bz-content-sha1"), "none");
}

#[tokio::test]
async fn a_part_sent_again_replaces_the_first() {
    let f = start().await;
    let (one, old, new) = (bytes(MIN, 1), bytes(10, 2), bytes(20, 3));
    let file = f.start_large("a").await;
    for (number, part) in [(1, &one), (2, &old), (2, &new)] {
        f.upload_part(&file, number, part).await.ok();
    }
    let body = json!({"fileId": file["fileId"], "partSha1Array": [sha1(&one), sha1(&new)]});
    f.ok("b2_finish_large_file", body).await;
    assert!(f.get("a").await.body == [one, new].concat());
}

#[tokio::test]
async fn finishing_wants_every_part_in_order_large_enough_and_two_of_them() {
    let f = start().await;
    let (one, two, small) = (bytes(MIN, 1), bytes(MIN - 1, 2), bytes(9, 3));
    let finish = async |file: &Value, sha1s: &[&str]| {
        let body = json!({"fileId": file["fileId"], "partSha1Array": sha1s});
        f.call("b2_finish_large_file", body).await
    };
    let (h1, h2, h3) = (&*sha1(&one), &*sha1(&two), &*sha1(&small));
    let file = f.start_large("a").await;
    f.upload_part(&file, 1, &one).await.ok();
    let alone = finish(&file, &[h1]).await;
    alone.is_error(400, "bad_request");
    assert_eq!(
        alone.json()["message"],
        "large files must have at least 2 parts"
    );
    f.upload_part(&file, 3, &small).await.ok();
    finish(&file, &[h1, h2, h3])
        .await
        .is_error(400, "missing_part");
    f.upload_part(&file, 2, &two).await.ok();
    finish(&file, &[h1, h1, h3])
        .await
        .is_error(400, "part_sha1_mismatch");
    finish(&file, &[h1, h2]).await.is_error(400, "bad_request");
    finish(&file, &[h1, h2, h3])
        .await
        .is_error(400, "bad_request"); // part 2 lacks a byte
    f.upload_part(&file, 2, &one).await.ok();
    finish(&file, &[h1, h1, h3]).await.ok();
}

#[tokio::test]
async fn an_account_may_ask_for_other_parts() {
    let f = start().await;
    let (one, two) = (bytes(3000, 1), bytes(1, 2));
    for (minimum, status) in [(3001, 400), (3000, 200)] {
        f.server
            .set_faults(&[&format!("minimum-part={minimum}")])
            .unwrap();
        let told = authorize(&f, 4, f.server.key_id(), f.server.key())
            .await
            .ok();
        let api = &told["apiInfo"]["storageApi"];
        assert_eq!(api["absoluteMinimumPartSize"], minimum);
        let file = f.start_large("a").await;
        f.upload_part(&file, 1, &one).await.ok();
        f.upload_part(&file, 2, &two).await.ok();
        let body = json!({"fileId": file["fileId"], "partSha1Array": [sha1(&one), sha1(&two)]});
        let answer = f.call("b2_finish_large_file", body).await;
        assert_eq!(answer.status, status, "{minimum}");
    }
}

#[tokio::test]
async fn finishing_twice_is_an_error_and_file_info_tells_that_it_is_done() {
    let f = start().await;
    let (one, two) = (bytes(MIN, 1), bytes(1, 2));
    let file = f.start_large("a").await;
    let info = json!({"fileId": file["fileId"]});
    f.call("b2_get_file_info", info.clone())
        .await
        .is_error(400, "bad_request");
    f.upload_part(&file, 1, &one).await.ok();
    f.upload_part(&file, 2, &two).await.ok();
    let body = json!({"fileId": file["fileId"], "partSha1Array": [sha1(&one), sha1(&two)]});
    f.ok("b2_finish_large_file", body.clone()).await;
    f.call("b2_finish_large_file", body)
        .await
        .is_error(400, "bad_request");
    assert_eq!(
        f.ok("b2_get_file_info", info.clone()).await["action"],
        "upload"
    );
    f.call("b2_cancel_large_file", info)
        .await
        .is_error(400, "bad_request");
    assert_eq!(f.get("a").await.status, 200);
}

#[tokio::test]
async fn part_numbers_go_from_1_to_10000() {
    let f = start().await;
    let file = f.start_large("a").await;
    for number in [0, 10_001] {
        let answer = f.upload_part(&file, number, b"x").await;
        answer.is_error(400, "bad_request");
        assert_eq!(
            answer.json()["message"],
            "Part number must be in range 1 - 10000"
        );
    }
    f.upload_part(&file, 10_000, b"x").await.ok();
    f.upload_part(&file, 1, b"")
        .await
        .is_error(400, "bad_request");
}

#[tokio::test]
async fn parts_are_listed_in_pages() {
    let f = start().await;
    let file = f.start_large("a").await;
    for number in [5, 1, 3] {
        f.upload_part(&file, number, format!("part {number}").as_bytes())
            .await
            .ok();
    }
    let list = async |start: Value, max: u64| {
        let body = json!({"fileId": file["fileId"], "maxPartCount": max, "startPartNumber": start});
        f.call("b2_list_parts", body).await
    };
    let page = list(Value::Null, 2).await.ok();
    assert_eq!(page["parts"][0]["partNumber"], 1);
    assert_eq!(page["parts"][1]["contentSha1"], sha1(b"part 3"));
    assert_eq!(page["nextPartNumber"], 5);
    let page = list(json!(5), 2).await.ok();
    assert_eq!(
        (&page["parts"][0]["contentLength"], &page["nextPartNumber"]),
        (&json!(6), &Value::Null)
    );
    list(Value::Null, 1001).await.is_error(400, "out_of_range");
}

#[tokio::test]
async fn unfinished_files_are_listed_and_can_be_cancelled() {
    let f = start().await;
    let mut files = Vec::new();
    for name in ["b/1", "a/1", "b/2"] {
        files.push(f.start_large(name).await);
    }
    let list = async |mut body: Value| {
        body["bucketId"] = f.bucket.as_str().into();
        f.call("b2_list_unfinished_large_files", body).await
    };
    let page = list(json!({"maxFileCount": 2})).await.ok();
    assert_eq!(
        crate::api::rows(&page),
        wanted(&[("start", "b/1"), ("start", "a/1")])
    );
    assert_eq!(page["nextFileId"], files[2]["fileId"]);
    let page = list(json!({"startFileId": page["nextFileId"]})).await.ok();
    assert_eq!(crate::api::rows(&page), wanted(&[("start", "b/2")]));
    assert_eq!(page["nextFileId"], Value::Null);
    assert_eq!(
        list(json!({"namePrefix": "b/"})).await.ok()["files"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    list(json!({"maxFileCount": 101}))
        .await
        .is_error(400, "out_of_range");
    let cancelled = f
        .ok(
            "b2_cancel_large_file",
            json!({"fileId": files[0]["fileId"]}),
        )
        .await;
    assert_eq!(
        cancelled,
        json!({
            "accountId": f.account_id, "bucketId": f.bucket, "fileId": files[0]["fileId"], "fileName": "b/1",
        })
    );
    assert_eq!(
        list(json!({})).await.ok()["files"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let bad = f
        .call("b2_cancel_large_file", json!({"fileId": "bad-id"}))
        .await;
    bad.is_error(400, "bad_request");
    assert_eq!(bad.json()["message"], "Invalid fileId: bad-id");
}

#[tokio::test]
async fn a_large_file_begun_before_and_finished_after_a_small_one_is_the_older() {
    let f = start().await;
    let file = f.start_large("a").await;
    f.upload("a", b"small").await;
    let (one, two) = (bytes(MIN, 1), bytes(1, 2));
    f.upload_part(&file, 1, &one).await.ok();
    f.upload_part(&file, 2, &two).await.ok();
    let body = json!({"fileId": file["fileId"], "partSha1Array": [sha1(&one), sha1(&two)]});
    f.ok("b2_finish_large_file", body).await;
    assert_eq!(f.get("a").await.body, b"small");
    assert_eq!(f.versions(json!({})).await.len(), 2);
}

#[tokio::test]
async fn a_part_url_is_for_its_own_file() {
    let f = start().await;
    let (one, two) = (f.start_large("1").await, f.start_large("2").await);
    let url = f
        .ok("b2_get_upload_part_url", json!({"fileId": one["fileId"]}))
        .await;
    let (url, token) = url_and_token(&url);
    let other = url.replace(
        one["fileId"].as_str().unwrap(),
        two["fileId"].as_str().unwrap(),
    );
    let request = f
        .http
        .post(other)
        .header("authorization", &token)
        .header("x-bz-part-number", "1")
        .header("x-bz-content-sha1", sha1(b"x"))
        .body("x");
    Answer::of(request)
        .await
        .unwrap()
        .is_error(401, "bad_auth_token");
    f.ok("b2_cancel_large_file", json!({"fileId": one["fileId"]}))
        .await;
    let late = f
        .http
        .post(url)
        .header("authorization", &token)
        .header("x-bz-part-number", "1")
        .header("x-bz-content-sha1", sha1(b"x"))
        .body("x");
    Answer::of(late).await.unwrap().is_error(400, "bad_request");
}
