//! Authorization, keys, buckets and what keys may do (API §1, §2, §3, §11).

use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Answer, Caller, Fixture, basic, start};

async fn authorize(f: &Fixture, version: u8, id: &str, secret: &str) -> Answer {
    let url = format!("{}/b2api/v{version}/b2_authorize_account", f.endpoint);
    let request = f.http.get(url).header("authorization", basic(id, secret));
    Answer::of(request).await.unwrap()
}

async fn create_bucket(f: &Caller, name: &str) -> Value {
    let body = json!({"accountId": f.account_id, "bucketName": name, "bucketType": "allPrivate"});
    f.ok("b2_create_bucket", body).await
}

async fn create_key(f: &Caller, capabilities: &[&str], buckets: Value, prefix: Value) -> Value {
    let body = json!({
        "accountId": f.account_id, "bucketIds": buckets, "capabilities": capabilities, "keyName": "test",
        "namePrefix": prefix,
    });
    f.ok("b2_create_key", body).await
}

async fn with_key(f: &Caller, key: &Value) -> Caller {
    let text = |name: &str| key[name].as_str().unwrap().to_owned();
    Caller::authorize(
        &f.endpoint,
        &text("applicationKeyId"),
        &text("applicationKey"),
        &f.bucket_name,
    )
    .await
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
async fn restricted_keys_are_known_to_version_4_only() {
    let f = start().await;
    let key = create_key(&f, &["listFiles"], json!([f.bucket]), Value::Null).await;
    let (id, secret) = (
        key["applicationKeyId"].as_str().unwrap(),
        key["applicationKey"].as_str().unwrap(),
    );
    for version in 1..4 {
        let answer = authorize(&f, version, id, secret).await;
        answer.is_error(400, "bad_request");
        let message =
            format!("This request is not currently supported on API version number {version}");
        assert_eq!(answer.json()["message"], message);
    }
    let reply = authorize(&f, 4, id, secret).await.ok();
    let allowed = &reply["apiInfo"]["storageApi"]["allowed"];
    assert_eq!(
        allowed["buckets"],
        json!([{"id": f.bucket, "name": f.bucket_name}])
    );
    assert_eq!(allowed["capabilities"], json!(["listFiles"]));
}

#[tokio::test]
async fn a_key_may_only_do_what_it_was_made_for() {
    let f = start().await;
    let file = f.upload("a", b"x").await;
    let key = create_key(
        &f,
        &["listFiles", "listBuckets"],
        json!([f.bucket]),
        Value::Null,
    )
    .await;
    let k = with_key(&f, &key).await;
    k.ok("b2_list_file_names", json!({"bucketId": f.bucket}))
        .await;
    let id = &file["fileId"];
    for (call, body) in [
        ("b2_get_upload_url", json!({"bucketId": f.bucket})),
        (
            "b2_hide_file",
            json!({"bucketId": f.bucket, "fileName": "a"}),
        ),
        (
            "b2_delete_file_version",
            json!({"fileId": id, "fileName": "a"}),
        ),
        ("b2_get_file_info", json!({"fileId": id})),
        ("b2_copy_file", json!({"fileName": "b", "sourceFileId": id})),
        ("b2_list_keys", json!({"accountId": f.account_id})),
        (
            "b2_start_large_file",
            json!({"bucketId": f.bucket, "contentType": "b2/x-auto", "fileName": "b"}),
        ),
        (
            "b2_create_bucket",
            json!({"accountId": f.account_id, "bucketName": "b2fuse-other", "bucketType": "allPrivate"}),
        ),
    ] {
        k.call(call, body).await.is_error(401, "unauthorized");
    }
    k.get("a").await.is_error(401, "unauthorized");
}

#[tokio::test]
async fn a_key_of_one_bucket_must_name_it() {
    let f = start().await;
    let other = create_bucket(&f, "b2fuse-other").await;
    let key = create_key(
        &f,
        &["listBuckets", "listFiles"],
        json!([f.bucket]),
        Value::Null,
    )
    .await;
    let k = with_key(&f, &key).await;
    let account = &f.account_id;
    let list = async |body: Value| k.call("b2_list_buckets", body).await;
    list(json!({"accountId": account}))
        .await
        .is_error(401, "unauthorized");
    list(json!({"accountId": account, "bucketId": other["bucketId"]}))
        .await
        .is_error(401, "unauthorized");
    list(json!({"accountId": account, "bucketName": "b2fuse-other"}))
        .await
        .is_error(401, "unauthorized");
    let own = list(json!({"accountId": account, "bucketName": f.bucket_name}))
        .await
        .ok();
    assert_eq!(own["buckets"][0]["bucketId"], f.bucket);
    k.call("b2_list_file_names", json!({"bucketId": other["bucketId"]}))
        .await
        .is_error(401, "unauthorized");
}

#[tokio::test]
async fn a_key_may_hold_several_buckets() {
    let f = start().await;
    let other = create_bucket(&f, "b2fuse-other").await;
    let third = create_bucket(&f, "b2fuse-third").await;
    let key = create_key(
        &f,
        &["listFiles"],
        json!([f.bucket, other["bucketId"]]),
        Value::Null,
    )
    .await;
    let k = with_key(&f, &key).await;
    k.ok("b2_list_file_names", json!({"bucketId": f.bucket}))
        .await;
    k.ok("b2_list_file_names", json!({"bucketId": other["bucketId"]}))
        .await;
    k.call("b2_list_file_names", json!({"bucketId": third["bucketId"]}))
        .await
        .is_error(401, "unauthorized");
}

#[tokio::test]
async fn a_name_prefix_bounds_every_call() {
    let f = start().await;
    f.upload_all(&["in/a", "out/a"]).await;
    let all = [
        "listFiles",
        "readFiles",
        "writeFiles",
        "deleteFiles",
        "shareFiles",
    ];
    let key = create_key(&f, &all, json!([f.bucket]), json!("in/")).await;
    let k = with_key(&f, &key).await;
    assert_eq!(k.names(json!({"prefix": "in/"})).await.0.len(), 1);
    for prefix in ["", "i", "out/"] {
        let body = json!({"bucketId": f.bucket, "prefix": prefix});
        k.call("b2_list_file_names", body.clone())
            .await
            .is_error(401, "unauthorized");
        k.call("b2_list_file_versions", body)
            .await
            .is_error(401, "unauthorized");
    }
    assert_eq!(k.get("in/a").await.status, 200);
    k.get("out/a").await.is_error(401, "unauthorized");
    k.upload("in/b", b"x").await;
    k.upload_error("out/b", &[])
        .await
        .is_error(401, "unauthorized");
    let hide = |name: &str| json!({"bucketId": f.bucket, "fileName": name});
    k.ok("b2_hide_file", hide("in/b")).await;
    k.call("b2_hide_file", hide("out/a"))
        .await
        .is_error(401, "unauthorized");
}

#[tokio::test]
async fn a_deleted_key_takes_its_tokens_along() {
    let f = start().await;
    let key = create_key(&f, &["listFiles"], json!([f.bucket]), Value::Null).await;
    let k = with_key(&f, &key).await;
    let listed = f
        .ok("b2_list_keys", json!({"accountId": f.account_id}))
        .await;
    assert_eq!(
        listed["keys"][0]["applicationKeyId"],
        key["applicationKeyId"]
    );
    assert!(listed["keys"][0].get("applicationKey").is_none());
    f.ok(
        "b2_delete_key",
        json!({"applicationKeyId": key["applicationKeyId"]}),
    )
    .await;
    k.call("b2_list_file_names", json!({"bucketId": f.bucket}))
        .await
        .is_error(401, "bad_auth_token");
}

#[tokio::test]
async fn an_expired_key_cannot_authorize() {
    let f = start().await;
    let body = json!({
        "accountId": f.account_id, "capabilities": ["listFiles"], "keyName": "short", "validDurationInSeconds": 1,
    });
    let key = f.ok("b2_create_key", body).await;
    assert!(key["expirationTimestamp"].is_number());
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let (id, secret) = (
        key["applicationKeyId"].as_str().unwrap(),
        key["applicationKey"].as_str().unwrap(),
    );
    authorize(&f, 4, id, secret)
        .await
        .is_error(401, "bad_auth_token");
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

#[tokio::test]
async fn a_download_token_opens_its_prefix_by_name_only() {
    let f = start().await;
    f.upload_all(&["in/a", "out"]).await;
    let id = f
        .ok("b2_list_file_names", json!({"bucketId": f.bucket}))
        .await["files"][0]["fileId"]
        .clone();
    let body = |seconds: u64| json!({"bucketId": f.bucket, "fileNamePrefix": "in/", "validDurationInSeconds": seconds});
    f.call("b2_get_download_authorization", body(604_801))
        .await
        .is_error(400, "out_of_range");
    let grant = f.ok("b2_get_download_authorization", body(60)).await;
    let token = grant["authorizationToken"].as_str().unwrap();
    let url = |name: &str| format!("{}/file/{}/{name}", f.download_url, f.bucket_name);
    let by_query = f.http.get(format!("{}?Authorization={token}", url("in/a")));
    assert_eq!(Answer::of(by_query).await.unwrap().body, b"in/a");
    let by_header = |url: String| {
        f.http
            .request(Method::GET, url)
            .header("authorization", token)
    };
    assert_eq!(
        Answer::of(by_header(url("in/a"))).await.unwrap().status,
        200
    );
    Answer::of(by_header(url("out")))
        .await
        .unwrap()
        .is_error(401, "unauthorized");
    let by_id = format!(
        "{}/b2api/v4/b2_download_file_by_id?fileId={}",
        f.download_url,
        id.as_str().unwrap()
    );
    Answer::of(by_header(by_id))
        .await
        .unwrap()
        .is_error(401, "unauthorized");
}
