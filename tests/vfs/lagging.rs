//! Listings that lag behind what this mount did a moment ago (the emulator's `stale-list`): what was acknowledged here wins,
//! until something newer by somebody else is seen.

use super::history::*;
use super::*;

/// Listings show what was there a minute ago.
const LAGGING: &str = "list:stale-list=60";

/// A bucket with objects of long ago.
fn old(names: &[&str]) -> Server {
    let server = server();
    let seeds: Vec<Seed> = names
        .iter()
        .map(|name| Seed {
            name: (*name).to_owned(),
            size: if name.ends_with(".bzEmpty") { 0 } else { 3 },
            upload_timestamp: Some(1_600_000_000_000),
            ..Seed::default()
        })
        .collect();
    server.seed(server.bucket_name(), &seeds).unwrap();
    server
}

/// Fills the directories that `path` leads through, as a program does that has looked around.
async fn seen(vfs: &Vfs, path: &str) -> Ino {
    let mut here = Ino::ROOT;
    names(vfs, here).await;
    for component in path.split('/').filter(|component| !component.is_empty()) {
        here = ino(vfs, here, component).await;
        names(vfs, here).await;
    }
    here
}

async fn is_absent(vfs: &Vfs, dir: Ino, name: &str) -> bool {
    matches!(vfs.lookup(dir, os(name)).await, Err(Error::NotFound))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_lags_does_not_bring_back_what_was_removed() {
    let server = old(&["f", "g", "stays"]);
    let vfs = mount(&server, asking()).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f", "g", "stays"]);
    rm(&vfs, "f").await.unwrap();
    mv(&vfs, "g", "h").await.unwrap();
    stored(&vfs).await;
    server.set_faults(&[LAGGING]).unwrap();
    for _ in 0..2 {
        assert_eq!(names(&vfs, Ino::ROOT).await, ["h", "stays"]);
        assert!(is_absent(&vfs, Ino::ROOT, "f").await);
        assert!(is_absent(&vfs, Ino::ROOT, "g").await);
    }
    // Made anew it is there.
    put(&vfs, Ino::ROOT, "f", b"again").await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f", "h", "stays"]);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_lags_does_not_bring_back_a_directory_that_was_removed() {
    let server = old(&["d/f", "e/f", "e/s/f", "stays"]);
    let vfs = mount(&server, asking()).await;
    let d = seen(&vfs, "d").await;
    seen(&vfs, "e/s").await;
    vfs.unlink(d, os("f")).await.unwrap();
    vfs.rmdir(Ino::ROOT, os("d")).await.unwrap();
    mv(&vfs, "e", "moved").await.unwrap();
    stored(&vfs).await;
    server.set_faults(&[LAGGING]).unwrap();
    for _ in 0..2 {
        assert_eq!(names(&vfs, Ino::ROOT).await, ["moved", "stays"]);
        assert!(is_absent(&vfs, Ino::ROOT, "d").await);
        assert!(is_absent(&vfs, Ino::ROOT, "e").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_does_to_a_name_right_after_its_removal_is_seen() {
    let server = old(&["f", "g", "d/f"]);
    let vfs = mount(&server, asking()).await;
    let d = seen(&vfs, "d").await;
    let b = client(&server).await;
    for name in ["f", "g"] {
        rm(&vfs, name).await.unwrap();
    }
    vfs.unlink(d, os("f")).await.unwrap();
    vfs.rmdir(Ino::ROOT, os("d")).await.unwrap();
    stored(&vfs).await;
    assert!(names(&vfs, Ino::ROOT).await.is_empty());
    upload(&b, "f", b"anew").await;
    delete_newest(&b, "g").await; // as `b2 file unhide` does
    delete_newest(&b, "d/f").await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["d", "f", "g"]);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"anew");
    assert_eq!(get(&vfs, Ino::ROOT, "g").await.unwrap().len(), 3);
    let d = ino(&vfs, Ino::ROOT, "d").await;
    assert_eq!(names(&vfs, d).await, ["f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_lags_does_not_revert_the_attributes_of_a_directory() {
    let server = old(&["d/.bzEmpty"]);
    let vfs = mount(&server, asking()).await;
    let d = seen(&vfs, "d").await;
    chmod(&vfs, d, 0o700).await;
    let made = mkdir(&vfs, Ino::ROOT, "made").await;
    chmod(&vfs, made, 0o750).await;
    stored(&vfs).await;
    server.set_faults(&[LAGGING]).unwrap();
    for _ in 0..2 {
        assert_eq!(names(&vfs, Ino::ROOT).await, ["d", "made"]);
        assert!(names(&vfs, d).await.is_empty());
        for (name, mode) in [("d", 0o700), ("made", 0o750)] {
            let entry = vfs.lookup(Ino::ROOT, os(name)).await.unwrap();
            assert_eq!(entry.attr.mode, mode, "{name}");
        }
    }
    server.set_faults(&[]).unwrap();
    // Another client's marker is a newer one.
    upload(&client(&server).await, "d/.bzEmpty", b"").await;
    names(&vfs, d).await;
    let entry = vfs.lookup(Ino::ROOT, os("d")).await.unwrap();
    assert_eq!(entry.attr.mode, 0o755);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_filled_a_moment_ago_stays_whatever_a_listing_shows() {
    let server = old(&["stays"]);
    let vfs = mount(&server, asking()).await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    put(&vfs, d, "f", b"made").await;
    stored(&vfs).await;
    server.set_faults(&[LAGGING]).unwrap();
    for _ in 0..2 {
        assert_eq!(names(&vfs, Ino::ROOT).await, ["d", "stays"]);
        let d = ino(&vfs, Ino::ROOT, "d").await;
        assert_eq!(get(&vfs, d, "f").await.unwrap(), b"made");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_that_do_not_lag_cost_no_look_after_removals() {
    let server = old(&["d/f", "d/g", "f", "stays"]);
    let vfs = mount(&server, asking()).await;
    let d = seen(&vfs, "d").await;
    rm(&vfs, "f").await.unwrap();
    vfs.unlink(d, os("f")).await.unwrap();
    chmod(&vfs, d, 0o700).await;
    stored(&vfs).await;
    let looks = || {
        let counted = |call| calls(&server, call);
        counted("b2_list_file_versions") + counted("b2_get_file_info")
    };
    let before = looks();
    let listings = calls(&server, "b2_list_file_names");
    assert_eq!(names(&vfs, Ino::ROOT).await, ["d", "stays"]);
    assert_eq!(names(&vfs, d).await, ["g"]);
    assert_eq!(looks(), before);
    assert_eq!(calls(&server, "b2_list_file_names") - listings, 2);
}
