//! What listings cost, and that they bring back nothing and hide nothing.

use std::collections::{BTreeMap, BTreeSet};

use b2fuse::b2::ListNames;

use super::walking::walked;
use super::*;

/// Waits until the server has had one call more of a name.
async fn called(server: &Server, name: &str, before: u64) {
    for _ in 0..1000 {
        if calls(server, name) > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{name} was not called");
}

/// A directory of kept/gone files whose listing has left B2 but not arrived; what is done here
/// meanwhile must stay done.
async fn overtake(vfs: &Vfs, dir: Ino, listed: impl Future<Output = ()>) {
    vfs.unlink(dir, os("gone")).await.unwrap();
    vfs.rename(dir, os("old"), dir, os("new"), 0).await.unwrap();
    put(vfs, dir, "made", b"here").await;
    put(vfs, dir, "passing", b"here").await;
    vfs.unlink(dir, os("passing")).await.unwrap();
    listed.await;
    assert_eq!(names(vfs, dir).await, ["kept", "made", "new"]);
    assert!(vfs.lookup(dir, os("gone")).await.is_err());
    assert!(vfs.lookup(dir, os("passing")).await.is_err());
    assert_eq!(get(vfs, dir, "made").await.unwrap(), b"here");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_here_wins_over_a_listing_begun_before() {
    let server = server();
    let files = ["gone", "kept", "old"].map(|f| format!("d/{f}"));
    seed(&server, files.into_iter());
    let short = Settings {
        metadata_ttl: Duration::from_millis(1),
        ..settings()
    };
    let vfs = mount(&server, short).await;
    let dir = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    assert_eq!(names(&vfs, dir).await, ["gone", "kept", "old"]);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let before = calls(&server, "b2_list_file_names");
    server.set_faults(&["list:late=1:1"]).unwrap();
    let lister = {
        let vfs = vfs.clone();
        tokio::spawn(async move { drop(names(&vfs, dir).await) })
    };
    called(&server, "b2_list_file_names", before).await;
    overtake(&vfs, dir, async { lister.await.unwrap() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_here_wins_over_a_walk_begun_before() {
    let server = server();
    let files = ["gone", "kept", "old"];
    let walked = (0..20).flat_map(|d| files.map(|f| format!("d{d:02}/{f}")));
    seed(&server, walked.chain(["other/own".to_owned()]));
    let vfs = mount(&server, settings()).await;
    let dirs = entries(&vfs, Ino::ROOT).await;
    // Known before the walk; the third directory sets it off.
    let (changed, moved) = (dirs["d18"], dirs["d19"]);
    names(&vfs, changed).await;
    names(&vfs, moved).await;
    let before = calls(&server, "b2_list_file_names");
    server.set_faults(&["list:late=1:1"]).unwrap();
    let walker = {
        let (vfs, third) = (vfs.clone(), dirs["d02"]);
        tokio::spawn(async move { drop(names(&vfs, third).await) })
    };
    called(&server, "b2_list_file_names", before).await;
    vfs.rename(Ino::ROOT, os("d19"), Ino::ROOT, os("e"), 0)
        .await
        .unwrap();
    vfs.rename(Ino::ROOT, os("other"), Ino::ROOT, os("d19"), 0)
        .await
        .unwrap();
    overtake(&vfs, changed, async { walker.await.unwrap() }).await;
    let lists = calls(&server, "b2_list_file_names");
    for (_, dir) in dirs.range("d02".to_owned().."d18".to_owned()) {
        assert_eq!(names(&vfs, *dir).await, files);
    }
    assert_eq!(calls(&server, "b2_list_file_names"), lists, "it was a walk");
    assert_eq!(names(&vfs, moved).await, files);
    assert_eq!(names(&vfs, dirs["other"]).await, ["own"]);
}

/// Names and inodes of a directory, without a lookup of any.
async fn entries(vfs: &Vfs, dir: Ino) -> BTreeMap<String, Ino> {
    let fh = vfs.opendir(dir).await.unwrap();
    let mut all = BTreeMap::new();
    let mut at = Some(0);
    while let Some(offset) = at {
        vfs.readdir_fill(fh, offset).await.unwrap();
        let mut last = None;
        at = vfs
            .readdir_emit(fh, offset, false, &mut |entry, _| {
                all.insert(String::from_utf8_lossy(&entry.name).into_owned(), entry.ino);
                last = Some(entry.next);
                ControlFlow::Continue(())
            })
            .unwrap()
            .or(last);
    }
    vfs.releasedir(fh);
    all.retain(|name, _| name != "." && name != "..");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_directory_gives_entries_with_its_first_page() {
    let server = server();
    seed(&server, (0..25_000).map(|f| format!("d/f{f:05}")));
    let vfs = mount(&server, settings()).await;
    let dir = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    let before = calls(&server, "b2_list_file_names");
    let fh = vfs.opendir(dir).await.unwrap();
    let mut all = Vec::new();
    let next = helping(&vfs, fh, 0, &mut all).await;
    assert_eq!(all.len(), 1001, "dots and a page but its last row");
    assert_eq!(calls(&server, "b2_list_file_names") - before, 1);
    let mut offset = next;
    while let Some(at) = offset {
        offset = helping(&vfs, fh, at, &mut all).await;
    }
    vfs.releasedir(fh);
    assert_eq!(all.len(), 25_002);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    // 1,000 first, then 10,000 each.
    assert_eq!(calls(&server, "b2_list_file_names") - before, 4);
    assert_eq!(names(&vfs, dir).await.len(), 25_000);
    assert_eq!(calls(&server, "b2_list_file_names") - before, 4, "known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_a_large_directory_costs_a_call_and_its_absence_too() {
    let server = server();
    seed(&server, (0..25_000).map(|f| format!("d/f{f:05}")));
    let vfs = mount(&server, settings()).await;
    let dir = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    let before = calls(&server, "b2_list_file_names");
    let took = || calls(&server, "b2_list_file_names") - before;
    vfs.lookup(dir, os("f20000")).await.unwrap();
    assert_eq!(took(), 1);
    vfs.lookup(dir, os("f20000")).await.unwrap();
    assert_eq!(took(), 1);
    for _ in 0..2 {
        assert!(vfs.lookup(dir, os("f30000")).await.is_err());
        assert_eq!(took(), 2);
    }
    // On the first page, which came with the directory's attributes.
    vfs.lookup(dir, os("f00500")).await.unwrap();
    assert_eq!(took(), 2);
}

/// What the mount must show: names by component, true for directories. The directory wins.
async fn truth(server: &Server) -> BTreeMap<String, bool> {
    let request = ListNames {
        max: 10_000,
        ..ListNames::default()
    };
    let page = client(server)
        .await
        .list_file_names(&request)
        .await
        .unwrap();
    assert!(page.next.is_none());
    let mut all = BTreeMap::new();
    for row in page.files {
        match row.name.as_str().split_once('/') {
            Some(("." | "..", _)) => {}
            Some((component, _)) => *all.entry(component.to_owned()).or_default() = true,
            None => {
                all.entry(row.name.to_string()).or_default();
            }
        }
    }
    all
}

/// Names that stand close together around the places where a directory's row and a hash file's stand.
fn close_name(random: &mut fastrand::Rng) -> String {
    let pieces = ["a", "b", "-", ".", "0", ".sha1", "/x"];
    let count = random.usize(1..5);
    let name: String = (0..count)
        .map(|_| *random.choice(&pieces).unwrap())
        .collect();
    match name.as_str() {
        "." | ".." => "a".to_owned(),
        name if name.starts_with('/') => format!("a{name}"),
        name => name.replace("/x/x", "/x").replace("/x.", "/x"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_in_short_pages_show_what_is_there() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..12 {
        let server = server();
        let other = client(&server).await;
        for _ in 0..random.usize(5..40) {
            upload(&other, &close_name(&mut random), b"1").await;
        }
        let rows = random.usize(1..6);
        server
            .set_faults(&[&format!("list:short-page={rows}")])
            .unwrap();
        let always = Settings {
            metadata_ttl: Duration::ZERO,
            hash_files: if random.bool() {
                HashFiles::Listed
            } else {
                HashFiles::Unlisted
            },
            ..settings()
        };
        let hashes = always.hash_files == HashFiles::Listed;
        let vfs = mount(&server, always).await;
        let mut known = BTreeMap::new();
        for _ in 0..4 {
            let listed = names(&vfs, Ino::ROOT).await;
            server.set_faults(&[]).unwrap();
            let truth = truth(&server).await;
            let mut expected: BTreeSet<String> = truth.keys().cloned().collect();
            if hashes {
                let files = truth.iter().filter(|(_, directory)| !**directory);
                let files = files.filter(|(name, _)| name.strip_suffix(".sha1").is_none());
                expected.extend(files.map(|(name, _)| format!("{name}.sha1")));
            }
            assert_eq!(
                listed.iter().collect::<BTreeSet<_>>().len(),
                listed.len(),
                "twice: {listed:?}"
            );
            assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), expected);
            // What stays a directory stays the same one.
            let now = entries(&vfs, Ino::ROOT).await;
            for (name, ino) in &now {
                if truth.get(name) == Some(&true)
                    && let Some(before) = known.insert(name.clone(), *ino)
                {
                    assert_eq!(before, *ino, "{name}");
                }
            }
            known.retain(|name, _| truth.get(name) == Some(&true));
            for _ in 0..random.usize(1..8) {
                let name = close_name(&mut random);
                if random.bool() {
                    upload(&other, &name, b"2").await;
                } else if let Some(name) = random.choice(truth.keys()) {
                    let _ = other.hide_file(&b2::FileName::listed(name)).await;
                }
            }
            server
                .set_faults(&[&format!("list:short-page={rows}")])
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_about_to_expire_is_asked_for_again_while_it_holds() {
    let server = server();
    let other = client(&server).await;
    upload(&other, "d/old", b"1").await;
    let short = Settings {
        metadata_ttl: Duration::from_secs(4),
        ..settings()
    };
    let vfs = mount(&server, short).await;
    let dir = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    let old = vfs.lookup(dir, os("old")).await.unwrap();
    assert!(old.ttl <= Duration::from_secs(3), "the kernel asks in time");
    upload(&other, "d/new", b"1").await;
    let before = calls(&server, "b2_list_file_names");
    tokio::time::sleep(Duration::from_millis(3200)).await;
    server.set_faults(&["list:late=1:1"]).unwrap();
    // Answered at once by what still holds; asked for again only once.
    for _ in 0..3 {
        assert!(vfs.lookup(dir, os("new")).await.is_err());
        vfs.lookup(dir, os("old")).await.unwrap();
    }
    called(&server, "b2_list_file_names", before).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let lists = calls(&server, "b2_list_file_names");
    vfs.lookup(dir, os("new")).await.unwrap();
    assert_eq!(calls(&server, "b2_list_file_names"), lists);
    assert_eq!(lists, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_nobody_uses_are_dropped_when_there_are_too_many() {
    let server = server();
    let all: Vec<String> = (0..30)
        .flat_map(|d| (0..200).map(move |f| format!("d{d:02}/f{f:03}")))
        .collect();
    seed(&server, all.iter().cloned());
    let few = Settings {
        names_max: 1000,
        ..settings()
    };
    let vfs = mount(&server, few).await;
    let dirs = entries(&vfs, Ino::ROOT).await;
    // Used: open, held by the kernel, not stored.
    let opened = vfs.lookup(dirs["d00"], os("f000")).await.unwrap().attr;
    let open = vfs.open(opened.ino, RDONLY).await.unwrap();
    let held = vfs.lookup(dirs["d01"], os("f001")).await.unwrap().attr;
    let (_, unsent) = create(&vfs, dirs["d02"], "new").await;
    vfs.write(unsent, 0, Bytes::from_static(b"unsent"))
        .await
        .unwrap();
    assert_eq!(walked(&vfs, false).await.len(), all.len() + 1);
    // What was asked for just now stays for a moment.
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if vfs.known_names() <= 1000 {
            break;
        }
    }
    let left = vfs.known_names();
    assert!(left <= 1000, "{left} names");
    assert_eq!(read_all(&vfs, open.fh).await.unwrap().len(), 3);
    assert_eq!(vfs.getattr(held.ino).await.unwrap().0.ino, held.ino);
    let again = vfs.lookup(dirs["d01"], os("f001")).await.unwrap().attr;
    assert_eq!(again.ino, held.ino);
    vfs.flush(unsent).await.unwrap();
    vfs.release(unsent);
    assert_eq!(get(&vfs, dirs["d02"], "new").await.unwrap(), b"unsent");
    assert_eq!(walked(&vfs, false).await.len(), all.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_to_live_opening_asks_and_nothing_else_does() {
    let server = server();
    let other = client(&server).await;
    for name in ["a", "b", "c"] {
        upload(&other, name, b"1").await;
    }
    let always = Settings {
        metadata_ttl: Duration::ZERO,
        ..settings()
    };
    let vfs = mount(&server, always).await;
    names(&vfs, Ino::ROOT).await;
    let before = calls(&server, "b2_list_file_names");
    let took = || calls(&server, "b2_list_file_names") - before;
    let mut found = Vec::new();
    for name in ["a", "b", "c"] {
        found.push(vfs.lookup(Ino::ROOT, os(name)).await.unwrap());
        vfs.getattr(found[0].attr.ino).await.unwrap();
    }
    assert_eq!(took(), 0);
    assert!(found.iter().all(|entry| entry.ttl.is_zero()));
    let a = found[0].attr.ino;
    // Closed by somebody else a moment ago.
    upload(&other, "a", b"22").await;
    let first = vfs.open(a, RDONLY).await.unwrap();
    assert_eq!(took(), 1);
    assert_eq!(read_all(&vfs, first.fh).await.unwrap(), b"22");
    // It stays what it is for whoever has it open; the name means another file now.
    upload(&other, "a", b"333").await;
    assert!(matches!(vfs.open(a, RDONLY).await, Err(Error::Stale)));
    assert_eq!(read_all(&vfs, first.fh).await.unwrap(), b"22");
    assert_eq!(get(&vfs, Ino::ROOT, "a").await.unwrap(), b"333");
    vfs.release(first.fh);
}

/// Who opens it had looked it up before, and finds it as on any filesystem.
#[tokio::test(flavor = "multi_thread")]
async fn what_this_mount_replaces_while_it_is_being_opened_is_not_stale() {
    let server = server();
    let other = client(&server).await;
    for name in ["a", "b", "new"] {
        upload(&other, name, name.as_bytes()).await;
    }
    let always = Settings {
        metadata_ttl: Duration::ZERO,
        ..settings()
    };
    let vfs = mount(&server, always).await;
    let mut found = Vec::new();
    for name in ["a", "b", "new"] {
        found.push(vfs.lookup(Ino::ROOT, os(name)).await.unwrap().attr.ino);
    }
    server.set_faults(&["list_file_names:late=1:2"]).unwrap();
    // The open of each asks B2 first.
    let (a, b, replaced, removed) = tokio::join!(
        vfs.open(found[0], RDONLY),
        vfs.open(found[1], RDONLY),
        vfs.rename(Ino::ROOT, os("new"), Ino::ROOT, os("a"), 0),
        vfs.unlink(Ino::ROOT, os("b")),
    );
    replaced.unwrap();
    removed.unwrap();
    for (opened, content) in [(a, b"a"), (b, b"b")] {
        let fh = opened.unwrap().fh;
        assert_eq!(read_all(&vfs, fh).await.unwrap(), content);
        vfs.release(fh);
    }
    assert_eq!(get(&vfs, Ino::ROOT, "a").await.unwrap(), b"new");
}
