//! Calls that end without an answer and may have worked: what was told to have failed and was then removed, renamed or
//! tried again leaves no second copy and does not come back.

use super::history::*;
use super::warnings::*;
use super::*;

/// Writes a file whose upload takes effect, and whose caller is told that it failed.
async fn put_unknown(server: &Server, vfs: &Vfs, name: &str, content: &'static [u8]) {
    let (_, fh) = create(vfs, Ino::ROOT, name).await;
    write(vfs, fh, content).await;
    outage_after(server, "upload_file");
    let closed = vfs.fsync(fh, false).await;
    assert!(closed.is_err());
    over(server);
    vfs.release(fh);
    assert!(is_somewhere(server, content).await);
}

fn each_way() -> [Settings; 2] {
    [settings(), much_later()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_upload_seemed_to_fail_is_removed_all_the_same() {
    for settings in each_way() {
        let server = server();
        let vfs = impatient(&server, settings).await;
        put_unknown(&server, &vfs, "f", b"content").await;
        rm(&vfs, "f").await.unwrap();
        stored(&vfs).await;
        assert_eq!(shown(&server, "f").await, None);
        assert_eq!(names_now(&server).await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_upload_seemed_to_fail_has_one_name_after_a_rename() {
    for settings in each_way() {
        let server = server();
        let vfs = impatient(&server, settings).await;
        put_unknown(&server, &vfs, "tmp", b"content").await;
        mv(&vfs, "tmp", "f").await.unwrap();
        stored(&vfs).await;
        assert_eq!(names_now(&server).await, ["f"]);
        assert_eq!(shown(&server, "f").await, Some(b"content".to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_whose_replies_were_lost_leave_one_version() {
    for settings in each_way() {
        let server = server();
        let vfs = mount(&server, settings.clone()).await;
        // Nor can be asked what became of them.
        let faults = ["upload_file:lost-reply:3", "list:transaction-cap"];
        server.set_faults(&faults).unwrap();
        put(&vfs, Ino::ROOT, "f", b"content").await;
        drop(vfs.drain().await);
        over(&server);
        stored(&vfs).await;
        assert_eq!(versions(&server).await, ["f upload"]);
        // Also when the caller was told in between.
        let vfs = impatient(&server, settings).await;
        put_unknown(&server, &vfs, "g", b"content").await;
        stored(&vfs).await;
        assert_eq!(versions(&server).await, ["f upload", "g upload"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_whose_marker_seemed_to_fail_is_removed_all_the_same() {
    let server = server();
    let vfs = impatient(&server, settings()).await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    outage_after(&server, "upload_file");
    assert!(sync_dir(&vfs, d).await.is_err());
    over(&server);
    vfs.rmdir(Ino::ROOT, os("d")).await.unwrap();
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_copy_of_attributes_seemed_to_fail_has_one_name_after_a_rename() {
    let server = server();
    let vfs = impatient(&server, settings()).await;
    let file = put(&vfs, Ino::ROOT, "f", b"content").await;
    stored(&vfs).await;
    chmod(&vfs, file, 0o600).await;
    let fh = vfs.open(file, RDONLY).await.unwrap().fh;
    outage_after(&server, "copy_file");
    assert!(vfs.fsync(fh, false).await.is_err());
    over(&server);
    vfs.release(fh);
    mv(&vfs, "f", "g").await.unwrap();
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, ["g"]);
    assert_eq!(shown(&server, "g").await, Some(b"content".to_vec()));
    assert_eq!(mode(&server, "g").await, 0o600);
    // Nor does it come back.
    rm(&vfs, "g").await.unwrap();
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_rename_seemed_to_fail_has_one_name_when_all_is_stored() {
    for flags in [0, libc::RENAME_NOREPLACE] {
        let server = server();
        let vfs = impatient(&server, settings()).await;
        put(&vfs, Ino::ROOT, "f", b"content").await;
        stored(&vfs).await;
        outage_after(&server, "copy_file");
        let moved = vfs
            .rename(Ino::ROOT, os("f"), Ino::ROOT, os("g"), flags)
            .await;
        drop(sync_dir(&vfs, Ino::ROOT).await);
        over(&server);
        stored(&vfs).await;
        let name = if moved.is_ok() { "g" } else { "f" };
        assert_eq!(names(&vfs, Ino::ROOT).await, [name]);
        assert_eq!(names_now(&server).await, [name]);
        rm(&vfs, name).await.unwrap();
        stored(&vfs).await;
        assert_eq!(names_now(&server).await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_after_a_removal_that_seemed_to_fail_stays() {
    let server = server();
    let vfs = impatient(&server, settings()).await;
    put(&vfs, Ino::ROOT, "f", b"old").await;
    outage_after(&server, "hide_file");
    drop(rm(&vfs, "f").await);
    drop(sync_dir(&vfs, Ino::ROOT).await);
    over(&server);
    let (_, opened) = vfs
        .create(
            Ino::ROOT,
            os("f"),
            new(FileKind::File),
            RDWR | libc::O_TRUNC,
        )
        .await
        .unwrap();
    write(&vfs, opened.fh, b"new").await;
    vfs.flush(opened.fh).await.unwrap();
    vfs.release(opened.fh);
    drop(vfs.drain().await);
    assert_eq!(shown(&server, "f").await, Some(b"new".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_on_top_of_what_came_after_its_start_or_close_tells() {
    let server = server();
    let b = client(&server).await;
    let vfs = mount(&server, settings()).await;
    assert!(names(&vfs, Ino::ROOT).await.is_empty());
    let (fh, content) = streamed(&server, &vfs, "big").await;
    upload(&b, "big", b"by B").await;
    hide(&b, "big").await;
    server
        .set_faults(&["list:transaction-cap", "get_file_info:transaction-cap"])
        .unwrap();
    let closed = vfs.flush(fh).await;
    let on_top = shown_by_name(&server, "big").await;
    over(&server);
    vfs.release(fh);
    if closed.is_ok() {
        assert!(on_top == Some(content.len() as u64), "{on_top:?}");
    }
    stored(&vfs).await;
    let found = shown(&server, "big").await;
    assert!(
        found.as_ref() == Some(&content),
        "{:?}",
        found.map(|found| found.len())
    );
    assert!(is_somewhere(&server, b"by B").await);
}

/// The size of what a name shows, without a list call.
async fn shown_by_name(server: &Server, name: &str) -> Option<u64> {
    let tally = reqwest::Client::new()
        .post(format!("{}/emulator/tally", server.endpoint()))
        .basic_auth(server.key_id(), Some(server.key()))
        .body(format!(
            "{{\"bucketName\": {:?}, \"prefix\": {name:?}}}",
            server.bucket_name()
        ))
        .send()
        .await
        .unwrap();
    let tally: serde_json::Value = tally.json().await.unwrap();
    (tally["names"] == 1).then(|| tally["bytes"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_seemed_to_fail_is_not_there_later() {
    let server = server();
    let vfs = impatient(&server, settings()).await;
    outage_after(&server, "upload_file");
    let made = vfs
        .symlink(Ino::ROOT, os("l"), b"target", new(FileKind::Symlink))
        .await;
    over(&server);
    assert!(made.is_err());
    stored(&vfs).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stored(&vfs).await;
    let here = names(&vfs, Ino::ROOT).await;
    assert_eq!(names_now(&server).await, here);
}
