//! An account kept in a directory.

use std::io::Write;

use serde_json::json;

use crate::api::{Fixture, bytes, sha1, start_with};
use b2fuse::emulator::Options;

async fn open(dir: &tempfile::TempDir) -> Fixture {
    start_with(Options {
        dir: Some(dir.path().to_owned()),
        ..Options::default()
    })
    .await
}

fn content_files(dir: &tempfile::TempDir) -> usize {
    std::fs::read_dir(dir.path().join("content"))
        .unwrap()
        .count()
}

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let f = open(&dir).await;
    let key = (f.server.key_id().to_owned(), f.server.key().to_owned());
    let old = f.upload("a", b"old").await;
    f.upload("a", b"new").await;
    f.upload("hidden", b"x").await;
    f.ok(
        "b2_hide_file",
        json!({"bucketId": f.bucket, "fileName": "hidden"}),
    )
    .await;
    let gone = f.upload("gone", b"x").await;
    f.ok(
        "b2_delete_file_version",
        json!({"fileId": gone["fileId"], "fileName": "gone"}),
    )
    .await;
    f.ok(
        "b2_copy_file",
        json!({"fileName": "copy", "sourceFileId": old["fileId"]}),
    )
    .await;
    let (one, two) = (bytes(5_000_000, 1), bytes(10, 2));
    f.upload_large("large", &[&one, &two]).await;
    let unfinished = f.start_large("unfinished").await;
    f.upload_part(&unfinished, 1, &one).await.ok();
    let versions = f
        .ok("b2_list_file_versions", json!({"bucketId": f.bucket}))
        .await;
    let files = content_files(&dir);
    drop(f);
    assert_eq!(content_files(&dir), files);

    let f = open(&dir).await;
    assert_eq!((f.server.key_id(), f.server.key()), (&*key.0, &*key.1));
    assert_eq!(
        f.ok("b2_list_file_versions", json!({"bucketId": f.bucket}))
            .await,
        versions
    );
    assert_eq!(f.get("a").await.body, b"new");
    assert_eq!(f.get_id(old["fileId"].as_str().unwrap()).await.body, b"old");
    assert_eq!(f.get("copy").await.body, b"old");
    assert!(f.get("large").await.body == [&one[..], &two[..]].concat());
    f.upload_part(&unfinished, 2, &two).await.ok();
    let body = json!({"fileId": unfinished["fileId"], "partSha1Array": [sha1(&one), sha1(&two)]});
    f.ok("b2_finish_large_file", body).await;
    assert!(f.get("unfinished").await.body == [&one[..], &two[..]].concat());
    let newer = f.upload("a", b"newer").await;
    assert_ne!(newer["fileId"], old["fileId"]);
    assert_eq!(f.get("a").await.body, b"newer");
}

#[tokio::test]
async fn content_goes_with_the_last_version_that_needs_it() {
    let dir = tempfile::tempdir().unwrap();
    let f = open(&dir).await;
    let file = f.upload("a", b"content").await;
    let copy = f
        .ok(
            "b2_copy_file",
            json!({"fileName": "b", "sourceFileId": file["fileId"]}),
        )
        .await;
    for (version, left) in [(&file, 1), (&copy, 0)] {
        let body = json!({"fileId": version["fileId"], "fileName": version["fileName"]});
        f.ok("b2_delete_file_version", body).await;
        assert_eq!(content_files(&dir), left);
    }
}

#[tokio::test]
async fn a_last_line_cut_short_and_orphaned_content_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let f = open(&dir).await;
    f.upload("a", b"content").await;
    drop(f);
    let mut journal = std::fs::File::options()
        .append(true)
        .open(dir.path().join("journal.jsonl"))
        .unwrap();
    journal.write_all(br#"{"Version":{"number":115"#).unwrap();
    std::fs::write(dir.path().join("content/999"), b"half an upload").unwrap();
    let f = open(&dir).await;
    assert_eq!(content_files(&dir), 1);
    assert_eq!(f.names(json!({})).await.0.len(), 1);
    f.upload("b", b"x").await;
    drop(f);
    assert_eq!(open(&dir).await.names(json!({})).await.0.len(), 2);
}

#[tokio::test]
async fn a_broken_journal_is_an_error_that_names_the_line() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir).await);
    std::fs::write(dir.path().join("journal.jsonl"), "{}\n").unwrap();
    let options = Options {
        dir: Some(dir.path().to_owned()),
        ..Options::default()
    };
    let error = b2fuse::emulator::Server::start(options)
        .expect_err("broken")
        .to_string();
    assert!(error.contains("line 1"), "{error}");
}

#[tokio::test]
async fn a_directory_serves_one_emulator_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let f = open(&dir).await;
    let options = Options {
        dir: Some(dir.path().to_owned()),
        ..Options::default()
    };
    let error = b2fuse::emulator::Server::start(options).expect_err("in use");
    assert!(error.to_string().contains("in use"), "{error}");
    drop(f);
    open(&dir).await;
}

#[tokio::test]
async fn what_is_kept_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("kept");
    let f = start_with(Options {
        dir: Some(dir.clone()),
        ..Options::default()
    })
    .await;
    f.upload("a", b"content").await;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let content = dir.join("content");
    let file = std::fs::read_dir(&content).unwrap().next().unwrap();
    assert_eq!([mode(&dir), mode(&content)], [0o700; 2]);
    let files = [
        dir.join("journal.jsonl"),
        dir.join("lock"),
        file.unwrap().path(),
    ];
    assert_eq!(files.map(|path| mode(&path)), [0o600; 3]);
}
