//! Versions that go because this mount has replaced them: which, when, by how many calls, and which never.

use super::history::*;
use super::*;

/// What is replaced goes.
fn replacing() -> Settings {
    Settings {
        overwrite: Overwrite::Replace,
        ..settings()
    }
}

/// Of what is replaced, only this mount's own versions of less than this age go.
fn dropping(within: Duration) -> Settings {
    Settings {
        drop_versions_within: within,
        ..settings()
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// As `echo >> f` does.
async fn append(vfs: &Vfs, name: &str, content: &'static [u8]) {
    let file = ino(vfs, Ino::ROOT, name).await;
    let fh = vfs.open(file, libc::O_WRONLY).await.unwrap().fh;
    write(vfs, fh, content).await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
}

/// As `> f` does.
async fn overwrite(vfs: &Vfs, name: &str, content: &'static [u8]) {
    let file = ino(vfs, Ino::ROOT, name).await;
    let fh = vfs.open(file, RDWR | libc::O_TRUNC).await.unwrap().fh;
    write(vfs, fh, content).await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
}

fn some(contents: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
    contents.iter().map(|one| Some(one.to_vec())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_appends_leave_one_version_or_all_of_them() {
    for (settings, left) in [(settings(), 61), (replacing(), 1), (dropping(HOUR), 1)] {
        let server = server();
        let vfs = mount(&server, settings).await;
        put(&vfs, Ino::ROOT, "f", b"").await;
        stored(&vfs).await;
        for _ in 0..60 {
            append(&vfs, "f", b"x").await;
        }
        stored(&vfs).await;
        assert_eq!(versions(&server).await.len(), left);
        assert_eq!(calls(&server, "b2_upload_file"), 61);
        assert_eq!(calls(&server, "b2_delete_file_version"), 61 - left as u64);
        assert_eq!(shown(&server, "f").await, Some(vec![b'x'; 60]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_write_back_what_is_replaced_goes_too() {
    let server = server();
    upload(&client(&server).await, "f", b"old").await;
    let settings = Settings {
        overwrite: Overwrite::Replace,
        ..much_later()
    };
    let vfs = mount(&server, settings).await;
    overwrite(&vfs, "f", b"new").await;
    assert_eq!(versions(&server).await, ["f upload"]);
    stored(&vfs).await;
    assert_eq!(history(&server, "f").await, some(&[b"new"]));
    // Renamed over it before it is stored itself.
    put(&vfs, Ino::ROOT, "tmp", b"renamed").await;
    mv(&vfs, "tmp", "f").await.unwrap();
    stored(&vfs).await;
    assert_eq!(
        everything(&server).await,
        [("f".to_owned(), Some(b"renamed".to_vec()))]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_is_replaced_early_only_our_own_young_versions_go() {
    let server = server();
    upload(&client(&server).await, "f", b"by B ").await;
    let vfs = mount(&server, dropping(HOUR)).await;
    for content in [&b"1"[..], b"2", b"3"] {
        append(&vfs, "f", content).await;
        stored(&vfs).await;
    }
    assert_eq!(history(&server, "f").await, some(&[b"by B 123", b"by B "]));
    drop(vfs);
    // What an earlier mount has made is as another client's.
    let vfs = mount(&server, dropping(HOUR)).await;
    append(&vfs, "f", b"4").await;
    append(&vfs, "f", b"5").await;
    stored(&vfs).await;
    let left = some(&[b"by B 12345", b"by B 123", b"by B "]);
    assert_eq!(history(&server, "f").await, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_when_it_is_replaced_stays_whatever_name_it_had() {
    const YOUNG: Duration = Duration::from_millis(1);
    let server = server();
    let vfs = mount(&server, dropping(YOUNG)).await;
    put(&vfs, Ino::ROOT, "f", b"old").await;
    tokio::time::sleep(YOUNG * 20).await;
    overwrite(&vfs, "f", b"new").await;
    stored(&vfs).await;
    assert_eq!(history(&server, "f").await, some(&[b"new", b"old"]));
    drop(vfs);
    // A copy made a moment ago of a content that is not young.
    let vfs = mount(&server, dropping(HOUR)).await;
    mv(&vfs, "f", "g").await.unwrap();
    overwrite(&vfs, "g", b"newer").await;
    stored(&vfs).await;
    assert_eq!(history(&server, "g").await, some(&[b"newer", b"new"]));
    // And one of a young one.
    put(&vfs, Ino::ROOT, "h", b"young").await;
    mv(&vfs, "h", "i").await.unwrap();
    overwrite(&vfs, "i", b"last").await;
    stored(&vfs).await;
    assert_eq!(history(&server, "i").await, some(&[b"last"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_wrote_in_between_stays_and_so_does_what_lies_under_it() {
    for settings in [replacing(), dropping(HOUR)] {
        let server = server();
        let b = client(&server).await;
        let vfs = mount(&server, settings).await;
        put(&vfs, Ino::ROOT, "f", b"ours").await;
        stored(&vfs).await;
        upload(&b, "f", b"by B").await;
        overwrite(&vfs, "f", b"second").await;
        stored(&vfs).await;
        let left = some(&[b"second", b"by B", b"ours"]);
        assert_eq!(history(&server, "f").await, left);
        // That version is this mount's, and replaced by it.
        overwrite(&vfs, "f", b"third").await;
        stored(&vfs).await;
        let left = some(&[b"third", b"by B", b"ours"]);
        assert_eq!(history(&server, "f").await, left);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_removed_in_between_stays() {
    let server = server();
    let b = client(&server).await;
    let vfs = mount(&server, replacing()).await;
    put(&vfs, Ino::ROOT, "f", b"ours").await;
    stored(&vfs).await;
    hide(&b, "f").await;
    overwrite(&vfs, "f", b"second").await;
    stored(&vfs).await;
    let left = [Some(b"second".to_vec()), None, Some(b"ours".to_vec())];
    assert_eq!(history(&server, "f").await, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_after_ours_keeps_nothing_of_what_we_replaced() {
    let server = server();
    let b = client(&server).await;
    let vfs = mount(&server, replacing()).await;
    put(&vfs, Ino::ROOT, "f", b"first").await;
    stored(&vfs).await;
    server
        .set_faults(&["list_file_versions:stall=1:1"])
        .unwrap();
    overwrite(&vfs, "f", b"second").await;
    held(&server, "b2_list_file_versions").await;
    upload(&b, "f", b"by B").await;
    stored(&vfs).await;
    assert_eq!(history(&server, "f").await, some(&[b"by B", b"second"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_renamed_over_goes() {
    let server = server();
    let b = client(&server).await;
    upload(&b, "f", b"by B").await;
    let vfs = mount(&server, replacing()).await;
    put(&vfs, Ino::ROOT, "tmp", b"new").await;
    mv(&vfs, "tmp", "f").await.unwrap();
    stored(&vfs).await;
    assert_eq!(
        everything(&server).await,
        [("f".to_owned(), Some(b"new".to_vec()))]
    );
    // With another client's version in between, nothing does.
    put(&vfs, Ino::ROOT, "tmp", b"newer").await;
    upload(&b, "f", b"again by B").await;
    mv(&vfs, "tmp", "f").await.unwrap();
    stored(&vfs).await;
    let left = some(&[b"newer", b"again by B", b"new"]);
    assert_eq!(history(&server, "f").await, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_attributes_of_what_another_client_stored_leave_one_version() {
    for (settings, left) in [(settings(), 2), (dropping(HOUR), 2), (replacing(), 1)] {
        let server = server();
        upload(&client(&server).await, "f", b"by B").await;
        let vfs = mount(&server, settings).await;
        let file = ino(&vfs, Ino::ROOT, "f").await;
        chmod(&vfs, file, 0o600).await;
        stored(&vfs).await;
        assert_eq!(versions(&server).await.len(), left);
        assert_eq!(mode(&server, "f").await, 0o600);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_writing_the_old_version_stays() {
    let server = server();
    upload(&client(&server).await, "f", b"old").await;
    let vfs = mount(&server, replacing()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    let fh = vfs.open(file, RDWR | libc::O_TRUNC).await.unwrap().fh;
    for (content, so_far) in [(&b"1"[..], &b"1"[..]), (b"2", b"12")] {
        write(&vfs, fh, content).await;
        vfs.fsync(fh, false).await.unwrap();
        stored(&vfs).await;
        assert_eq!(history(&server, "f").await, some(&[so_far, b"old"]));
    }
    // Nothing is unsent, and nothing is stored by closing it; but from then on it is what the file is.
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    assert_eq!(history(&server, "f").await, some(&[b"12"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_reads_goes_at_its_last_close() {
    let server = server();
    let old: Vec<u8> = (0..3 * MB).map(|byte| byte as u8).collect();
    upload(&client(&server).await, "f", &old).await;
    let vfs = mount(&server, replacing()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    let reader = vfs.open(file, RDONLY).await.unwrap().fh;
    put(&vfs, Ino::ROOT, "tmp", b"new").await;
    mv(&vfs, "tmp", "f").await.unwrap();
    at_rest(&vfs).await;
    // What has replaced it may be replaced meanwhile.
    overwrite(&vfs, "f", b"newer").await;
    overwrite(&vfs, "f", b"new").await;
    at_rest(&vfs).await;
    assert_eq!(read_all(&vfs, reader).await.unwrap(), old);
    assert_eq!(history(&server, "f").await.len(), 2);
    vfs.release(reader);
    until("the old version's end", async || {
        history(&server, "f").await == some(&[b"new"])
    })
    .await;
    // Who reads the file itself reads what it has become.
    let file = ino(&vfs, Ino::ROOT, "f").await;
    let reader = vfs.open(file, RDONLY).await.unwrap().fh;
    overwrite(&vfs, "f", b"newest").await;
    stored(&vfs).await;
    assert_eq!(read_all(&vfs, reader).await.unwrap(), b"newest");
    assert_eq!(history(&server, "f").await, some(&[b"newest"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_has_made_visible_again_meanwhile_stays() {
    let server = server();
    let b = client(&server).await;
    upload(&b, "f", b"old").await;
    let vfs = mount(&server, replacing()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    let reader = vfs.open(file, RDONLY).await.unwrap().fh;
    put(&vfs, Ino::ROOT, "tmp", b"new").await;
    mv(&vfs, "tmp", "f").await.unwrap();
    at_rest(&vfs).await;
    delete_newest(&b, "f").await;
    vfs.release(reader);
    drop(vfs.drain().await);
    assert_eq!(history(&server, "f").await, some(&[b"old"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_copied_from_goes_when_the_copy_is_stored() {
    let server = server();
    upload(&client(&server).await, "f", &vec![7; 7_000_000]).await;
    let settings = Settings {
        overwrite: Overwrite::Replace,
        ..much_later()
    };
    let vfs = mount(&server, settings).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    let from = vfs.open(file, RDWR).await.unwrap().fh;
    let (_, to) = create(&vfs, Ino::ROOT, "copy").await;
    vfs.copy_file_range(from, 0, to, 0, 7_000_000)
        .await
        .unwrap();
    vfs.write(from, 0, Bytes::from_static(b"changed"))
        .await
        .unwrap();
    vfs.fsync(from, false).await.unwrap();
    vfs.flush(from).await.unwrap();
    vfs.release(from);
    at_rest(&vfs).await;
    assert_eq!(history(&server, "f").await.len(), 2);
    vfs.flush(to).await.unwrap();
    vfs.release(to);
    stored(&vfs).await;
    assert_eq!(shown(&server, "copy").await, Some(vec![7; 7_000_000]));
    assert_eq!(history(&server, "f").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_whose_answer_is_lost_or_that_fails_for_a_while_ends_well() {
    let server = server();
    let vfs = impatient(&server, replacing()).await;
    put(&vfs, Ino::ROOT, "f", b"first").await;
    stored(&vfs).await;
    server
        .set_faults(&["delete_file_version:lost-reply:1"])
        .unwrap();
    overwrite(&vfs, "f", b"second").await;
    stored(&vfs).await;
    assert_eq!(history(&server, "f").await, some(&[b"second"]));
    server.set_faults(&["delete_file_version:reset"]).unwrap();
    overwrite(&vfs, "f", b"third").await;
    stored(&vfs).await;
    assert_eq!(history(&server, "f").await, some(&[b"third", b"second"]));
    server.set_faults(&[]).unwrap();
    // At the end of the mount it is tried again.
    stored(&vfs).await;
    assert_eq!(history(&server, "f").await, some(&[b"third"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_keeps_nothing_from_going() {
    let server = server();
    let vfs = impatient(&server, replacing()).await;
    put(&vfs, Ino::ROOT, "f", b"first").await;
    stored(&vfs).await;
    warnings::outage_after(&server, "upload_file");
    let file = ino(&vfs, Ino::ROOT, "f").await;
    let fh = vfs.open(file, RDWR | libc::O_TRUNC).await.unwrap().fh;
    write(&vfs, fh, b"second").await;
    assert!(vfs.flush(fh).await.is_err());
    server.set_faults(&[]).unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    assert_eq!(history(&server, "f").await, some(&[b"second"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_not_delete_is_asked_for_nothing() {
    let server = server();
    let timeout = Duration::from_secs(20);
    let vfs = warnings::without_deletion(&server, replacing(), timeout).await;
    put(&vfs, Ino::ROOT, "f", b"first").await;
    overwrite(&vfs, "f", b"second").await;
    stored(&vfs).await;
    assert_eq!(history(&server, "f").await, some(&[b"second", b"first"]));
    assert_eq!(calls(&server, "b2_delete_file_version"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_three_refusals_nothing_more_is_asked_which_is_said() {
    warnings::listen();
    let server = server();
    retain_by_default(&server).await;
    let vfs = mount(&server, replacing()).await;
    for name in ["held1", "held2", "held3", "held4", "held5"] {
        put(&vfs, Ino::ROOT, name, b"first").await;
        overwrite(&vfs, name, b"second").await;
        stored(&vfs).await;
        assert_eq!(history(&server, name).await.len(), 2);
    }
    assert_eq!(calls(&server, "b2_delete_file_version"), 3);
    assert!(warnings::said(
        "\"held1\": the version that was replaced stays: "
    ));
    assert!(warnings::said(
        "\"held3\": the version that was replaced stays, and so do all others"
    ));
    assert!(!warnings::said("held2") && !warnings::said("held5"));
}

/// Every new version of the bucket is protected for a day.
pub(super) async fn retain_by_default(server: &Server) {
    let http = reqwest::Client::new();
    let authorized: serde_json::Value = http
        .get(format!(
            "{}/b2api/v4/b2_authorize_account",
            server.endpoint()
        ))
        .basic_auth(server.key_id(), Some(server.key()))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let bucket = client(server).await.account().bucket_id;
    let body = serde_json::json!({
        "accountId": authorized["accountId"],
        "bucketId": bucket,
        "fileLockEnabled": true,
        "defaultRetention": {
            "mode": "governance", "period": {"duration": 1, "unit": "days"},
        },
    });
    let api = authorized["apiInfo"]["storageApi"]["apiUrl"]
        .as_str()
        .unwrap();
    let answer = http
        .post(format!("{api}/b2api/v4/b2_update_bucket"))
        .header(
            "Authorization",
            authorized["authorizationToken"].as_str().unwrap(),
        )
        .json(&body)
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    assert_eq!(
        client(server).await.retains_by_default().await.unwrap(),
        Some(true)
    );
}
