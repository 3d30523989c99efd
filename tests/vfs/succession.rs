//! Whoever reads small files in the order of the directory gets those that follow fetched while it reads.

use super::*;

/// A server whose answers take some time, with small files in three directories.
fn far_away(files: u64) -> Server {
    let server = Server::start(emulator::Options {
        latency: Duration::from_millis(20),
        ..emulator::Options::default()
    })
    .unwrap();
    let dirs = ["a", "b", "b/c"];
    let names = dirs
        .iter()
        .flat_map(|dir| (0..files).map(move |n| format!("{dir}/{n:04}")));
    seed(&server, names);
    server
}

async fn directory(vfs: &Vfs, path: &str) -> Ino {
    let mut dir = Ino::ROOT;
    for name in path.split('/') {
        dir = vfs.lookup(dir, os(name)).await.unwrap().attr.ino;
    }
    names(vfs, dir).await;
    dir
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_read_in_order_are_fetched_ahead_and_once() {
    let server = far_away(60);
    let vfs = mount(&server, settings()).await;
    let dirs = [
        directory(&vfs, "a").await,
        directory(&vfs, "b").await,
        directory(&vfs, "b/c").await,
    ];
    server.reset_counters();
    for dir in dirs {
        for n in 0..60 {
            assert_eq!(get(&vfs, dir, &format!("{n:04}")).await.unwrap().len(), 3);
        }
    }
    assert_eq!(calls(&server, "b2_download_file_by_id"), 180, "each once");
    // All of them if nothing were fetched ahead; a busy machine comes late to some.
    let waited = vfs.stats().reads.waited;
    assert!(waited < 150, "{waited} of 180 were waited for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_read_in_no_order_are_fetched_when_they_are_read() {
    let server = far_away(200);
    let vfs = mount(&server, settings()).await;
    let dir = directory(&vfs, "a").await;
    server.reset_counters();
    let mut random = fastrand::Rng::with_seed(5);
    let mut all: Vec<u64> = (0..200).collect();
    random.shuffle(&mut all);
    for n in &all[..60] {
        get(&vfs, dir, &format!("{n:04}")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let calls = calls(&server, "b2_download_file_by_id");
    assert!(calls <= 64, "{calls} for 60 files");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_that_ends_early_has_cost_little() {
    let server = far_away(200);
    for read in [5, 20, 50] {
        let vfs = mount(&server, settings()).await;
        let dir = directory(&vfs, "a").await;
        server.reset_counters();
        for n in 0..read {
            get(&vfs, dir, &format!("{n:04}")).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let calls = calls(&server, "b2_download_file_by_id");
        assert!(calls <= read + read / 3 + 1, "{calls} for {read}");
    }
}

/// As `cp -r` and borg do, which sort the entries of each directory so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_read_in_the_order_of_their_numbers_are_fetched_ahead_and_once() {
    let server = far_away(60);
    let vfs = mount(&server, settings()).await;
    let [a, b, c] = [
        directory(&vfs, "a").await,
        directory(&vfs, "b").await,
        directory(&vfs, "b/c").await,
    ];
    server.reset_counters();
    let mut entries = Vec::new();
    for (dir, below) in [(a, None), (b, Some(c))] {
        let mut files = Vec::new();
        for n in 0..60 {
            let name = format!("{n:04}");
            files.push((
                vfs.lookup(dir, os(&name)).await.unwrap().attr.ino,
                dir,
                name,
            ));
        }
        if let Some(below) = below {
            let mut inside = Vec::new();
            for n in 0..60 {
                let name = format!("{n:04}");
                inside.push((
                    vfs.lookup(below, os(&name)).await.unwrap().attr.ino,
                    below,
                    name,
                ));
            }
            inside.sort();
            files.sort();
            let at = files.partition_point(|(ino, ..)| *ino < below);
            files.splice(at..at, inside);
        } else {
            files.sort();
        }
        entries.extend(files);
    }
    for (_, dir, name) in entries {
        assert_eq!(get(&vfs, dir, &name).await.unwrap().len(), 3);
    }
    assert_eq!(calls(&server, "b2_download_file_by_id"), 180, "each once");
    let waited = vfs.stats().reads.waited;
    assert!(waited < 150, "{waited} of 180 were waited for");
}
