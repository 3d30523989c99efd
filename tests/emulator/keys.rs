//! What keys and tokens may do (API §0, §11).

use reqwest::Method;
use serde_json::{Value, json};

use crate::account::create_bucket;
use crate::api::{Answer, Caller, authorize, start};

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
