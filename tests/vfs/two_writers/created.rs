//! Files that were only created, under names that another client has used meanwhile.

use super::history::*;
use super::*;

async fn touch(vfs: &Vfs, name: &str) -> Ino {
    let (attr, fh) = create(vfs, Ino::ROOT, name).await;
    vfs.setattr(attr.ino, at(1_000_000_000)).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    attr.ino
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_only_created_gives_way() {
    for write_back in [None, Some(Duration::from_millis(300))] {
        let server = server();
        let settings = Settings {
            write_back,
            ..settings()
        };
        let vfs = mount(&server, settings).await;
        touch(&vfs, "f").await;
        touch(&vfs, "free").await;
        upload(&client(&server).await, "f", b"theirs").await;
        stored(&vfs).await;
        let theirs = Some(b"theirs".to_vec());
        assert_eq!(history(&server, "f").await, [theirs]);
        assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"theirs");
        assert_eq!(history(&server, "free").await, [Some(Vec::new())]);
        assert_eq!(calls(&server, "b2_copy_file"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_listing_has_shown_meanwhile_stays() {
    let server = server();
    let settings = Settings {
        metadata_ttl: Duration::from_millis(50),
        ..settings()
    };
    let vfs = mount(&server, settings).await;
    touch(&vfs, "f").await;
    upload(&client(&server).await, "f", b"theirs").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f"]);
    stored(&vfs).await;
    assert_eq!(history(&server, "f").await, [Some(b"theirs".to_vec())]);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_after_all_is_a_new_version() {
    for synced in [false, true] {
        let server = server();
        let vfs = mount(&server, settings()).await;
        let (_, fh) = create(&vfs, Ino::ROOT, "f").await;
        upload(&client(&server).await, "f", b"theirs").await;
        if synced {
            vfs.fsync(fh, false).await.unwrap();
            assert_eq!(history(&server, "f").await, [Some(b"theirs".to_vec())]);
            assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"theirs");
        }
        write(&vfs, fh, b"mine").await;
        vfs.flush(fh).await.unwrap();
        vfs.release(fh);
        stored(&vfs).await;
        let both = [Some(b"mine".to_vec()), Some(b"theirs".to_vec())];
        assert_eq!(history(&server, "f").await, both, "synced: {synced}");
        assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"mine");
    }
}

/// Others have removed it before it was known here: nothing is in the way.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_hidden_is_no_reason() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    touch(&vfs, "f").await;
    let other = client(&server).await;
    upload(&other, "f", b"theirs").await;
    hide(&other, "f").await;
    stored(&vfs).await;
    assert_eq!(shown(&server, "f").await, Some(Vec::new()));
}

/// Between the look and what follows it, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_at_the_same_time_is_shown_again() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    server.set_faults(&["upload_file:hang:1"]).unwrap();
    touch(&vfs, "f").await;
    held(&server, "b2_upload_file").await;
    upload(&client(&server).await, "f", b"theirs").await;
    server.set_faults(&[]).unwrap();
    stored(&vfs).await;
    assert_eq!(history(&server, "f").await, [Some(b"theirs".to_vec())]);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"theirs");
}

/// What is still to leave the name is this mount's own, and what that lies on is history.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_created_in_the_place_of_a_renamed_file_stays() {
    let server = server();
    upload(&client(&server).await, "f", b"").await;
    let vfs = mount(&server, settings()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    let fh = vfs.open(file, libc::O_WRONLY).await.unwrap().fh;
    write(&vfs, fh, b"mine").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    mv(&vfs, "f", "g").await.unwrap();
    touch(&vfs, "f").await;
    stored(&vfs).await;
    assert_eq!(shown(&server, "f").await, Some(Vec::new()));
    assert_eq!(shown(&server, "g").await, Some(b"mine".to_vec()));
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f", "g"]);
    let other = mount(&server, settings()).await;
    assert_eq!(get(&other, Ino::ROOT, "f").await.unwrap(), b"");
}

/// One who has created a file and keeps it open, while the same mount stores what somebody else has begun.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_only_created_never_covers_what_this_mount_has_stored_since() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "f").await;
    upload(&client(&server).await, "f", b"theirs").await;
    vfs.fsync(fh, false).await.unwrap();
    let again = ino(&vfs, Ino::ROOT, "f").await;
    assert_ne!(again, attr.ino, "theirs is another file");
    let other = vfs.open(again, libc::O_WRONLY).await.unwrap().fh;
    write(&vfs, other, b"mine").await;
    vfs.flush(other).await.unwrap();
    vfs.release(other);
    // Nothing was ever written to it.
    vfs.fsync(fh, false).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    let both = [Some(b"theirsmine".to_vec()), Some(b"theirs".to_vec())];
    assert_eq!(history(&server, "f").await, both);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"theirsmine");
}

/// The name was removed here meanwhile: a file without content does not bring it back.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_only_created_and_has_lost_its_name_does_not_bring_it_back() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "f").await;
    upload(&client(&server).await, "f", b"theirs").await;
    vfs.fsync(fh, false).await.unwrap();
    vfs.unlink(Ino::ROOT, os("f")).await.unwrap();
    vfs.fsync(fh, false).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    assert_eq!(shown(&server, "f").await, None);
    assert_eq!(names(&vfs, Ino::ROOT).await, [""; 0]);
}
