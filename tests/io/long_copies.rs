//! Copies on the server that take long: in parts, without losing what other clients do meanwhile.

use std::time::Duration;

use b2fuse::b2::{FileVersion, Payload, Sha1};
use b2fuse::emulator;
use b2fuse::io::{Covered, Error, Settings, Version};
use bytes::Bytes;

use super::rig::{Rig, settings, target};

const MB: u64 = 1_000_000;
const HASH: Sha1 = Sha1([7; 20]);

async fn with_timeout(timeout: Duration) -> Rig {
    let options = emulator::Options {
        faults: vec!["no-md5".to_owned()],
        ..emulator::Options::default()
    };
    let settings = Settings {
        timeout,
        ..settings()
    };
    Rig::with(settings, timeout, options).await
}

async fn rig() -> Rig {
    with_timeout(Duration::from_secs(20)).await
}

/// One that does not wait for an answer for long where no bytes are copied.
async fn hasty() -> Rig {
    with_timeout(Duration::from_millis(600)).await
}

async fn source(rig: &Rig, size: u64) -> Version {
    let version = rig.seed("source", size).await;
    rig.server.reset_counters();
    Version {
        sha1: Some(HASH),
        ..version
    }
}

async fn copy(rig: &Rig, source: &Version, covered: Covered) -> Result<FileVersion, Error> {
    rig.io.copy(source, &target("copy"), covered).await
}

fn calls(rig: &Rig, name: &str) -> u64 {
    rig.server.counters().calls.get(name).copied().unwrap_or(0)
}

/// Waits until something has come about in the bucket.
async fn until(what: &str, happened: impl AsyncFn() -> bool) {
    for _ in 0..1000 {
        if happened().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} has not happened");
}

async fn nothing_is_unfinished(rig: &Rig) {
    until("the end of all large files", async || {
        let left = rig.client.list_unfinished_large_files("").await;
        left.expect("listed").is_empty()
    })
    .await;
}

/// Another client stores something under the name while the copy is finished.
async fn overtaken(rig: &Rig) -> FileVersion {
    until("a finish", async || {
        let held = rig.server.held();
        held.iter().any(|held| held.call == "b2_finish_large_file")
    })
    .await;
    let theirs = Payload::from(Bytes::from_static(b"theirs"));
    let stored = rig.client.upload_file(&target("copy"), theirs).await;
    stored.expect("stored")
}

/// What is stored under the name of the copy in the end, newest first.
async fn lies_there(rig: &Rig, wanted: &[&FileVersion]) {
    let wanted: Vec<_> = wanted
        .iter()
        .map(|version| version.id.clone().expect("an id"))
        .collect();
    until("what should lie there", async || {
        let versions = rig.versions("copy").await;
        versions.iter().map(|(_, id, _)| id).eq(&wanted)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_carries_the_hash_of_what_went_up_in_parts_and_no_other() {
    let rig = rig().await;
    let large_file = settings().large_file;
    for (size, told) in [(large_file, false), (large_file + 1, true)] {
        let source = source(&rig, size).await;
        let version = copy(&rig, &source, Covered::GiveWay).await.expect("copied");
        let said = version.info.get("large_file_sha1").cloned();
        assert_eq!(said, told.then(|| HASH.to_string()), "{size}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_copy_goes_in_parts_and_keeps_its_hash() {
    let rig = rig().await;
    let source = source(&rig, 1_001 * MB).await;
    let faults = ["no-md5", "copy_part:503=0:3"];
    rig.server.set_faults(&faults).expect("valid");
    let made = copy(&rig, &source, Covered::PutOnTop).await;
    let made = made.expect("copied");
    assert_eq!((made.size, made.whole_sha1()), (source.size, Some(HASH)));
    assert_eq!(calls(&rig, "b2_copy_file"), 0);
    assert_eq!(calls(&rig, "b2_copy_part"), 3 + 3, "three were refused");
    assert!(rig.io.is_own(made.id.as_ref().expect("an id")));
    lies_there(&rig, &[&made]).await;
    // What takes no time goes in one call.
    let short = rig.seed("short", 400 * MB).await;
    let made = copy(&rig, &short, Covered::PutOnTop).await;
    assert_eq!(made.expect("copied").size, short.size);
    assert_eq!(calls(&rig, "b2_copy_file"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_copy_that_fails_leaves_nothing() {
    let rig = rig().await;
    let source = source(&rig, 501 * MB).await;
    for fault in [
        "copy_part:storage-cap:1@1",
        "finish_large_file:storage-cap:1",
    ] {
        rig.server.set_faults(&["no-md5", fault]).expect("valid");
        match copy(&rig, &source, Covered::PutOnTop).await {
            Err(Error::B2(error)) => assert_eq!(error.lost, None, "{fault}"),
            other => panic!("{fault}: {other:?}"),
        }
        nothing_is_unfinished(&rig).await;
        assert!(rig.versions("copy").await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_caller_went_away_leaves_nothing() {
    let rig = rig().await;
    let source = source(&rig, 501 * MB).await;
    let faults = ["no-md5", "copy_part:stall=2:1@1"];
    rig.server.set_faults(&faults).expect("valid");
    let copying = copy(&rig, &source, Covered::PutOnTop);
    let begun = until("a part", async || calls(&rig, "b2_copy_part") > 1);
    tokio::select! {
        _ = copying => panic!("it should wait for its part"),
        () = begun => {}
    }
    nothing_is_unfinished(&rig).await;
    assert!(rig.versions("copy").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_finish_was_not_answered_is_asked_for() {
    let rig = hasty().await;
    let source = source(&rig, 501 * MB).await;
    let faults = [
        "no-md5",
        "finish_large_file:lost-reply",
        "get_file_info:503:2",
    ];
    rig.server.set_faults(&faults).expect("valid");
    let made = copy(&rig, &source, Covered::PutOnTop).await;
    lies_there(&rig, &[&made.expect("copied")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_may_have_been_made_is_told_by_its_id() {
    let rig = hasty().await;
    let source = source(&rig, 501 * MB).await;
    let faults = [
        "no-md5",
        "finish_large_file:lost-reply",
        "get_file_info:503",
    ];
    rig.server.set_faults(&faults).expect("valid");
    let Err(Error::B2(error)) = copy(&rig, &source, Covered::PutOnTop).await else {
        panic!("nobody can know");
    };
    let lost = error.lost.expect("it may be there");
    assert_eq!((lost.size, lost.sha1), (Some(source.size), Some(HASH)));
    let found = rig.versions("copy").await;
    assert_eq!(Some(&found[0].1), lost.id.as_ref());
    // So it is where the copy is there but nobody can see whether it shows.
    let faults = ["no-md5", "list_file_versions:503"];
    rig.server.set_faults(&faults).expect("valid");
    let Err(Error::B2(error)) = copy(&rig, &source, Covered::PutOnTop).await else {
        panic!("nobody can know");
    };
    rig.server.set_faults(&["no-md5"]).expect("valid");
    let found = rig.versions("copy").await;
    assert_eq!(Some(found[0].1.clone()), error.lost.expect("told").id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_b2_has_not_finished_is_given_up() {
    let rig = hasty().await;
    let source = source(&rig, 501 * MB).await;
    let faults = ["no-md5", "finish_large_file:500"];
    rig.server.set_faults(&faults).expect("valid");
    let Err(Error::B2(error)) = copy(&rig, &source, Covered::PutOnTop).await else {
        panic!("it cannot be finished");
    };
    assert_eq!(error.lost, None, "B2 has cancelled it");
    nothing_is_unfinished(&rig).await;
    assert!(rig.versions("copy").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_copy_that_another_client_overtook_is_put_on_top() {
    let rig = rig().await;
    let source = source(&rig, 501 * MB).await;
    let faults = ["no-md5", "finish_large_file:stall=1:1"];
    rig.server.set_faults(&faults).expect("valid");
    let copying = copy(&rig, &source, Covered::PutOnTop);
    let (made, theirs) = tokio::join!(copying, overtaken(&rig));
    let made = made.expect("copied");
    assert_eq!((made.size, made.whole_sha1()), (source.size, Some(HASH)));
    lies_there(&rig, &[&made, &theirs]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_copy_that_another_client_overtook_gives_way() {
    let rig = rig().await;
    let source = source(&rig, 501 * MB).await;
    let faults = ["no-md5", "finish_large_file:stall=1:1"];
    rig.server.set_faults(&faults).expect("valid");
    let copying = copy(&rig, &source, Covered::GiveWay);
    let (made, theirs) = tokio::join!(copying, overtaken(&rig));
    assert!(matches!(made, Err(Error::Covered)), "{made:?}");
    lies_there(&rig, &[&theirs]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_copied_as_a_whole_is_the_newest_once_it_is_committed() {
    let rig = rig().await;
    let source = source(&rig, 501 * MB).await;
    let (from, file) = (rig.open("source", source.clone()), rig.create("copy"));
    let all = file.copy_from(&from, 0, 0, source.size).await;
    assert_eq!(all.expect("copied"), source.size);
    let faults = ["no-md5", "finish_large_file:stall=1:1"];
    rig.server.set_faults(&faults).expect("valid");
    let (done, theirs) = tokio::join!(file.commit(), overtaken(&rig));
    let made = done.expect("stored").expect("dirty").version;
    lies_there(&rig, &[&made, &theirs]).await;
}
