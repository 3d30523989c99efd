//! A mount (A) and another client (B) that change the same names: what A acknowledged is in some version, what B
//! acknowledged is never deleted and never stays covered by less than new bytes, and what was removed does not come back.

use super::history::*;
use super::*;

/// A mount with these settings, and another client.
async fn both(settings: Settings) -> (Server, Vfs, Client) {
    let server = server();
    let vfs = mount(&server, settings).await;
    let b = client(&server).await;
    (server, vfs, b)
}

/// The same with `f`, made by B and seen by A.
async fn sharing(content: &[u8], settings: Settings) -> (Server, Vfs, Client) {
    let server = server();
    let b = client(&server).await;
    upload(&b, "f", content).await;
    let vfs = mount(&server, settings).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f"]);
    (server, vfs, b)
}

fn each_removal() -> [Settings; 2] {
    [settings(), purging()]
}

fn is_stale(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::Stale))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_after_another_replaced_the_file_is_a_version() {
    for ttl in [Duration::ZERO, Duration::from_nanos(1)] {
        let brief = Settings {
            metadata_ttl: ttl,
            ..settings()
        };
        let (server, vfs, b) = both(brief).await;
        let (_, fh) = create(&vfs, Ino::ROOT, "log").await;
        write(&vfs, fh, b"one ").await;
        vfs.fsync(fh, false).await.unwrap();
        upload(&b, "log", b"by B").await;
        assert_eq!(get(&vfs, Ino::ROOT, "log").await.unwrap(), b"by B");
        write(&vfs, fh, b"two").await;
        vfs.fsync(fh, false).await.unwrap();
        assert_eq!(shown(&server, "log").await, Some(b"one two".to_vec()));
        write(&vfs, fh, b" three").await;
        vfs.flush(fh).await.unwrap();
        vfs.release(fh);
        stored(&vfs).await;
        assert_eq!(shown(&server, "log").await, Some(b"one two three".to_vec()));
        assert!(is_somewhere(&server, b"by B").await);
        assert_eq!(get(&vfs, Ino::ROOT, "log").await.unwrap(), b"one two three");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mapping_changes_after_another_replaced_the_file_is_a_version() {
    let (server, vfs, b) = sharing(b"as B made it", asking()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    let fh = vfs.open(file, RDWR).await.unwrap().fh;
    // The descriptor is closed, the mapping is not.
    vfs.flush(fh).await.unwrap();
    upload(&b, "f", b"again by B").await;
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"again by B");
    vfs.write(fh, 0, Bytes::from_static(b"AS")).await.unwrap();
    vfs.fsync(fh, false).await.unwrap();
    assert!(is_somewhere(&server, b"AS B made it").await);
    // As at `munmap`, which nobody waits for.
    vfs.write(fh, 10, Bytes::from_static(b"IT")).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    assert!(is_somewhere(&server, b"AS B made IT").await);
    assert!(is_somewhere(&server, b"again by B").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_after_another_removed_the_file_is_stored() {
    for way in ["hide", "delete"] {
        let (server, vfs, b) = both(asking()).await;
        let (_, fh) = create(&vfs, Ino::ROOT, "log").await;
        write(&vfs, fh, b"one ").await;
        vfs.fsync(fh, false).await.unwrap();
        match way {
            "hide" => hide(&b, "log").await,
            _ => delete_newest(&b, "log").await,
        }
        assert!(names(&vfs, Ino::ROOT).await.is_empty(), "{way}");
        let reread = vfs.lookup(Ino::ROOT, os("log")).await;
        assert!(matches!(reread, Err(Error::NotFound)), "{way}: {reread:?}");
        write(&vfs, fh, b"two").await;
        // The base of an append is gone for good where its version was deleted.
        let synced = vfs.fsync(fh, false).await;
        let closed = vfs.flush(fh).await;
        vfs.release(fh);
        let left = vfs.drain().await;
        if way == "hide" || (synced.is_ok() && closed.is_ok()) {
            assert!(synced.is_ok() && closed.is_ok() && left.is_empty(), "{way}");
            assert_eq!(
                shown(&server, "log").await,
                Some(b"one two".to_vec()),
                "{way}"
            );
        } else {
            assert!(
                is_stale(&synced) || is_stale(&closed),
                "{synced:?} {closed:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_name_became_a_directory_is_told() {
    let (server, vfs, b) = both(asking()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "log").await;
    write(&vfs, fh, b"one ").await;
    vfs.fsync(fh, false).await.unwrap();
    hide(&b, "log").await;
    upload(&b, "log/in", b"by B").await;
    let dir = ino(&vfs, Ino::ROOT, "log").await;
    assert_eq!(names(&vfs, dir).await, ["in"]);
    let written = vfs.append(fh, Bytes::from_static(b"two")).await;
    let synced = vfs.fsync(fh, false).await;
    let closed = vfs.flush(fh).await;
    vfs.release(fh);
    drop(vfs.drain().await);
    if written.is_ok() && synced.is_ok() && closed.is_ok() {
        assert!(is_somewhere(&server, b"one two").await);
    } else {
        let told = matches!(written, Err(Error::Stale)) || is_stale(&synced) || is_stale(&closed);
        assert!(told, "{written:?} {synced:?} {closed:?}");
    }
    assert_eq!(shown(&server, "log/in").await, Some(b"by B".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_does_not_take_along_or_away_what_another_wrote_meanwhile() {
    for settings in each_removal() {
        let (server, vfs, b) = sharing(b"old", settings).await;
        upload(&b, "f", b"new by B").await;
        let moved = mv(&vfs, "f", "g").await;
        let synced = sync_dir(&vfs, Ino::ROOT).await;
        drop(vfs.drain().await);
        let all = everything(&server).await;
        let shows = |name: &str| {
            let found = all.iter().find(|(found, _)| found == name);
            found.and_then(|(_, content)| content.as_deref())
        };
        let new = Some(&b"new by B"[..]);
        assert!(shows("f") == new || shows("g") == new, "{all:?}");
        if shows("g") != new {
            let told = is_stale(&moved) || is_stale(&synced);
            assert!(told, "{moved:?} {synced:?} {all:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_leaves_what_it_has_not_seen_and_tells() {
    for settings in each_removal() {
        let (server, vfs, b) = sharing(b"old", settings).await;
        upload(&b, "f", b"new by B").await;
        let removed = rm(&vfs, "f").await;
        let synced = sync_dir(&vfs, Ino::ROOT).await;
        assert!(
            is_stale(&removed) || is_stale(&synced),
            "{removed:?} {synced:?}"
        );
        drop(vfs.drain().await);
        assert_eq!(shown(&server, "f").await, Some(b"new by B".to_vec()));
        // What was left is the mount's own now, without waiting for the ttl.
        assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"new by B");
        rm(&vfs, "f").await.unwrap();
        stored(&vfs).await;
        assert_eq!(shown(&server, "f").await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_under_way_leaves_what_comes_meanwhile() {
    for settings in each_removal() {
        let (server, vfs, b) = sharing(b"old", settings).await;
        server
            .set_faults(&["hide_file:stall=1:1", "delete_file_version:stall=1:1"])
            .unwrap();
        rm(&vfs, "f").await.unwrap();
        until("a removal", async || !server.held().is_empty()).await;
        upload(&b, "f", b"new by B").await;
        drop(vfs.drain().await);
        assert_eq!(shown(&server, "f").await, Some(b"new by B".to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_over_what_another_wrote_meanwhile_keeps_both() {
    for settings in each_removal() {
        let delete = settings.delete;
        let (server, vfs, b) = sharing(b"old", settings).await;
        put(&vfs, Ino::ROOT, "tmp", b"by A").await;
        upload(&b, "f", b"new by B").await;
        mv(&vfs, "tmp", "f").await.unwrap();
        stored(&vfs).await;
        assert_eq!(shown(&server, "f").await, Some(b"by A".to_vec()));
        assert!(is_somewhere(&server, b"new by B").await);
        // Nor does removing the one show the other. A purge may take it, for by now it has been seen.
        rm(&vfs, "f").await.unwrap();
        stored(&vfs).await;
        assert_eq!(names_now(&server).await, [""; 0]);
        let kept = is_somewhere(&server, b"new by B").await;
        assert!(kept || delete == Delete::Purge);
    }
}

/// It moves what is there, and that covers what this mount has stored: nobody asked for that to go.
#[tokio::test(flavor = "multi_thread")]
async fn a_rename_of_what_another_wrote_over_ours_leaves_ours() {
    for settings in each_removal() {
        let settings = Settings {
            metadata_ttl: Duration::from_nanos(1),
            ..settings
        };
        let (server, vfs, b) = both(settings).await;
        put(&vfs, Ino::ROOT, "a", b"by A").await;
        upload(&b, "a", b"over that of A").await;
        mv(&vfs, "a", "z").await.unwrap();
        stored(&vfs).await;
        assert_eq!(shown(&server, "z").await, Some(b"over that of A".to_vec()));
        assert_eq!(shown(&server, "a").await, None);
        assert!(is_somewhere(&server, b"by A").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_that_may_not_replace_gives_way_to_what_another_made_meanwhile() {
    let (server, vfs, b) = both(settings()).await;
    put(&vfs, Ino::ROOT, "a", b"by A").await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["a"]);
    upload(&b, "f", b"by B").await;
    let no_replace = libc::RENAME_NOREPLACE;
    let moved = vfs
        .rename(Ino::ROOT, os("a"), Ino::ROOT, os("f"), no_replace)
        .await;
    assert!(matches!(moved, Err(Error::Exists)), "{moved:?}");
    stored(&vfs).await;
    assert_eq!(shown(&server, "a").await, Some(b"by A".to_vec()));
    assert_eq!(shown(&server, "f").await, Some(b"by B".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_rename_loses_nothing_that_another_wrote_since_it_was_listed() {
    for settings in each_removal() {
        let server = server();
        let b = client(&server).await;
        for name in ["d/f", "d/g"] {
            upload(&b, name, b"old").await;
        }
        let vfs = mount(&server, settings).await;
        let d = ino(&vfs, Ino::ROOT, "d").await;
        assert_eq!(names(&vfs, d).await, ["f", "g"]);
        put(&vfs, d, "k", b"by A").await;
        stored(&vfs).await;
        upload(&b, "d/f", b"new by B").await;
        upload(&b, "d/h", b"more by B").await;
        upload(&b, "d/k", b"over that of A").await;
        drop(mv(&vfs, "d", "e").await);
        drop(vfs.drain().await);
        found_in_either(&server, "k", b"over that of A").await;
        assert!(is_somewhere(&server, b"by A").await);
        found_in_either(&server, "f", b"new by B").await;
        found_in_either(&server, "h", b"more by B").await;
        found_in_either(&server, "g", b"old").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_rename_loses_nothing_that_another_writes_during_it() {
    for settings in each_removal() {
        let server = server();
        let b = client(&server).await;
        for name in ["d/f", "d/g"] {
            upload(&b, name, b"old").await;
        }
        let vfs = mount(&server, settings).await;
        server.set_faults(&["copy_file:late=1:2"]).unwrap();
        let moving = tokio::spawn({
            let vfs = vfs.clone();
            async move { mv(&vfs, "d", "e").await }
        });
        // Both are copied, and none is removed.
        until("both copies", async || server.held().len() == 2).await;
        upload(&b, "d/f", b"new by B").await;
        upload(&b, "d/h", b"more by B").await;
        drop(moving.await.unwrap());
        drop(vfs.drain().await);
        found_in_either(&server, "f", b"new by B").await;
        found_in_either(&server, "h", b"more by B").await;
        found_in_either(&server, "g", b"old").await;
    }
}

/// Fails unless `d` or `e` shows the file with this content.
async fn found_in_either(server: &Server, name: &str, content: &[u8]) {
    let d = shown(server, &format!("d/{name}")).await;
    let e = shown(server, &format!("e/{name}")).await;
    let found = [&d, &e].iter().any(|one| one.as_deref() == Some(content));
    assert!(found, "{name}: {d:?} {e:?} {:?}", everything(server).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_attributes_go_to_the_version_that_is_newest() {
    let (server, vfs, b) = sharing(b"old", settings()).await;
    chmod(&vfs, ino(&vfs, Ino::ROOT, "f").await, 0o600).await;
    upload(&b, "f", b"new by B").await;
    stored(&vfs).await;
    assert_eq!(shown(&server, "f").await, Some(b"new by B".to_vec()));
    assert_eq!(mode(&server, "f").await, 0o600);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"new by B");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_attributes_do_not_bring_back_what_another_removed() {
    for way in ["hide", "delete"] {
        let (server, vfs, b) = sharing(b"old", asking()).await;
        chmod(&vfs, ino(&vfs, Ino::ROOT, "f").await, 0o600).await;
        match way {
            "hide" => hide(&b, "f").await,
            _ => delete_newest(&b, "f").await,
        }
        stored(&vfs).await;
        assert_eq!(shown(&server, "f").await, None, "{way}");
        assert!(names(&vfs, Ino::ROOT).await.is_empty(), "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_attributes_under_way_does_not_stay_over_what_comes_meanwhile() {
    for way in ["upload", "hide"] {
        let (server, vfs, b) = sharing(b"old", settings()).await;
        chmod(&vfs, ino(&vfs, Ino::ROOT, "f").await, 0o600).await;
        server.set_faults(&["copy_file:stall=1:1"]).unwrap();
        let storing = tokio::spawn({
            let vfs = vfs.clone();
            async move { vfs.drain().await }
        });
        held(&server, "b2_copy_file").await;
        match way {
            "upload" => upload(&b, "f", b"new by B").await,
            _ => hide(&b, "f").await,
        }
        drop(storing.await.unwrap());
        stored(&vfs).await;
        let expected = (way == "upload").then(|| b"new by B".to_vec());
        assert_eq!(shown(&server, "f").await, expected, "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_are_changed_also_when_another_has_just_done_so() {
    let (server, vfs, b) = sharing(b"content", settings()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    change_mode(&b, "f", 0o640).await;
    vfs.setattr(file, at(1_000_000)).await.unwrap();
    stored(&vfs).await;
    assert_eq!(shown(&server, "f").await, Some(b"content".to_vec()));
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"content");
    let other = mount(&server, settings()).await;
    let attr = other.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
    assert_eq!(attr.mode, 0o640, "B's change stays");
    assert_eq!(attr.mtime, UNIX_EPOCH + Duration::from_secs(1_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_stays_whoever_removed_its_marker() {
    for way in ["hide", "delete"] {
        let (server, vfs, b) = both(settings()).await;
        let d = mkdir(&vfs, Ino::ROOT, "d").await;
        stored(&vfs).await;
        put(&vfs, d, "last", b"x").await;
        stored(&vfs).await;
        match way {
            "hide" => hide(&b, "d/.bzEmpty").await,
            _ => delete_newest(&b, "d/.bzEmpty").await,
        }
        vfs.unlink(d, os("last")).await.unwrap();
        stored(&vfs).await;
        assert_eq!(names_now(&server).await, ["d"], "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_directory_destroys_no_content_that_looks_like_its_marker() {
    for settings in each_removal() {
        for name in ["d/.bzEmpty", "d/"] {
            let server = server();
            let b = client(&server).await;
            upload(&b, name, b"real content").await;
            let vfs = mount(&server, settings.clone()).await;
            assert_eq!(names(&vfs, Ino::ROOT).await, ["d"]);
            let removed = vfs.rmdir(Ino::ROOT, os("d")).await;
            drop(vfs.drain().await);
            assert!(
                is_somewhere(&server, b"real content").await,
                "{name:?}: {removed:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_under_a_new_name_does_not_show_when_that_goes() {
    for settings in each_removal() {
        for way in ["create", "rename"] {
            let (server, vfs, b) = both(settings.clone()).await;
            let absent = vfs.lookup(Ino::ROOT, os("f")).await;
            assert!(matches!(absent, Err(Error::NotFound)), "{absent:?}");
            upload(&b, "f", b"by B").await;
            if way == "create" {
                put(&vfs, Ino::ROOT, "f", b"by A").await;
            } else {
                put(&vfs, Ino::ROOT, "tmp", b"by A").await;
                mv(&vfs, "tmp", "f").await.unwrap();
            }
            stored(&vfs).await;
            assert_eq!(shown(&server, "f").await, Some(b"by A".to_vec()), "{way}");
            assert!(is_somewhere(&server, b"by B").await, "{way}");
            rm(&vfs, "f").await.unwrap();
            stored(&vfs).await;
            assert_eq!(names_now(&server).await, [""; 0], "{way}");
            let kept = is_somewhere(&server, b"by B").await;
            assert!(kept || settings.delete == Delete::Purge, "{way}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_under_a_new_name_does_not_show_when_that_is_renamed() {
    for settings in each_removal() {
        let (server, vfs, b) = both(settings).await;
        let absent = vfs.lookup(Ino::ROOT, os("f")).await;
        assert!(matches!(absent, Err(Error::NotFound)), "{absent:?}");
        upload(&b, "f", b"by B").await;
        put(&vfs, Ino::ROOT, "f", b"by A").await;
        stored(&vfs).await;
        mv(&vfs, "f", "g").await.unwrap();
        stored(&vfs).await;
        assert_eq!(names_now(&server).await, ["g"]);
        assert_eq!(shown(&server, "g").await, Some(b"by A".to_vec()));
        assert!(is_somewhere(&server, b"by B").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_lags_does_not_take_back_what_was_written() {
    let server = server();
    let long_ago = Seed {
        name: "f".to_owned(),
        size: 3,
        upload_timestamp: Some(1_600_000_000_000),
        ..Seed::default()
    };
    server.seed(server.bucket_name(), &[long_ago]).unwrap();
    let vfs = mount(&server, asking()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    server.set_faults(&["list:stale-list=60"]).unwrap();
    let fh = vfs.open(file, RDWR | libc::O_TRUNC).await.unwrap().fh;
    write(&vfs, fh, b"changed").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    put(&vfs, Ino::ROOT, "g", b"made").await;
    for _ in 0..2 {
        assert_eq!(names(&vfs, Ino::ROOT).await, ["f", "g"]);
        assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"changed");
        assert_eq!(get(&vfs, Ino::ROOT, "g").await.unwrap(), b"made");
    }
}
