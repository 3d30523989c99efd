//! B2 as it answers at times: uploads that are refused early, upload URLs that are dead after any failure, names that
//! are refused as bad JSON.

use b2fuse::b2::{CopyMetadata, ErrorKind, Payload};

use crate::{connect, file, id, name, pattern, put, server, versions};

#[tokio::test]
async fn a_refusal_that_comes_while_the_body_is_sent_is_heard() {
    let server = server();
    let client = connect(&server).await;
    for _ in 0..5 {
        server
            .set_faults(&["early-refusals", "upload:storage-cap"])
            .expect("words of faults");
        let error = client
            .upload_file(&file("f"), Payload::from(pattern(8 << 20)))
            .await
            .expect_err("a cap");
        assert_eq!(error.kind, ErrorKind::CapExceeded, "{error}");
        assert!(error.lost.is_none(), "{error}");
    }
    server
        .set_faults(&["early-refusals", "upload:503:3"])
        .expect("words of faults");
    put(&client, "f", &pattern(8 << 20)).await;
    assert_eq!(versions(&client, "f").await.len(), 1);
}

#[tokio::test]
async fn an_upload_url_that_failed_is_never_used_again() {
    let server = server();
    let client = connect(&server).await;
    for kind in [
        "503",
        "500",
        "408",
        "reset",
        "reset-mid",
        "lost-reply",
        "429",
    ] {
        server
            .set_faults(&["strict-urls", &format!("upload:{kind}:1")])
            .expect("words of faults");
        for n in 0..3 {
            put(&client, &format!("{kind} {n}"), &pattern(2_000_000)).await;
        }
        assert_eq!(
            server.counters().answers.get(&400).copied().unwrap_or(0),
            0,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn an_aborted_upload_takes_its_url_along() {
    let server = server();
    let client = connect(&server).await;
    put(&client, "before", &pattern(9)).await;
    server
        .set_faults(&["strict-urls", "upload:stall=1:1"])
        .expect("words of faults");
    let (file, payload) = (file("aborted"), Payload::from(pattern(4_000_000)));
    let upload = client.upload_file(&file, payload);
    let aborted = tokio::time::timeout(std::time::Duration::from_millis(200), upload).await;
    assert!(aborted.is_err());
    put(&client, "after", &pattern(9)).await;
    assert_eq!(client.counters().retries, 0);
}

#[tokio::test]
async fn names_that_b2_refuses_as_bad_json_are_told_as_names() {
    let server = server();
    let client = connect(&server).await;
    let source = put(&client, "source", &pattern(9)).await;
    server
        .set_faults(&["json-names", "old-names"])
        .expect("words of faults");
    for (bad, kind) in [
        ("x".repeat(251), ErrorKind::NameTooLong),
        ("a//b".to_owned(), ErrorKind::InvalidArgument),
    ] {
        let error = client
            .copy_file(&id(&source), source.size, &name(&bad), &CopyMetadata::Copy)
            .await
            .expect_err("a bad name");
        assert_eq!(error.kind, kind, "{error}");
        let error = client
            .upload_file(&file(&bad), Payload::from(pattern(9)))
            .await
            .expect_err("a bad name");
        assert_eq!(error.kind, kind, "{error}");
    }
}
