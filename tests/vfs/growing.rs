//! What is stored of files that stay open, and what is not.

use super::history::*;
use super::*;

/// Open files are stored soon.
fn storing_open() -> Settings {
    Settings {
        store_open: Some(Duration::from_millis(40)),
        ..settings()
    }
}

async fn shows(server: &Server, name: &str, content: &[u8]) {
    until(name, async || {
        shown(server, name).await.as_deref() == Some(content)
    })
    .await;
}

/// Another file, made after all others, is stored open: their time has come before.
async fn the_time_has_come(server: &Server, vfs: &Vfs) {
    let (_, fh) = create(vfs, Ino::ROOT, "witness").await;
    write(vfs, fh, b"w").await;
    shows(server, "witness", b"w").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_to_a_file_that_stays_open_is_stored_and_leaves_no_versions() {
    let server = server();
    let vfs = mount(&server, storing_open()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "log").await;
    let mut content = Vec::new();
    for line in [&b"one\n"[..], b"two\n", b"three\n"] {
        write(&vfs, fh, line).await;
        content.extend_from_slice(line);
        shows(&server, "log", &content).await;
    }
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    assert_eq!(calls(&server, "b2_upload_file"), 3);
    assert_eq!(calls(&server, "b2_delete_file_version"), 2);
    assert_eq!(history(&server, "log").await, [Some(content)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_stored_file_that_is_appended_to_only_what_was_closed_stays() {
    let server = server();
    upload(&client(&server).await, "log", b"before ").await;
    let vfs = mount(&server, storing_open()).await;
    let file = ino(&vfs, Ino::ROOT, "log").await;
    let fh = vfs.open(file, libc::O_WRONLY).await.unwrap().fh;
    // As a program without O_APPEND does.
    vfs.write(fh, 7, Bytes::from_static(b"1")).await.unwrap();
    shows(&server, "log", b"before 1").await;
    vfs.write(fh, 8, Bytes::from_static(b"2")).await.unwrap();
    shows(&server, "log", b"before 12").await;
    write(&vfs, fh, b"3").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    let left = [&b"before 123"[..], b"before "].map(|one| Some(one.to_vec()));
    assert_eq!(history(&server, "log").await, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_an_image_and_a_copy_are_stored_when_they_are_closed() {
    let server = server();
    let vfs = mount(&server, storing_open()).await;
    put(&vfs, Ino::ROOT, "source", b"source").await;
    let mut open = Vec::new();
    for name in ["database", "image", "hole", "large", "copy", "empty"] {
        open.push(create(&vfs, Ino::ROOT, name).await);
    }
    let [database, image, hole, large, copy, _] = [0, 1, 2, 3, 4, 5].map(|at| open[at].1);
    write(&vfs, database, b"page one").await;
    vfs.write(database, 0, Bytes::from_static(b"PAGE"))
        .await
        .unwrap();
    write(&vfs, database, b"page two").await;
    let size = SetAttr {
        size: Some(4096),
        ..SetAttr::default()
    };
    vfs.setattr(open[1].0.ino, size).await.unwrap();
    write(&vfs, image, b"end").await;
    vfs.fallocate(hole, 0, 4096, 0).await.unwrap();
    write(&vfs, hole, b"end").await;
    for _ in 0..2 {
        vfs.append(large, Bytes::from(vec![1; 512 << 10]))
            .await
            .unwrap();
    }
    let source = ino(&vfs, Ino::ROOT, "source").await;
    let from = vfs.open(source, RDONLY).await.unwrap().fh;
    vfs.copy_file_range(from, 0, copy, 0, 6).await.unwrap();
    write(&vfs, copy, b"more").await;
    the_time_has_come(&server, &vfs).await;
    assert_eq!(names_now(&server).await, ["source", "witness"]);
    for (_, fh) in open {
        vfs.flush(fh).await.unwrap();
        vfs.release(fh);
    }
    stored(&vfs).await;
    let all = [
        "copy", "database", "empty", "hole", "image", "large", "source", "witness",
    ];
    assert_eq!(names_now(&server).await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_emptied_shows_its_new_content_once_that_has_grown_for_a_while() {
    let server = server();
    upload(&client(&server).await, "log", b"old").await;
    let vfs = mount(&server, storing_open()).await;
    let file = ino(&vfs, Ino::ROOT, "log").await;
    let fh = vfs.open(file, RDWR | libc::O_TRUNC).await.unwrap().fh;
    the_time_has_come(&server, &vfs).await;
    assert_eq!(shown(&server, "log").await, Some(b"old".to_vec()));
    write(&vfs, fh, b"new").await;
    shows(&server, "log", b"new").await;
    assert_eq!(calls(&server, "b2_upload_file"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_and_is_nobodys_error() {
    warnings::listen();
    let server = server();
    let vfs = mount(&server, storing_open()).await;
    server.set_faults(&["b2_upload_file:403:2"]).unwrap();
    let (_, fh) = create(&vfs, Ino::ROOT, "grows at a cap").await;
    write(&vfs, fh, b"line").await;
    shows(&server, "grows at a cap", b"line").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    assert!(!warnings::said("grows at a cap"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_version_would_stay_nothing_is_stored_before_the_close() {
    let server = server();
    replaced::retain_by_default(&server).await;
    let vfs = mount(&server, storing_open()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "log").await;
    let before = calls(&server, "b2_list_buckets");
    write(&vfs, fh, b"one").await;
    until("the question", async || {
        calls(&server, "b2_list_buckets") > before
    })
    .await;
    write(&vfs, fh, b"two").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    assert_eq!(calls(&server, "b2_upload_file"), 1);
    assert_eq!(shown(&server, "log").await, Some(b"onetwo".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_write_back_a_file_that_stays_open_is_stored_too() {
    let server = server();
    let settings = Settings {
        store_open: Some(Duration::from_millis(40)),
        ..much_later()
    };
    let vfs = mount(&server, settings).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "log").await;
    write(&vfs, fh, b"one").await;
    shows(&server, "log", b"one").await;
    // What was closed waits for the time after a close.
    write(&vfs, fh, b"two").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    the_time_has_come(&server, &vfs).await;
    assert_eq!(shown(&server, "log").await, Some(b"one".to_vec()));
    stored(&vfs).await;
    assert_eq!(history(&server, "log").await, [Some(b"onetwo".to_vec())]);
}
