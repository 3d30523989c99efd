//! What the service and the network do at times, and what callers notice of it: nothing, or an
//! honest error.

use std::time::Duration;

use b2fuse::b2::{Action, Client, CopyMetadata, ErrorKind, ListNames, Options, Payload};
use b2fuse::emulator::{Seed, Server};

use crate::{connect, copy, file, get, id, name, options, pattern, put, server, sha1, versions};

fn faults(server: &Server, words: &[&str]) {
    server.set_faults(words).expect("words of faults");
}

fn root() -> ListNames {
    ListNames {
        max: 10,
        ..ListNames::default()
    }
}

#[tokio::test]
async fn busy_servers_are_asked_again() {
    let server = server();
    let client = connect(&server).await;
    for kind in ["503", "500", "502", "408", "429", "429=1", "reset"] {
        faults(&server, &[&format!("*:{kind}:1")]);
        client.list_file_names(&root()).await.expect(kind);
        faults(&server, &[&format!("upload:{kind}:3")]);
        put(&client, kind, &pattern(2_000_000)).await;
        assert_eq!(versions(&client, kind).await.len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn a_server_that_stays_busy_ends_the_call() {
    let server = server();
    let mut options = options(&server);
    options.timeout = Duration::from_secs(3);
    let client = Client::connect(options).await.expect("connects");
    faults(&server, &["*:503"]);
    let error = client.list_file_names(&root()).await.expect_err("busy");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    // The last try has little time; on a busy machine no answer comes within it.
    assert!([503, 0].contains(&error.status), "{error}");
    assert!(error.attempts > 2, "{error}");
    faults(&server, &["upload:503"]);
    let error = client
        .upload_file(&file("f"), Payload::from(pattern(9)))
        .await;
    let error = error.expect_err("busy");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.attempts > 5, "{error}");
    faults(&server, &["*:429=3600"]);
    let error = client.list_file_names(&root()).await.expect_err("busy");
    assert_eq!((error.kind, error.attempts), (ErrorKind::Unavailable, 1));
    assert!(error.detail.contains("3600"), "{error}");
}

#[tokio::test]
async fn caps_are_told_at_once() {
    let server = server();
    let client = connect(&server).await;
    let version = id(&put(&client, "f", &pattern(9)).await);
    faults(
        &server,
        &[
            "upload:storage-cap",
            "download:download-cap",
            "list:transaction-cap",
        ],
    );
    let error = client
        .upload_file(&file("g"), Payload::from(pattern(9)))
        .await;
    let error = error.expect_err("a cap");
    assert_eq!((error.kind, error.attempts), (ErrorKind::CapExceeded, 1));
    assert!(error.detail.contains("Caps page"), "{error}");
    let error = client.download(&version, 0..9).await.expect_err("a cap");
    assert_eq!((error.kind, error.attempts), (ErrorKind::CapExceeded, 1));
    let error = client.list_file_names(&root()).await.expect_err("a cap");
    assert_eq!((error.kind, error.attempts), (ErrorKind::CapExceeded, 1));
}

#[tokio::test]
async fn one_call_renews_the_token_for_all() {
    let server = server();
    let client = connect(&server).await;
    let version = id(&put(&client, "f", &pattern(9)).await);
    for _ in 0..3 {
        let before = client.counters().reauthorizations;
        server.expire_tokens();
        let root = root();
        let lists = (0..40).map(|_| client.list_file_names(&root));
        for page in futures_util::future::join_all(lists).await {
            page.expect("lists");
        }
        assert_eq!(client.counters().reauthorizations, before + 1);
        server.expire_tokens();
        assert_eq!(get(&client, &version, 0..9).await.len(), 9);
        server.expire_tokens();
        put(&client, "g", &pattern(9)).await;
    }
}

#[tokio::test]
async fn a_lost_reply_makes_no_second_version() {
    let server = server();
    let client = connect(&server).await;
    for (len, text) in [(9, "small"), (0, "empty"), (3_000_000, "hash at the end")] {
        let bytes = pattern(len);
        faults(&server, &["upload_file:lost-reply:1"]);
        let version = put(&client, text, &bytes).await;
        assert_eq!(version.size, len as u64);
        assert_eq!(versions(&client, text).await, [version], "{text}");
    }
    let source = put(&client, "source", &pattern(9)).await;
    faults(&server, &["copy_file:lost-reply:1"]);
    let made = copy(&client, &source, "copy", &CopyMetadata::Copy).await;
    assert_eq!(versions(&client, "copy").await, [made]);
}

#[tokio::test]
async fn a_copy_is_waited_for_as_long_as_its_size_takes() {
    let server = server();
    let mut options = options(&server);
    // Three quarters of a second for an answer, and a second more for each 5 MB.
    options.timeout = Duration::from_secs(1);
    let client = Client::connect(options).await.expect("connects");
    let seed = Seed {
        name: "source".to_owned(),
        size: 15_000_000,
        ..Seed::default()
    };
    server.seed(server.bucket_name(), &[seed]).expect("seeded");
    let source = versions(&client, "source").await.remove(0);
    faults(&server, &["copy_file:late=2", "copy_part:late=2"]);
    let made = copy(&client, &source, "copy", &CopyMetadata::Copy).await;
    assert!(!made.twins);
    let large = client.start_large_file(&file("large")).await;
    let large = id(&large.expect("starts"));
    let source = id(&source);
    let part = client.copy_part(&large, 1, &source, 0..15_000_000).await;
    assert_eq!(part.expect("copies").size, 15_000_000);
    let calls = server.counters().calls;
    for call in ["b2_copy_file", "b2_copy_part"] {
        assert_eq!(calls.get(call), Some(&1), "{calls:?}");
    }
}

#[tokio::test]
async fn an_upload_that_got_lost_before_it_was_stored_is_sent_again() {
    let server = server();
    let client = connect(&server).await;
    let old = put(&client, "f", &pattern(9)).await;
    faults(&server, &["upload_file:reset:1"]);
    let bytes = pattern(10);
    let mut new = put(&client, "f", &bytes).await;
    // The first try might have made one, as far as the client can tell.
    assert!(std::mem::take(&mut new.twins));
    assert_eq!(versions(&client, "f").await, [new, old]);
}

#[tokio::test]
async fn hiding_and_deleting_survive_a_lost_reply() {
    let server = server();
    let client = connect(&server).await;
    let version = put(&client, "f", &pattern(9)).await;
    faults(
        &server,
        &["hide_file:lost-reply:1", "delete_file_version:lost-reply:1"],
    );
    client.hide_file(&name("f")).await.expect("hides");
    let gone = client.delete_file_version(&name("f"), &id(&version)).await;
    gone.expect("deletes");
    let left = versions(&client, "f").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].action, Action::Hide);
}

#[tokio::test]
async fn a_large_file_survives_lost_replies() {
    let server = server();
    let client = connect(&server).await;
    faults(
        &server,
        &[
            "start_large_file:lost-reply:1",
            "upload_part:lost-reply:1",
            "finish_large_file:lost-reply:1",
        ],
    );
    let bytes = pattern(5_000_001);
    let large = client
        .start_large_file(&file("large"))
        .await
        .expect("starts");
    assert_eq!(
        client.list_unfinished_large_files("").await.expect("lists"),
        std::slice::from_ref(&large),
        "the stray start is cancelled"
    );
    let large = id(&large);
    let mut parts = Vec::new();
    for (number, cut) in [(1, 0..5_000_000), (2, 5_000_000..5_000_001)] {
        let payload = Payload::from(bytes.slice(cut));
        let part = client.upload_part(&large, number, payload).await;
        parts.push(part.expect("sends").sha1);
    }
    let whole = client
        .finish_large_file(&large, &parts)
        .await
        .expect("finishes");
    assert_eq!(get(&client, &id(&whole), 0..whole.size).await, bytes);
    let other = client
        .start_large_file(&file("other"))
        .await
        .expect("starts");
    faults(&server, &["cancel_large_file:lost-reply:1"]);
    client
        .cancel_large_file(&id(&other))
        .await
        .expect("cancels");
}

#[tokio::test]
async fn a_finish_that_cannot_work_says_so() {
    let server = server();
    let client = connect(&server).await;
    let large = client
        .start_large_file(&file("large"))
        .await
        .expect("starts");
    let large = id(&large);
    let bytes = pattern(9);
    let part = client
        .upload_part(&large, 1, Payload::from(bytes.clone()))
        .await;
    let part = part.expect("sends");
    assert_eq!(part.sha1, sha1(&bytes));
    let error = client.finish_large_file(&large, &[part.sha1]).await;
    let error = error.expect_err("one part is too few");
    assert_eq!((error.status, error.attempts), (400, 1));
}

#[tokio::test]
async fn broken_downloads_go_on_where_they_broke() {
    let server = server();
    let client = connect(&server).await;
    let bytes = pattern(3_000_000);
    let version = id(&put(&client, "f", &bytes).await);
    for fault in [
        "truncate:4",
        "reset-mid:4",
        "reset:4",
        "503:4",
        "502:4",
        "401:1",
        "lost-reply:4",
    ] {
        faults(&server, &[&format!("download:{fault}")]);
        assert!(
            get(&client, &version, 0..3_000_000).await == bytes,
            "{fault}"
        );
    }
    faults(
        &server,
        &["download:truncate/0.1", "download:reset-mid/0.1"],
    );
    for start in 0..20 {
        let range = start..3_000_000 - start;
        let want = &bytes[range.start as usize..range.end as usize];
        assert!(get(&client, &version, range).await == want);
    }
}

#[tokio::test]
async fn uploads_broken_in_the_middle_are_sent_again() {
    let server = server();
    let client = connect(&server).await;
    faults(&server, &["upload:reset-mid:3"]);
    let bytes = pattern(20_000_000);
    let version = put(&client, "f", &bytes).await;
    assert_eq!(versions(&client, "f").await.len(), 1);
    assert!(get(&client, &id(&version), 0..20_000_000).await == bytes);
    faults(&server, &["upload:401:2"]);
    put(&client, "g", &bytes).await;
}

#[tokio::test]
async fn a_stalled_connection_is_given_up_for_another() {
    let server = server();
    let client = Client::connect(Options {
        timeout: Duration::from_secs(2),
        ..options(&server)
    });
    let client = client.await.expect("connects");
    // More than the kernel takes at once, so that the stall shows in the middle of the body.
    let bytes = pattern(30_000_000);
    faults(&server, &["list:stall=60:1"]);
    client.list_file_names(&root()).await.expect("lists");
    faults(&server, &["upload:stall=60:1"]);
    let version = id(&put(&client, "f", &bytes).await);
    faults(&server, &["download:stall=60:1"]);
    assert!(get(&client, &version, 0..30_000_000).await == bytes);
}

#[tokio::test]
async fn a_storm_of_everything_loses_nothing() {
    let server = server();
    let client = connect(&server).await;
    faults(
        &server,
        &[
            // Counted where a call has few tries: chance must not use them up.
            "upload:lost-reply/0.2",
            "upload:reset-mid:3",
            "upload:503:3",
            "download:truncate/0.2",
            // Not of any call: an authorization that is refused is final.
            "upload:401:1",
            "download:401:1",
            "list:500/0.05",
            "*:429/0.05",
        ],
    );
    let work = (0..60).map(|n| {
        let client = &client;
        async move {
            let bytes = pattern(1000 * n);
            let version = put(client, &format!("storm/{n}"), &bytes).await;
            assert_eq!(get(client, &id(&version), 0..version.size).await, bytes);
        }
    });
    futures_util::future::join_all(work).await;
    faults(&server, &[]);
    for n in 0..60 {
        let stored = versions(&client, &format!("storm/{n}")).await;
        assert_eq!(stored.len(), 1, "storm/{n}");
    }
}
