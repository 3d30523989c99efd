//! Keys, buckets and endpoints: what `connect` finds out, and what a restricted key may do.

use b2fuse::b2::{Client, ErrorKind, ListNames, Options, Payload, Secret};
use b2fuse::emulator::Server;

use crate::{connect, file, id, name, options, pattern, put, server};

const ALL: [&str; 5] = [
    "listBuckets",
    "listFiles",
    "readFiles",
    "writeFiles",
    "deleteFiles",
];

fn with_key(server: &Server, (key_id, key): (String, String)) -> Options {
    Options {
        key_id,
        key: Secret::new(&key),
        bucket_name: None,
        ..options(server)
    }
}

#[tokio::test]
async fn a_bucket_is_found_by_name_by_id_or_by_the_key_alone() {
    let server = server();
    let by_name = connect(&server).await.account();
    assert_eq!(by_name.bucket_name, server.bucket_name());
    let by_id = Client::connect(Options {
        bucket_name: None,
        bucket_id: Some(by_name.bucket_id.clone()),
        ..options(&server)
    });
    assert_eq!(
        by_id.await.expect("by id").account().bucket_name,
        by_name.bucket_name
    );
    let key = server.create_key(&ALL, Some(&[server.bucket_name()]), Some("p/"));
    let by_key = Client::connect(with_key(&server, key.expect("a key"))).await;
    let by_key = by_key.expect("by the key");
    assert_eq!(by_key.account().bucket_id, by_name.bucket_id);
    assert_eq!(by_key.account().name_prefix, "p/");
    assert_eq!(by_key.counters().calls("b2_list_buckets"), 0);
    assert_eq!(by_key.counters().calls("b2_authorize_account"), 1);
}

#[tokio::test]
async fn an_unnamed_or_unknown_bucket_is_told() {
    let server = server();
    let error = Client::connect(Options {
        bucket_name: None,
        ..options(&server)
    });
    let error = error.await.expect_err("which one?");
    assert_eq!(error.kind, ErrorKind::NoSuchBucket);
    assert!(error.to_string().contains(server.bucket_name()), "{error}");
    let error = Client::connect(Options {
        bucket_name: Some("elsewhere".to_owned()),
        ..options(&server)
    });
    let error = error.await.expect_err("absent");
    assert_eq!(error.kind, ErrorKind::NoSuchBucket);
    assert!(error.to_string().contains("elsewhere"), "{error}");
}

#[tokio::test]
async fn a_wrong_key_is_refused_once_and_never_shown() {
    let server = server();
    let error = Client::connect(Options {
        key: Secret::new("not-the-key"),
        ..options(&server)
    });
    let error = error.await.expect_err("wrong");
    assert_eq!((error.kind, error.attempts), (ErrorKind::BadCredentials, 1));
    assert!(!format!("{error} {error:?}").contains("not-the-key"));
}

#[tokio::test]
async fn a_missing_capability_is_named_and_not_retried() {
    let server = server();
    let key = server.create_key(&["listFiles"], Some(&[server.bucket_name()]), None);
    let client = Client::connect(with_key(&server, key.expect("a key"))).await;
    let client = client.expect("connects");
    let error = client
        .upload_file(&file("f"), Payload::from(pattern(1)))
        .await;
    let error = error.expect_err("may not");
    assert_eq!(error.kind, ErrorKind::AccessDenied);
    assert!(error.detail.contains("lacks writeFiles"), "{error}");
    assert_eq!(client.counters().retries, 0);
    let version = put(&connect(&server).await, "f", &pattern(1)).await;
    let error = client
        .download(&id(&version), 0..1)
        .await
        .expect_err("may not");
    assert_eq!(error.kind, ErrorKind::AccessDenied);
    assert!(error.detail.contains("lacks readFiles"), "{error}");
    let error = client.delete_file_version(&name("f"), &id(&version)).await;
    assert!(
        error
            .expect_err("may not")
            .detail
            .contains("lacks deleteFiles")
    );
}

#[tokio::test]
async fn a_prefix_key_works_inside_and_explains_itself_outside() {
    let server = server();
    let key = server.create_key(&ALL, Some(&[server.bucket_name()]), Some("mine/"));
    let client = Client::connect(with_key(&server, key.expect("a key"))).await;
    let client = client.expect("connects");
    put(&client, "mine/f", &pattern(1)).await;
    let mut request = ListNames {
        prefix: "mine/".to_owned(),
        max: 10,
        ..ListNames::default()
    };
    let page = client.list_file_names(&request).await.expect("lists");
    assert_eq!(page.files.len(), 1);
    request.prefix = "others/".to_owned();
    let error = client.list_file_names(&request).await.expect_err("outside");
    assert_eq!(error.kind, ErrorKind::AccessDenied);
    assert!(error.detail.contains("mine/"), "{error}");
}

#[tokio::test]
async fn a_plain_endpoint_elsewhere_is_refused_before_the_key_leaves() {
    let server = server();
    for endpoint in ["http://example.org", "example.org", ""] {
        let error = Client::connect(Options {
            endpoint: endpoint.to_owned(),
            ..options(&server)
        });
        let error = error.await.expect_err("refused");
        assert_eq!(
            (error.kind, error.attempts),
            (ErrorKind::InvalidArgument, 0)
        );
    }
}

#[tokio::test]
async fn no_server_is_unavailable_within_the_time_limit() {
    let mut options = options(&server());
    options.timeout = std::time::Duration::from_millis(300);
    let error = Client::connect(options).await.expect_err("gone");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.attempts > 1, "{error}");
}
