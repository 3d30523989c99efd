//! Deeds that come before the look at the one before them: none believes in what nobody has looked at.

use super::history::*;
use super::warnings::*;
use super::*;

/// Version `old`, of long ago and current since then, and B's unseen one over it.
async fn long_ago(settings: Settings) -> (Server, Vfs, Client) {
    let server = server();
    let seed = Seed {
        name: "f".to_owned(),
        size: 3,
        upload_timestamp: Some(1_600_000_000_000),
        ..Seed::default()
    };
    server.seed(server.bucket_name(), &[seed]).unwrap();
    let vfs = mount(&server, settings).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f"]);
    let b = client(&server).await;
    upload(&b, "f", b"new by B").await;
    (server, vfs, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_stored_twice_in_a_row_cover_nothing_of_others() {
    let (server, vfs, b) = sharing("twice", b"old", settings()).await;
    let file = ino(&vfs, Ino::ROOT, "twice").await;
    upload(&b, "twice", b"new by B").await;
    slow_looks(&server);
    chmod_now(&vfs, file, 0o600).await;
    chmod_now(&vfs, file, 0o640).await;
    stored(&vfs).await;
    let all = everything(&server).await;
    assert_eq!(
        shown(&server, "twice").await,
        Some(b"new by B".to_vec()),
        "{} {all:?}",
        said("twice")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_stored_twice_in_a_row_bring_nothing_back() {
    let (server, vfs, b) = sharing("twice-gone", b"old", settings()).await;
    let file = ino(&vfs, Ino::ROOT, "twice-gone").await;
    hide(&b, "twice-gone").await;
    slow_looks(&server);
    chmod_now(&vfs, file, 0o600).await;
    chmod_now(&vfs, file, 0o640).await;
    stored(&vfs).await;
    assert_eq!(
        shown(&server, "twice-gone").await,
        None,
        "{}",
        said("twice-gone")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_stored_and_a_rename_hide_nothing_of_others() {
    let (server, vfs, b) = sharing("chmod-mv", b"old", settings()).await;
    let file = ino(&vfs, Ino::ROOT, "chmod-mv").await;
    upload(&b, "chmod-mv", b"new by B").await;
    chmod_now(&vfs, file, 0o600).await;
    drop(mv(&vfs, "chmod-mv", "g").await);
    let told = sync_dir(&vfs, Ino::ROOT).await;
    drop(vfs.drain().await);
    let new = Some(b"new by B".to_vec());
    let (f, g) = (shown(&server, "chmod-mv").await, shown(&server, "g").await);
    assert!(
        f == new || g == new,
        "{told:?} {} {:?}",
        said("chmod-mv"),
        everything(&server).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_stored_and_content_written_over_others_are_logged() {
    let (server, vfs, b) = sharing("chmod-write", b"old", settings()).await;
    let file = ino(&vfs, Ino::ROOT, "chmod-write").await;
    upload(&b, "chmod-write", b"new by B").await;
    slow_looks(&server);
    chmod_now(&vfs, file, 0o600).await;
    let fh = vfs.open(file, RDWR).await.unwrap().fh;
    write(&vfs, fh, b" by A").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    let shows = shown(&server, "chmod-write").await;
    assert!(
        said("chmod-write"),
        "{shows:?} {:?}",
        everything(&server).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_stored_and_a_rename_of_the_directory_hide_nothing_of_others() {
    listen();
    let server = server();
    let b = client(&server).await;
    upload(&b, "d/chmod-mvdir", b"old").await;
    let vfs = mount(&server, settings()).await;
    let d = ino(&vfs, Ino::ROOT, "d").await;
    let file = ino(&vfs, d, "chmod-mvdir").await;
    upload(&b, "d/chmod-mvdir", b"new by B").await;
    chmod_now(&vfs, file, 0o600).await;
    drop(mv(&vfs, "d", "e").await);
    drop(vfs.drain().await);
    let new = Some(b"new by B".to_vec());
    let (old_name, new_name) = (
        shown(&server, "d/chmod-mvdir").await,
        shown(&server, "e/chmod-mvdir").await,
    );
    assert!(
        old_name == new || new_name == new,
        "{} {:?}",
        said("chmod-mvdir"),
        everything(&server).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_removed_and_made_anew_covers_nothing_of_others_without_a_word() {
    let (server, vfs, b) = sharing("rm-make", b"old", settings()).await;
    upload(&b, "rm-make", b"new by B").await;
    slow_looks(&server);
    rm(&vfs, "rm-make").await.unwrap();
    put(&vfs, Ino::ROOT, "rm-make", b"by A").await;
    let told = sync_dir(&vfs, Ino::ROOT).await;
    stored(&vfs).await;
    assert!(
        told.is_err() || said("rm-make"),
        "{told:?} {:?}",
        everything(&server).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_that_has_become_the_newest_again_is_not_deleted() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let file = put(&vfs, Ino::ROOT, "f", b"content").await;
    stored(&vfs).await;
    let b = client(&server).await;
    slow_looks(&server);
    chmod_now(&vfs, file, 0o600).await;
    held(&server, "b2_list_file_versions").await;
    // B takes the newest back.
    delete_newest(&b, "f").await;
    stored(&vfs).await;
    assert!(is_somewhere(&server, b"content").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_over_what_another_made_meanwhile_is_logged() {
    for way in ["create", "rename"] {
        let (server, vfs, b) = sharing("other", b"x", settings()).await;
        let name = format!("new-{way}");
        upload(&b, &name, b"by B").await;
        if way == "create" {
            put(&vfs, Ino::ROOT, &name, b"by A").await;
        } else {
            put(&vfs, Ino::ROOT, "tmp", b"by A").await;
            mv(&vfs, "tmp", &name).await.unwrap();
        }
        stored(&vfs).await;
        assert_eq!(shown(&server, &name).await, Some(b"by A".to_vec()));
        assert!(said(&name), "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_for_another_is_no_content_of_ours() {
    for deed in ["chmod", "rm"] {
        let (server, vfs, b) = sharing("other", b"x", settings()).await;
        let name = format!("ours-{deed}");
        let file = put(&vfs, Ino::ROOT, &name, b"by A").await;
        upload(&b, &name, b"by B").await;
        // Before anybody has looked at the name.
        match deed {
            "chmod" => chmod_now(&vfs, file, 0o600).await,
            _ => rm(&vfs, &name).await.unwrap(),
        }
        stored(&vfs).await;
        assert_eq!(shown(&server, &name).await, Some(b"by B".to_vec()));
        assert!(is_somewhere(&server, b"by A").await, "{deed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_no_version_that_a_new_file_covers_unseen() {
    let (server, vfs, b) = sharing("other", b"x", purging()).await;
    upload(&b, "new-and-gone", b"new by B").await;
    put(&vfs, Ino::ROOT, "new-and-gone", b"by A").await;
    at_rest(&vfs).await;
    rm(&vfs, "new-and-gone").await.unwrap();
    stored(&vfs).await;
    let kept = is_somewhere(&server, b"new by B").await;
    assert!(
        kept || said("new-and-gone"),
        "{:?}",
        everything(&server).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_no_version_that_an_attribute_copy_covers_unseen() {
    let (server, vfs, b) = sharing("f", b"old", purging()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    upload(&b, "f", b"new by B").await;
    chmod_now(&vfs, file, 0o600).await;
    drop(rm(&vfs, "f").await);
    drop(vfs.drain().await);
    assert!(
        is_somewhere(&server, b"new by B").await,
        "{:?}",
        everything(&server).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_by_rename_deletes_no_version_that_an_attribute_copy_covers_unseen() {
    let (server, vfs, _b) = long_ago(purging()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    chmod_now(&vfs, file, 0o600).await;
    let moved = mv(&vfs, "f", "g").await;
    let told = sync_dir(&vfs, Ino::ROOT).await;
    drop(vfs.drain().await);
    assert!(
        is_somewhere(&server, b"new by B").await,
        "{moved:?} {told:?} {:?}",
        everything(&server).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_no_version_that_new_content_covers_unseen() {
    let (server, vfs, _b) = long_ago(purging()).await;
    slow_looks(&server);
    write_over(&vfs).await;
    drop(rm(&vfs, "f").await);
    drop(vfs.drain().await);
    assert!(
        is_somewhere(&server, b"new by B").await,
        "{:?}",
        everything(&server).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_no_version_that_a_conflict_was_logged_of() {
    let (server, vfs, _b) = long_ago(purging()).await;
    write_over(&vfs).await;
    sync_dir(&vfs, Ino::ROOT).await.unwrap();
    rm(&vfs, "f").await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert!(
        is_somewhere(&server, b"new by B").await,
        "{:?}",
        everything(&server).await
    );
    assert_eq!(shown(&server, "f").await, None);
}

/// A's content over `f`, stored.
async fn write_over(vfs: &Vfs) {
    let file = ino(vfs, Ino::ROOT, "f").await;
    let fh = vfs.open(file, RDWR | libc::O_TRUNC).await.unwrap().fh;
    write(vfs, fh, b"by A").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_another_wrote_meanwhile_is_logged() {
    // When B writes: before anything of it is there, while parts leave, and right before its end.
    for when in 0..3 {
        let name = format!("large-{when}");
        let (server, vfs, b) = sharing(&name, b"x", settings()).await;
        let file = ino(&vfs, Ino::ROOT, &name).await;
        let fh = vfs.open(file, RDWR | libc::O_TRUNC).await.unwrap().fh;
        let mut written = Vec::new();
        for turn in 0..40u64 {
            if turn == when * 19 {
                upload(&b, &name, b"by B").await;
            }
            let piece = vec![turn as u8; 1 << 20];
            let bytes = Bytes::from(piece.clone());
            vfs.write(fh, turn << 20, bytes).await.unwrap();
            written.extend_from_slice(&piece);
        }
        vfs.flush(fh).await.unwrap();
        vfs.release(fh);
        stored(&vfs).await;
        assert!(calls(&server, "b2_finish_large_file") > 0);
        assert!(shown(&server, &name).await == Some(written), "{when}");
        assert!(is_somewhere(&server, b"by B").await, "{when}");
        assert!(said(&name), "{when}");
    }
}
