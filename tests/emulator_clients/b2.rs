//! The official command line.

use crate::{World, bytes, lines, plant, same_trees, sha1};

#[test]
fn b2_uploads_lists_downloads_hides_and_deletes() {
    let w = World::new();
    let file = w.write("in", b"first");
    let bucket = w.server.bucket_name();
    let upload = |name: &str| {
        w.b2(&[
            "file",
            "upload",
            "--no-progress",
            bucket,
            file.to_str().unwrap(),
            name,
        ])
    };
    upload("d/name with + and ü");
    std::fs::write(&file, b"second").unwrap();
    upload("d/name with + and ü");
    upload("top");
    assert_eq!(lines(&w.b2(&["ls", &w.bucket_url("")])), ["d/", "top"]);
    assert_eq!(
        lines(&w.b2(&["ls", "--recursive", &w.bucket_url("")])),
        ["d/name with + and ü", "top"]
    );
    assert_eq!(
        w.b2(&["ls", "--recursive", "--versions", &w.bucket_url("")])
            .lines()
            .count(),
        3
    );
    let out = w.path("out");
    w.b2(&[
        "file",
        "download",
        "--no-progress",
        &w.bucket_url("d/name with + and ü"),
        out.to_str().unwrap(),
    ]);
    assert_eq!(w.read("out"), b"second");
    w.b2(&["file", "hide", &w.bucket_url("top")]);
    assert_eq!(lines(&w.b2(&["ls", &w.bucket_url("")])), ["d/"]);
    w.b2(&["file", "unhide", &w.bucket_url("top")]);
    assert_eq!(lines(&w.b2(&["ls", &w.bucket_url("")])), ["d/", "top"]);
    let info = w.b2(&["file", "info", &w.bucket_url("top")]);
    assert!(info.contains(&sha1(b"second")), "{info}");
    w.b2(&[
        "rm",
        "--versions",
        "--recursive",
        "--no-progress",
        &w.bucket_url(""),
    ]);
    assert_eq!(
        w.b2(&["ls", "--recursive", "--versions", &w.bucket_url("")]),
        ""
    );
}

#[test]
fn b2_uploads_large_files_in_parts_and_copies_them() {
    let w = World::new();
    w.server.set_faults(&["recommended-part=5000000"]).unwrap();
    let content = bytes(17_000_000);
    let file = w.write("in", &content);
    w.b2(&[
        "file",
        "upload",
        "--no-progress",
        w.server.bucket_name(),
        file.to_str().unwrap(),
        "large",
    ]);
    let counters = w.server.counters();
    assert!(counters.calls["b2_upload_part"] >= 2, "{counters:?}");
    w.b2(&[
        "file",
        "server-side-copy",
        &w.bucket_url("large"),
        &w.bucket_url("copy"),
    ]);
    let out = w.path("out");
    w.b2(&[
        "file",
        "download",
        "--no-progress",
        &w.bucket_url("copy"),
        out.to_str().unwrap(),
    ]);
    assert!(w.read("out") == content);
    let info = w.b2(&["file", "info", &w.bucket_url("copy")]);
    assert!(info.contains(&sha1(&content)), "{info}");
}

#[test]
fn b2_syncs_both_ways() {
    let w = World::new();
    let tree = plant(&w, "tree");
    let url = w.bucket_url("backup");
    w.b2(&["sync", "--no-progress", tree.to_str().unwrap(), &url]);
    let uploads = w.server.counters().calls["b2_upload_file"];
    assert_eq!(uploads, 4);
    w.b2(&["sync", "--no-progress", tree.to_str().unwrap(), &url]);
    assert_eq!(w.server.counters().calls["b2_upload_file"], uploads);
    let back = w.path("back");
    std::fs::create_dir(&back).unwrap();
    w.b2(&["sync", "--no-progress", &url, back.to_str().unwrap()]);
    same_trees(&tree, &back);
    std::fs::remove_file(tree.join("a.txt")).unwrap();
    w.b2(&[
        "sync",
        "--no-progress",
        "--delete",
        tree.to_str().unwrap(),
        &url,
    ]);
    assert_eq!(w.b2(&["ls", "--recursive", &url]).lines().count(), 3);
}

#[test]
fn b2_manages_buckets_and_keys() {
    let w = World::new();
    w.b2(&["bucket", "create", "b2fuse-other", "allPrivate"]);
    let buckets = w.b2(&["bucket", "list"]);
    assert!(
        buckets.contains("b2fuse-other") && buckets.contains("b2fuse-demo"),
        "{buckets}"
    );
    w.b2(&[
        "bucket",
        "update",
        "b2fuse-other",
        "allPublic",
        "--bucket-info",
        r#"{"k":"v"}"#,
    ]);
    let bucket = w.b2(&["bucket", "get", "b2fuse-other"]);
    assert!(
        bucket.contains("allPublic") && bucket.contains("\"k\": \"v\""),
        "{bucket}"
    );
    let file = w.write("in", b"content");
    let upload = [
        "file",
        "upload",
        "--no-progress",
        "b2fuse-other",
        file.to_str().unwrap(),
        "a",
    ];
    w.b2(&upload);
    let created = w.b2(&[
        "key",
        "create",
        "--bucket",
        "b2fuse-other",
        "reader",
        "listBuckets,listFiles,readFiles",
    ]);
    let (id, secret) = created.trim().split_once(' ').unwrap();
    assert!(w.b2(&["key", "list"]).contains(id));
    let reader = |args: &[&str]| w.b2_command(id, secret).args(args).output().unwrap();
    let out = w.path("out");
    let download = [
        "file",
        "download",
        "--no-progress",
        "b2://b2fuse-other/a",
        out.to_str().unwrap(),
    ];
    let output = reader(&download);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(w.read("out"), b"content");
    assert!(!reader(&upload).status.success());
    assert!(!reader(&["ls", &w.bucket_url("")]).status.success());
    w.b2(&["key", "delete", id]);
    w.b2(&[
        "rm",
        "--versions",
        "--recursive",
        "--no-progress",
        "b2://b2fuse-other/",
    ]);
    w.b2(&["bucket", "delete", "b2fuse-other"]);
}
