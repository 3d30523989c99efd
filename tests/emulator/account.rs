//! Authorization, buckets and the form of calls (API §1, §2, §3).

use serde_json::{Value, json};

use crate::api::{Answer, Caller, authorize, basic, start};

pub(crate) async fn create_bucket(f: &Caller, name: &str) -> Value {
    let body = json!({"accountId": f.account_id, "bucketName": name, "bucketType": "allPrivate"});
    f.ok("b2_create_bucket", body).await
}

#[tokio::test]
async fn authorize_answers_in_the_shape_of_each_version() {
    let f = start().await;
    let mut replies = Vec::new();
    for version in 1..=4 {
        replies.push(
            authorize(&f, version, f.server.key_id(), f.server.key())
                .await
                .ok(),
        );
    }
    for flat in &replies[..2] {
        assert!(flat["apiUrl"].is_string() && flat["downloadUrl"].is_string());
        assert_eq!(flat["absoluteMinimumPartSize"], 5_000_000);
        assert_eq!(flat["allowed"]["bucketId"], Value::Null);
        assert!(flat["allowed"]["capabilities"].is_array());
    }
    assert!(replies[0]["minimumPartSize"].is_number());
    let three = &replies[2]["apiInfo"]["storageApi"];
    assert_eq!(three["infoType"], "storageApi");
    assert!(three["capabilities"].is_array() && three.get("allowed").is_none());
    let four = &replies[3]["apiInfo"]["storageApi"];
    assert_eq!(four["recommendedPartSize"], 100_000_000);
    assert_eq!(four["allowed"]["buckets"], Value::Null);
    assert!(four.get("bucketId").is_none() && four.get("infoType").is_none());
    assert_eq!(replies[3]["applicationKeyExpirationTimestamp"], Value::Null);
}

#[tokio::test]
async fn hosts_for_calls_downloads_and_uploads_differ() {
    let f = start().await;
    let (upload_url, _) = f.upload_url().await;
    assert_ne!(f.api_url, f.download_url);
    assert!(!upload_url.starts_with(&f.api_url) && !upload_url.starts_with(&f.download_url));
    let misplaced = f
        .http
        .post(format!("{}/b2api/v4/b2_list_buckets", f.download_url))
        .header("authorization", &f.token)
        .body("{}");
    Answer::of(misplaced)
        .await
        .unwrap()
        .is_error(404, "not_found");
}

#[tokio::test]
async fn a_wrong_key_is_refused_with_a_challenge() {
    let f = start().await;
    for (id, secret) in [(f.server.key_id(), "wrong"), ("wrong", f.server.key())] {
        let answer = authorize(&f, 4, id, secret).await;
        answer.is_error(401, "bad_auth_token");
        assert_eq!(
            answer.header("www-authenticate"),
            "BASIC realm=\"authorize_account\""
        );
    }
}

#[tokio::test]
async fn a_wrong_key_may_be_unauthorized() {
    let f = start().await;
    f.server.set_faults(&["unauthorized-keys"]).unwrap();
    authorize(&f, 4, f.server.key_id(), "wrong")
        .await
        .is_error(401, "unauthorized");
}

#[tokio::test]
async fn a_wrong_account_id_is_a_bad_request() {
    let f = start().await;
    let wrong = json!({"accountId": "000000000000"});
    f.call("b2_list_buckets", wrong)
        .await
        .is_error(400, "bad_request");
}

#[tokio::test]
async fn lifecycle_rules_have_positive_days_and_do_not_overlap() {
    let f = start().await;
    let rule = |prefix: &str, days: Value| json!({"daysFromHidingToDeleting": days, "fileNamePrefix": prefix});
    let update = async |rules: Vec<Value>| {
        let body =
            json!({"accountId": f.account_id, "bucketId": f.bucket, "lifecycleRules": rules});
        f.call("b2_update_bucket", body).await
    };
    for bad in [
        vec![rule("", json!(0))],
        vec![rule("", json!(-1))],
        vec![rule("a/", json!(1)), rule("a/b/", json!(1))],
        vec![rule("a/", json!(1)), rule("", json!(1))],
        vec![rule("a/", json!(1)), rule("a/", json!(2))],
    ] {
        update(bad).await.is_error(400, "bad_request");
    }
    let good = vec![rule("a/", json!(1)), rule("b/", Value::Null)];
    assert_eq!(
        update(good.clone()).await.ok()["lifecycleRules"],
        json!(good)
    );
}

#[tokio::test]
async fn authorize_takes_a_post_as_well() {
    let f = start().await;
    let request = f
        .http
        .post(format!("{}/b2api/v4/b2_authorize_account", f.endpoint))
        .header("authorization", basic(f.server.key_id(), f.server.key()))
        .body("{}");
    Answer::of(request).await.unwrap().ok();
}

#[tokio::test]
async fn a_call_means_the_same_as_get_and_as_post_in_every_version() {
    let f = start().await;
    f.upload_all(&["a/b c", "a/d"]).await;
    for version in 1..=4 {
        let url = format!(
            "{}/b2api/v{version}/b2_list_file_names?bucketId={}&prefix=a%2F&maxFileCount=1",
            f.api_url, f.bucket
        );
        let got = Answer::of(f.http.get(url).header("authorization", &f.token))
            .await
            .unwrap()
            .ok();
        assert_eq!(got["files"][0]["fileName"], "a/b c");
        assert_eq!(got["nextFileName"], "a/d");
        assert_eq!(got["files"][0].get("size").is_some(), version == 1);
    }
}

#[tokio::test]
async fn errors_have_three_fields_and_400_closes_the_connection() {
    let f = start().await;
    let answer = f
        .call("b2_list_file_names", json!({"bucketId": "nowhere"}))
        .await;
    answer.is_error(400, "bad_bucket_id");
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(
        answer.header("content-type"),
        "application/json;charset=utf-8"
    );
    let answer = f.call("b2_nonsense", json!({})).await;
    answer.is_error(404, "not_found");
    assert_eq!(answer.header("connection"), "");
    let answer = f
        .http
        .put(format!("{}/b2api/v4/b2_list_buckets", f.api_url));
    Answer::of(answer)
        .await
        .unwrap()
        .is_error(405, "method_not_allowed");
}

#[tokio::test]
async fn bodies_that_are_not_understood_are_bad_json() {
    let f = start().await;
    for body in ["{", "[]", r#"{"bucketId": 7}"#, r#"{"bucketid": "x"}"#] {
        let request = f
            .http
            .post(format!("{}/b2api/v4/b2_list_file_names", f.api_url))
            .header("authorization", &f.token)
            .body(body);
        Answer::of(request).await.unwrap().is_error(400, "bad_json");
    }
}

#[tokio::test]
async fn a_call_without_a_good_token_is_refused() {
    let f = start().await;
    for token in ["", "wrong", &format!("Bearer {}", f.token)] {
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
}

#[tokio::test]
async fn reply_keys_are_in_alphabetical_order() {
    let f = start().await;
    f.upload("a", b"x").await;
    let answer = f
        .call("b2_list_file_names", json!({"bucketId": f.bucket}))
        .await;
    let text = String::from_utf8(answer.body).unwrap();
    let places: Vec<_> = [
        "accountId",
        "action",
        "bucketId",
        "contentLength",
        "fileId",
        "serverSide",
        "uploadTime",
    ]
    .iter()
    .map(|key| text.find(&format!("\"{key}")).unwrap())
    .collect();
    assert!(places.is_sorted(), "{text}");
}

#[tokio::test]
async fn buckets_are_made_changed_listed_and_deleted() {
    let f = start().await;
    let bucket = create_bucket(&f, "b2fuse-other").await;
    assert_eq!(bucket["revision"], 2);
    let id = &bucket["bucketId"];
    let again = json!({"accountId": f.account_id, "bucketName": "B2fuse-Other", "bucketType": "allPrivate"});
    f.call("b2_create_bucket", again)
        .await
        .is_error(400, "duplicate_bucket_name");
    let update = |revision: u64| {
        json!({
            "accountId": f.account_id, "bucketId": id, "bucketInfo": {"k": "v"}, "ifRevisionIs": revision,
        })
    };
    let updated = f.ok("b2_update_bucket", update(2)).await;
    assert_eq!(
        (&updated["revision"], &updated["bucketInfo"]["k"]),
        (&json!(3), &json!("v"))
    );
    f.call("b2_update_bucket", update(2))
        .await
        .is_error(409, "conflict");
    let listed = f
        .ok("b2_list_buckets", json!({"accountId": f.account_id}))
        .await;
    assert_eq!(listed["buckets"].as_array().unwrap().len(), 2);
    let unknown = json!({"accountId": f.account_id, "bucketName": "no-such-bucket"});
    assert_eq!(f.ok("b2_list_buckets", unknown).await["buckets"], json!([]));
    let delete = json!({"accountId": f.account_id, "bucketId": id});
    f.ok("b2_delete_bucket", delete.clone()).await;
    f.call("b2_delete_bucket", delete)
        .await
        .is_error(400, "bad_bucket_id");
}

#[tokio::test]
async fn a_bucket_with_anything_in_it_stays() {
    let f = start().await;
    f.start_large("unfinished").await;
    let delete = json!({"accountId": f.account_id, "bucketId": f.bucket});
    f.call("b2_delete_bucket", delete)
        .await
        .is_error(400, "cannot_delete_non_empty_bucket");
}

#[tokio::test]
async fn a_public_bucket_needs_no_token_to_read() {
    let f = start().await;
    f.upload("a", b"hello").await;
    let url = format!("{}/file/{}/a", f.download_url, f.bucket_name);
    Answer::of(f.http.get(&url))
        .await
        .unwrap()
        .is_error(401, "bad_auth_token");
    let body = json!({"accountId": f.account_id, "bucketId": f.bucket, "bucketType": "allPublic"});
    f.ok("b2_update_bucket", body).await;
    assert_eq!(Answer::of(f.http.get(&url)).await.unwrap().body, b"hello");
}
