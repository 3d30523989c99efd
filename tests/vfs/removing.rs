//! Removals in the background: what leaves does not come back, what fails is told, and what
//! all of it costs in calls.

use super::history::{asking, purging};
use super::*;
use std::collections::BTreeSet;

pub(super) async fn unlink(vfs: &Vfs, dir: Ino, name: &str) -> Result<(), Error> {
    vfs.unlink(dir, os(name)).await
}

pub(super) async fn rmdir(vfs: &Vfs, name: &str) -> Result<(), Error> {
    vfs.rmdir(Ino::ROOT, os(name)).await
}

/// As `fsync` of a directory does.
pub(super) async fn sync_dir(vfs: &Vfs, dir: Ino) -> Result<(), Error> {
    let fh = vfs.opendir(dir).await.unwrap();
    let result = vfs.fsyncdir(fh).await;
    vfs.releasedir(fh);
    result
}

/// Waits, within bounds, for the removals under way.
pub(super) async fn removed(vfs: &Vfs) {
    for _ in 0..2000 {
        if vfs.pending().removals == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("removals do not end");
}

pub(super) fn refused(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::B2(error)) if error.kind == b2::ErrorKind::CapExceeded)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leaves_is_in_no_listing_while_b2_still_has_it() {
    let server = server();
    seed(&server, ["gone", "kept"].map(str::to_owned).into_iter());
    let vfs = mount(&server, asking()).await;
    server.set_faults(&["hide_file:stall=1:1"]).unwrap();
    unlink(&vfs, Ino::ROOT, "gone").await.unwrap();
    assert_eq!(versions(&server).await, ["gone upload", "kept upload"]);
    let mut listed = 0;
    while vfs.pending().removals > 0 {
        assert_eq!(names(&vfs, Ino::ROOT).await, ["kept"]);
        assert!(vfs.lookup(Ino::ROOT, os("gone")).await.is_err());
        listed += 1;
    }
    assert!(listed > 0);
    assert_eq!(names(&vfs, Ino::ROOT).await, ["kept"]);
    assert_eq!(
        versions(&server).await,
        ["gone hide", "gone upload", "kept upload"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_leave_come_back_by_no_listing_whenever_it_began() {
    let server = Server::start(emulator::Options {
        latency: Duration::from_millis(30),
        ..emulator::Options::default()
    })
    .unwrap();
    seed(&server, (0..60).map(|i| format!("f{i:02}")));
    let vfs = mount(&server, asking()).await;
    server.set_faults(&["hide_file:stall=1/0.3"]).unwrap();
    let gone = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let listers: Vec<_> = (0..4)
        .map(|_| {
            let (vfs, gone) = (vfs.clone(), gone.clone());
            tokio::spawn(async move {
                loop {
                    let before: BTreeSet<String> = gone.lock().unwrap().clone();
                    let listed = names(&vfs, Ino::ROOT).await;
                    let back: Vec<_> = listed
                        .iter()
                        .filter(|name| before.contains(*name))
                        .collect();
                    assert!(back.is_empty(), "{back:?}");
                    if before.len() == 60 {
                        return;
                    }
                }
            })
        })
        .collect();
    for i in 0..60 {
        let name = format!("f{i:02}");
        unlink(&vfs, Ino::ROOT, &name).await.unwrap();
        gone.lock().unwrap().insert(name);
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    for lister in listers {
        lister.await.unwrap();
    }
    removed(&vfs).await;
    assert!(names(&vfs, Ino::ROOT).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_brings_no_leaving_name_back() {
    let server = server();
    let files = (0..20).flat_map(|d| ["gone", "kept"].map(|f| format!("d{d:02}/{f}")));
    seed(&server, files);
    let ttl = Duration::from_millis(500);
    let brief = Settings {
        metadata_ttl: ttl,
        ..settings()
    };
    let vfs = mount(&server, brief).await;
    let mut dirs = Vec::new();
    for d in 0..20 {
        let name = format!("d{d:02}");
        dirs.push(vfs.lookup(Ino::ROOT, os(&name)).await.unwrap().attr.ino);
    }
    server.set_faults(&["hide_file:stall=3"]).unwrap();
    let last = dirs[19];
    unlink(&vfs, last, "gone").await.unwrap();
    // All has to be listed anew.
    tokio::time::sleep(ttl).await;
    let before = calls(&server, "b2_list_file_names");
    for dir in &dirs[..19] {
        assert_eq!(names(&vfs, *dir).await, ["gone", "kept"]);
    }
    // A walk, or it would have been one call for each.
    assert_eq!(names(&vfs, last).await, ["kept"]);
    let took = calls(&server, "b2_list_file_names") - before;
    assert!((1..10).contains(&took), "{took} calls");
    assert_eq!(vfs.pending().removals, 1);
    server.set_faults(&[]).unwrap();
    removed(&vfs).await;
    assert_eq!(names(&vfs, last).await, ["kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_made_anew_while_its_name_leaves_is_stored_after_the_removal() {
    for (how, left) in [
        (asking(), vec!["f upload", "f hide", "f upload"]),
        (purging(), vec!["f upload"]),
    ] {
        let server = server();
        seed(&server, ["f".to_owned()].into_iter());
        let vfs = mount(&server, how).await;
        server
            .set_faults(&["hide_file:stall=1", "delete_file_version:stall=1"])
            .unwrap();
        unlink(&vfs, Ino::ROOT, "f").await.unwrap();
        let (attr, fh) = create(&vfs, Ino::ROOT, "f").await;
        vfs.write(fh, 0, Bytes::from_static(b"anew")).await.unwrap();
        assert_eq!(vfs.pending().removals, 1);
        assert_eq!(names(&vfs, Ino::ROOT).await, ["f"]);
        let found = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
        assert_eq!((found.ino, found.size), (attr.ino, 4));
        vfs.flush(fh).await.unwrap();
        vfs.release(fh);
        assert_eq!(vfs.pending().removals, 0);
        assert_eq!(versions(&server).await, left);
        assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"anew");
        assert!(vfs.drain().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_files_old_name_goes_in_the_background() {
    let server = server();
    let vfs = mount(&server, asking()).await;
    put(&vfs, Ino::ROOT, "a", b"1").await;
    server
        .set_faults(&["delete_file_version:stall=1:1"])
        .unwrap();
    let rename = |from, to| vfs.rename(Ino::ROOT, os(from), Ino::ROOT, os(to), 0);
    rename("a", "b").await.unwrap();
    history::until("the copy", async || calls(&server, "b2_copy_file") == 1).await;
    history::held(&server, "b2_delete_file_version").await;
    assert_eq!(versions(&server).await, ["a upload", "b upload"]);
    assert_eq!(vfs.pending().removals, 1);
    assert_eq!(names(&vfs, Ino::ROOT).await, ["b"]);
    // On from there, and back to where it came from.
    rename("b", "c").await.unwrap();
    rename("c", "a").await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["a upload"]);
    assert_eq!(get(&vfs, Ino::ROOT, "a").await.unwrap(), b"1");

    let faults = ["delete_file_version:403", "hide_file:403"];
    server.set_faults(&faults).unwrap();
    rename("a", "b").await.unwrap();
    let told = sync_dir(&vfs, Ino::ROOT).await;
    assert!(refused(&told), "{told:?}");
    assert_eq!(names(&vfs, Ino::ROOT).await, ["a", "b"]);
    assert!(refused(&rename("b", "c").await));
    assert_eq!(names(&vfs, Ino::ROOT).await, ["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        assert_eq!(get(&vfs, Ino::ROOT, name).await.unwrap(), b"1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_directorys_old_name_is_in_no_listing() {
    let server = server();
    seed(&server, (0..30).map(|i| format!("d/s{}/f{i}", i % 3)));
    seed(&server, ["x".to_owned()].into_iter());
    let vfs = mount(&server, asking()).await;
    let d = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    names(&vfs, d).await;
    server.set_faults(&["hide_file:stall=1"]).unwrap();
    let renamer = vfs.clone();
    let renaming = tokio::spawn(async move {
        renamer
            .rename(Ino::ROOT, os("d"), Ino::ROOT, os("e"), 0)
            .await
    });
    while calls(&server, "b2_hide_file") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut listed = 0;
    while !renaming.is_finished() {
        assert_eq!(names(&vfs, Ino::ROOT).await, ["e", "x"]);
        listed += 1;
        if listed == 2 {
            // Made anew, it holds nothing of the old one.
            let anew = mkdir(&vfs, Ino::ROOT, "d").await;
            assert!(names(&vfs, anew).await.is_empty());
            assert!(vfs.lookup(anew, os("s0")).await.is_err());
            break;
        }
    }
    assert_eq!(listed, 2);
    renaming.await.unwrap().unwrap();
    assert!(vfs.drain().await.is_empty());
    let e = vfs.lookup(Ino::ROOT, os("e")).await.unwrap().attr.ino;
    assert_eq!(names(&vfs, e).await, ["s0", "s1", "s2"]);
    assert_eq!(names(&vfs, Ino::ROOT).await, ["d", "e", "x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_tree_takes_a_call_a_file_and_none_for_directories() {
    let server = server();
    seed(&server, (0..200).map(|i| format!("t/d{}/f{i}", i % 10)));
    let vfs = mount(&server, settings()).await;
    let t = vfs.lookup(Ino::ROOT, os("t")).await.unwrap().attr.ino;
    let dirs = names(&vfs, t).await;
    let mut files = Vec::new();
    for dir in &dirs {
        let ino = vfs.lookup(t, os(dir)).await.unwrap().attr.ino;
        files.push((ino, names(&vfs, ino).await));
    }
    server.reset_counters();
    for ((ino, files), dir) in files.iter().zip(&dirs) {
        for file in files {
            unlink(&vfs, *ino, file).await.unwrap();
        }
        vfs.rmdir(t, os(dir)).await.unwrap();
    }
    rmdir(&vfs, "t").await.unwrap();
    assert!(vfs.drain().await.is_empty());
    let counters = server.counters();
    assert_eq!(calls(&server, "b2_hide_file"), 200);
    // Whether somebody else came between is looked at for many names at once.
    let looks = calls(&server, "b2_list_file_versions");
    assert!((1..=40).contains(&looks), "{counters:?}");
    assert_eq!(
        counters.calls.values().sum::<u64>(),
        200 + looks,
        "{counters:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_costs_what_its_marker_costs() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    // Never stored: nothing.
    mkdir(&vfs, Ino::ROOT, "new").await;
    server.reset_counters();
    rmdir(&vfs, "new").await.unwrap();
    assert!(server.counters().calls.is_empty());
    // A marker of our own: a look under it, its deletion, and nothing stays.
    let kept = mkdir(&vfs, Ino::ROOT, "kept").await;
    assert!(vfs.drain().await.is_empty());
    vfs.setattr(kept, at(1_000)).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["kept/.bzEmpty upload"]);
    server.reset_counters();
    rmdir(&vfs, "kept").await.unwrap();
    let counters = server.counters();
    assert_eq!(calls(&server, "b2_delete_file_version"), 1, "{counters:?}");
    // What lies under it would show.
    assert_eq!(calls(&server, "b2_list_file_versions"), 1, "{counters:?}");
    assert_eq!(counters.calls.values().sum::<u64>(), 2, "{counters:?}");
    assert!(versions(&server).await.is_empty());
    // Somebody else's: it is looked for, and hidden.
    seed(&server, ["theirs/.bzEmpty".to_owned()].into_iter());
    let vfs = mount(&server, settings()).await;
    let theirs = vfs.lookup(Ino::ROOT, os("theirs")).await.unwrap().attr.ino;
    assert!(names(&vfs, theirs).await.is_empty());
    server.reset_counters();
    rmdir(&vfs, "theirs").await.unwrap();
    let counters = server.counters();
    assert_eq!(calls(&server, "b2_list_file_names"), 1, "{counters:?}");
    assert_eq!(calls(&server, "b2_hide_file"), 1, "{counters:?}");
    assert_eq!(counters.calls.values().sum::<u64>(), 2, "{counters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rmdir_asks_where_it_cannot_know_and_never_touches_what_others_have() {
    let server = server();
    let odd = ["odd//x", "two/", "two/.bzEmpty", "shadow/a", "shadow/a/b"];
    seed(&server, odd.map(str::to_owned).into_iter());
    let vfs = mount(&server, settings()).await;
    for name in ["odd", "two", "shadow"] {
        let dir = vfs.lookup(Ino::ROOT, os(name)).await.unwrap().attr.ino;
        names(&vfs, dir).await;
    }
    let told = rmdir(&vfs, "odd").await;
    assert!(matches!(told, Err(Error::NotEmpty)), "{told:?}");
    rmdir(&vfs, "two").await.unwrap();
    let shadow = vfs.lookup(Ino::ROOT, os("shadow")).await.unwrap().attr.ino;
    let a = vfs.lookup(shadow, os("a")).await.unwrap().attr.ino;
    names(&vfs, a).await;
    unlink(&vfs, a, "b").await.unwrap();
    vfs.rmdir(shadow, os("a")).await.unwrap();
    let told = rmdir(&vfs, "shadow").await;
    assert!(matches!(told, Err(Error::NotEmpty)), "{told:?}");
    let left = versions(&server).await;
    assert!(left.contains(&"odd//x upload".to_owned()) && left[0] == "odd//x upload");
    assert!(left.contains(&"shadow/a upload".to_owned()));
    // What came since the listing is not seen within its ttl, but stays.
    mkdir(&vfs, Ino::ROOT, "filled").await;
    upload(&client(&server).await, "filled/precious", b"x").await;
    rmdir(&vfs, "filled").await.unwrap();
    assert!(
        versions(&server)
            .await
            .contains(&"filled/precious upload".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_waits_for_its_removal_gets_no_marker() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    put(&vfs, d, "f", b"1").await;
    // Longer than an empty directory waits for its marker.
    server.set_faults(&["hide_file:stall=4:1"]).unwrap();
    unlink(&vfs, d, "f").await.unwrap();
    rmdir(&vfs, "d").await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_upload_file"), 1);
    assert_eq!(versions(&server).await, ["d/f hide", "d/f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_removals_are_under_way_than_are_good_for_b2() {
    let server = server();
    seed(&server, (0..150).map(|i| format!("f{i:03}")));
    let vfs = mount(&server, settings()).await;
    server.set_faults(&["hide_file:stall=1:100"]).unwrap();
    let remover = vfs.clone();
    let removing = tokio::spawn(async move {
        for i in 0..150 {
            unlink(&remover, Ino::ROOT, &format!("f{i:03}"))
                .await
                .unwrap();
        }
    });
    let mut most = 0;
    while !removing.is_finished() {
        most = most.max(vfs.pending().removals);
        // Other calls get through meanwhile.
        let fresh = mount(&server, settings()).await;
        drop(fresh);
    }
    removing.await.unwrap();
    assert_eq!(most, 64);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_hide_file"), 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_makes_after_a_removal_is_seen() {
    let server = server();
    seed(&server, ["f".to_owned()].into_iter());
    let (one, other) = (
        mount(&server, asking()).await,
        mount(&server, asking()).await,
    );
    server.set_faults(&["hide_file:stall=1:1"]).unwrap();
    unlink(&one, Ino::ROOT, "f").await.unwrap();
    assert_eq!(names(&other, Ino::ROOT).await, ["f"]);
    assert!(names(&one, Ino::ROOT).await.is_empty());
    removed(&one).await;
    assert!(names(&other, Ino::ROOT).await.is_empty());
    put(&other, Ino::ROOT, "f", b"theirs").await;
    assert_eq!(get(&one, Ino::ROOT, "f").await.unwrap(), b"theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_thousands_is_renamed_by_few_listings() {
    let server = server();
    seed(&server, (0..2500).map(|i| format!("d/f{i:04}")));
    let vfs = mount(&server, settings()).await;
    vfs.lookup(Ino::ROOT, os("d")).await.unwrap();
    server.reset_counters();
    vfs.rename(Ino::ROOT, os("d"), Ino::ROOT, os("e"), 0)
        .await
        .unwrap();
    let counters = server.counters();
    // What is below it, and that nothing is below the new name.
    assert_eq!(calls(&server, "b2_list_file_names"), 2, "{counters:?}");
    assert_eq!(calls(&server, "b2_copy_file"), 2500, "{counters:?}");
    assert_eq!(calls(&server, "b2_hide_file"), 2500, "{counters:?}");
    // Whether somebody else came between is looked at for many names at once.
    let looks = calls(&server, "b2_list_file_versions");
    assert!(looks <= 100, "{counters:?}");
    assert_eq!(
        counters.calls.values().sum::<u64>(),
        5002 + looks,
        "{counters:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_ttl_of_zero_every_client_sees_a_removal_at_once() {
    let server = server();
    seed(&server, ["f", "g"].map(str::to_owned).into_iter());
    let (one, other) = (
        mount(&server, without_memory()).await,
        mount(&server, without_memory()).await,
    );
    server.set_faults(&["hide_file:stall=1"]).unwrap();
    unlink(&one, Ino::ROOT, "f").await.unwrap();
    assert_eq!(names(&other, Ino::ROOT).await, ["g"]);
    one.rename(Ino::ROOT, os("g"), Ino::ROOT, os("h"), 0)
        .await
        .unwrap();
    assert_eq!(names(&other, Ino::ROOT).await, ["h"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_versions_are_purged_many_at_once_and_each_by_one_call() {
    const VERSIONS: u64 = 3000;
    let server = server();
    let seeds: Vec<Seed> = (0..VERSIONS)
        .map(|number| Seed {
            name: "f".to_owned(),
            size: 3,
            upload_timestamp: Some(1_600_000_000_000 + number),
            ..Seed::default()
        })
        .collect();
    server.seed(server.bucket_name(), &seeds).unwrap();
    let vfs = mount(&server, purging()).await;
    server
        .set_faults(&["delete_file_version:stall=1:20"])
        .unwrap();
    let before = server.counters().calls;
    unlink(&vfs, Ino::ROOT, "f").await.unwrap();
    // The first twenty wait for each other only in a purge that deletes one by one.
    let mut together = 0;
    for _ in 0..1000 {
        together = together.max(server.held().len());
        if together > 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(together > 1, "one at a time");
    assert!(vfs.drain().await.is_empty());
    assert!(versions(&server).await.is_empty());
    let made = |call: &str| calls(&server, call) - before.get(call).copied().unwrap_or(0);
    assert_eq!(made("b2_hide_file"), 1);
    assert_eq!(made("b2_delete_file_version"), VERSIONS + 1);
    assert_eq!(made("b2_list_file_names"), 0);
}
