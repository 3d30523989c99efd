//! Going through many directories: few pages for all of them.

use super::*;

/// 10,000 directories, two levels deep, with two files each.
fn deep(server: &Server) -> Vec<String> {
    let all: Vec<String> = (0..100)
        .flat_map(|a| (0..100).map(move |b| (a, b)))
        .flat_map(|(a, b)| (0..2).map(move |c| format!("a{a:02}/b{b:02}/c{c}")))
        .collect();
    seed(server, all.iter().cloned());
    all
}

/// Every file below a directory, depth first as `find` walks, or level by level.
pub(super) async fn walked(vfs: &Vfs, breadth_first: bool) -> Vec<String> {
    let mut files = Vec::new();
    let mut open = std::collections::VecDeque::from([(Ino::ROOT, String::new())]);
    while let Some((dir, path)) = open.pop_front() {
        let mut below = Vec::new();
        for name in names(vfs, dir).await {
            let entry = vfs.lookup(dir, os(&name)).await.unwrap();
            let path = format!("{path}{name}");
            if entry.attr.kind == FileKind::Directory {
                below.push((entry.attr.ino, format!("{path}/")));
            } else {
                vfs.forget(entry.attr.ino, 1);
                files.push(path);
            }
        }
        if breadth_first {
            open.extend(below);
        } else {
            for one in below.into_iter().rev() {
                open.push_front(one);
            }
        }
    }
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn walking_through_ten_thousand_directories_takes_a_few_calls() {
    for breadth_first in [false, true] {
        let server = server();
        let all = deep(&server);
        let vfs = mount(&server, settings()).await;
        assert!(walked(&vfs, breadth_first).await == all);
        let lists = calls(&server, "b2_list_file_names");
        // 20,000 names in pages of 10,000, one before the walk is recognised, and on each level.
        assert!(lists <= 20, "{lists} calls, breadth first: {breadth_first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_rows_that_come_twice_are_one_entry() {
    for faults in [
        &["split-folders=1"][..],
        &["split-folders=2", "list:short-page=2"],
    ] {
        let server = server();
        let all: Vec<String> = ('a'..='e')
            .flat_map(|a| (0..10).map(move |b| format!("{a}/b{}/c{b}", b % 3)))
            .chain(["a-file".to_owned(), "b.txt".to_owned()])
            .collect();
        seed(&server, all.iter().cloned());
        server.set_faults(faults).unwrap();
        let vfs = mount(&server, settings()).await;
        let mut top = names(&vfs, Ino::ROOT).await;
        top.sort();
        assert_eq!(top, ["a", "a-file", "b", "b.txt", "c", "d", "e"]);
        for breadth_first in [false, true] {
            let vfs = mount(&server, settings()).await;
            let mut all = all.clone();
            all.sort();
            assert_eq!(walked(&vfs, breadth_first).await, all);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_walkers_at_once_share_the_pages() {
    let server = Server::start(emulator::Options {
        latency: Duration::from_millis(20),
        ..emulator::Options::default()
    })
    .unwrap();
    deep(&server);
    let vfs = mount(&server, settings()).await;
    let tops = names(&vfs, Ino::ROOT).await;
    let mut walkers = Vec::new();
    for share in 0..16 {
        let (vfs, tops) = (vfs.clone(), tops.clone());
        walkers.push(tokio::spawn(async move {
            let mut found = 0;
            for top in tops.iter().skip(share).step_by(16) {
                let dir = vfs.lookup(Ino::ROOT, os(top)).await.unwrap().attr.ino;
                for name in names(&vfs, dir).await {
                    let below = vfs.lookup(dir, os(&name)).await.unwrap().attr.ino;
                    found += names(&vfs, below).await.len();
                }
            }
            found
        }));
    }
    let mut found = 0;
    for walker in walkers {
        found += walker.await.unwrap();
    }
    assert_eq!(found, 20_000);
    let lists = calls(&server, "b2_list_file_names");
    assert!(lists <= 60, "{lists} calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_guessed_wrong_costs_two_pages() {
    let server = server();
    let large = (0..4).flat_map(|d| (0..11_000).map(move |f| format!("d{d}/f{f:05}")));
    seed(&server, large);
    let vfs = mount(&server, settings()).await;
    for d in 0..4 {
        let dir = vfs.lookup(Ino::ROOT, os(&format!("d{d}"))).await.unwrap();
        let before = calls(&server, "b2_list_file_names");
        assert_eq!(names(&vfs, dir.attr.ino).await.len(), 11_000);
        let took = calls(&server, "b2_list_file_names") - before;
        // Two pages of its own.
        assert!(took <= 2 + 2, "d{d} took {took} calls");
    }
    let all = calls(&server, "b2_list_file_names");
    assert!(all <= 1 + 4 * 3 + 2, "{all} calls");
}
