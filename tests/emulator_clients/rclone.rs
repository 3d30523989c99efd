//! rclone, and both programs together.

use crate::{World, bytes, plant, same_trees, sha1, succeed};

#[test]
fn rclone_copies_there_and_back_and_finds_no_difference() {
    let w = World::new();
    let tree = plant(&w, "tree");
    let (tree_name, remote) = (tree.to_str().unwrap(), w.remote("tree"));
    w.rclone(&["copy", tree_name, &remote]);
    w.rclone(&["check", tree_name, &remote]);
    w.rclone(&["check", "--download", tree_name, &remote]);
    let back = w.path("back");
    w.rclone(&["copy", &remote, back.to_str().unwrap()]);
    same_trees(&tree, &back);
    let mut names: Vec<_> = w
        .rclone(&["lsf", "-R", "--files-only", &remote])
        .lines()
        .map(str::to_owned)
        .collect();
    names.sort();
    assert_eq!(names, ["a.txt", "d/b c+d%.txt", "d/e/empty", "d/e/ü"]);
    let sums = w.rclone(&["sha1sum", &remote]);
    assert!(sums.contains(&sha1(b"a.txt")), "{sums}");
    let cat = w.rclone(&[
        "cat",
        "--offset",
        "2",
        "--count",
        "3",
        &w.remote("tree/a.txt"),
    ]);
    assert_eq!(cat, "txt");
}

#[test]
fn rclone_takes_the_endpoint_as_a_flag() {
    let w = World::new();
    let file = w.write("in", b"content");
    let account = format!("--b2-account={}", w.server.key_id());
    let key = format!("--b2-key={}", w.server.key());
    let endpoint = format!("--b2-endpoint={}", w.server.endpoint());
    let target = format!(":b2:{}/a", w.server.bucket_name());
    w.rclone(&[
        "copyto",
        &account,
        &key,
        &endpoint,
        file.to_str().unwrap(),
        &target,
    ]);
    assert_eq!(
        w.rclone(&["cat", &account, &key, &endpoint, &target]),
        "content"
    );
}

#[test]
fn rclone_syncs_and_keeps_versions() {
    let w = World::new();
    let tree = plant(&w, "tree");
    let (tree_name, remote) = (tree.to_str().unwrap(), w.remote("tree"));
    w.rclone(&["sync", tree_name, &remote]);
    w.write("tree/a.txt", b"changed, and longer");
    std::fs::remove_file(tree.join("d/e/empty")).unwrap();
    w.rclone(&["sync", tree_name, &remote]);
    w.rclone(&["check", tree_name, &remote]);
    assert_eq!(
        w.rclone(&["lsf", "-R", "--files-only", &remote])
            .lines()
            .count(),
        3
    );
    assert_eq!(
        w.rclone(&["lsf", "-R", "--files-only", "--b2-versions", &remote])
            .lines()
            .count(),
        5
    );
    w.rclone(&["cleanup", &w.remote("")]);
    assert_eq!(
        w.rclone(&["lsf", "-R", "--files-only", "--b2-versions", &remote])
            .lines()
            .count(),
        3
    );
    let back = w.path("back");
    w.rclone(&["sync", &remote, back.to_str().unwrap()]);
    same_trees(&tree, &back);
    w.rclone(&["deletefile", "--b2-hard-delete", &w.remote("tree/a.txt")]);
    w.rclone(&["purge", &remote]);
    assert_eq!(w.rclone(&["lsf", "-R", &w.remote("")]), "");
}

#[test]
fn rclone_sends_large_files_in_parts_and_copies_on_the_server() {
    let w = World::new();
    let content = bytes(16_000_000);
    let file = w.write("in", &content);
    let parts = [
        "--b2-upload-cutoff=6Mi",
        "--b2-chunk-size=5Mi",
        "--b2-copy-cutoff=6Mi",
    ];
    let rclone = |args: &[&str]| w.rclone(&[args, &parts].concat());
    rclone(&["copyto", file.to_str().unwrap(), &w.remote("large")]);
    assert!(w.server.counters().calls["b2_upload_part"] >= 3);
    let sent = w.server.counters().bytes_in;
    rclone(&["copyto", &w.remote("large"), &w.remote("copy")]);
    rclone(&["moveto", &w.remote("copy"), &w.remote("moved")]);
    assert_eq!(w.server.counters().bytes_in, sent);
    assert!(w.server.counters().calls["b2_copy_part"] >= 3);
    let out = w.path("out");
    rclone(&["copyto", &w.remote("moved"), out.to_str().unwrap()]);
    assert!(w.read("out") == content);
    let sums = w.rclone(&["sha1sum", &w.remote("")]);
    assert_eq!(sums.matches(&sha1(&content)).count(), 2, "{sums}");
}

#[test]
fn rclone_streams_touches_and_links() {
    let w = World::new();
    let mut rcat = w.rclone_command();
    let input = std::fs::File::open(w.write("in", b"streamed")).unwrap();
    succeed(rcat.args(["rcat", &w.remote("s")]).stdin(input));
    assert_eq!(w.rclone(&["cat", &w.remote("s")]), "streamed");
    w.rclone(&["touch", "-t", "2020-02-02T02:02:02", &w.remote("s")]);
    let listed = w.rclone(&["lsl", &w.remote("s")]);
    assert!(listed.contains("2020-02-02 02:02:02"), "{listed}");
    let link = w.rclone(&["link", &w.remote("s")]);
    assert!(link.contains("Authorization="), "{link}");
}

#[test]
fn both_get_through_failing_uploads_and_expiring_tokens() {
    let w = World::new();
    let tree = plant(&w, "tree");
    let remote = w.remote("tree");
    w.server
        .set_faults(&[
            "upload_file:503:2",
            "upload_file:lost-reply:1",
            "list:401:1",
        ])
        .unwrap();
    w.rclone(&[
        "copy",
        "--low-level-retries=10",
        tree.to_str().unwrap(),
        &remote,
    ]);
    w.rclone(&["check", tree.to_str().unwrap(), &remote]);
    w.rclone(&[
        "copy",
        "--b2-test-mode=fail_some_uploads",
        "--retries=5",
        tree.to_str().unwrap(),
        &w.remote("again"),
    ]);
    w.server
        .set_faults(&["upload_file:503:2", "list:401:1", "download:truncate:1"])
        .unwrap();
    let url = w.bucket_url("b2");
    w.b2(&["sync", "--no-progress", tree.to_str().unwrap(), &url]);
    let back = w.path("back");
    std::fs::create_dir(&back).unwrap();
    w.b2(&["sync", "--no-progress", &url, back.to_str().unwrap()]);
    same_trees(&tree, &back);
}
