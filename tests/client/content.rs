//! Content and names on a server that does nothing wrong.

use std::time::Duration;

use b2fuse::b2::{
    Action, Client, ContentSha1, CopyMetadata, ErrorKind, FileId, FileInfo, ListNames,
    ListVersions, Payload,
};
use b2fuse::emulator::{self, Server};

use crate::{connect, copy, file, get, id, name, options, pattern, put, server, sha1, versions};

#[tokio::test]
async fn bytes_come_back_as_they_went() {
    let server = server();
    let client = connect(&server).await;
    // Around the limit between a hash ahead and a hash at the end.
    for len in [0, 1, 1 << 20, (1 << 20) + 1, 3_000_001] {
        let bytes = pattern(len);
        let version = put(&client, &format!("of {len}"), &bytes).await;
        assert_eq!(version.action, Action::Upload);
        assert_eq!(version.size, len as u64);
        assert_eq!(version.sha1, ContentSha1::Verified(sha1(&bytes)));
        assert_eq!(get(&client, &id(&version), 0..len as u64).await, bytes);
    }
}

#[tokio::test]
async fn pieces_are_sent_in_order() {
    let server = server();
    let client = connect(&server).await;
    let bytes = pattern(2_500_000);
    let mut payload = Payload::default();
    for cut in [0..1, 1..1_048_577, 1_048_577..2_500_000] {
        payload.push(bytes.slice(cut));
    }
    let version = client.upload_file(&file("pieces"), payload).await;
    let version = version.expect("uploads");
    assert_eq!(get(&client, &id(&version), 0..version.size).await, bytes);
}

#[tokio::test]
async fn a_range_is_exactly_that() {
    let server = server();
    let client = connect(&server).await;
    let bytes = pattern(1_000_000);
    let version = id(&put(&client, "ranges", &bytes).await);
    for range in [0..1, 5..9, 999_999..1_000_000, 1..1_000_000, 7..7] {
        let want = &bytes[range.start as usize..range.end as usize];
        assert_eq!(
            get(&client, &version, range.clone()).await,
            want,
            "{range:?}"
        );
    }
    let error = client.download(&version, 1_000_000..1_000_001).await;
    let error = error.expect_err("beyond the end");
    assert_eq!(error.kind, ErrorKind::RangeNotSatisfiable);
}

#[tokio::test]
async fn names_and_info_come_back_as_they_went() {
    let server = server();
    let client = connect(&server).await;
    let odd = [
        "a+b c%20d",
        "ünï/自由/😀",
        "q?x=1&y#z",
        "//double/",
        "back\\slash \"quoted\" <>^`{|}[],",
        "~!$'()*;=:@._-",
    ];
    for text in odd {
        let mut wanted = file(text);
        wanted.info.insert("note".to_owned(), format!("+ {text}"));
        let payload = Payload::from(pattern(3));
        let version = client.upload_file(&wanted, payload).await.expect("uploads");
        assert_eq!(version.name.as_str(), text);
        assert!(version.has_info(&wanted.info), "{:?}", version.info);
        let info = client.get_file_info(&id(&version)).await.expect("is there");
        assert_eq!(info, version);
    }
    let request = ListNames {
        max: 1000,
        ..ListNames::default()
    };
    let page = client.list_file_names(&request).await.expect("lists");
    let mut sorted: Vec<&str> = odd.to_vec();
    sorted.sort_unstable();
    let listed: Vec<&str> = page.files.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(listed, sorted);
}

#[tokio::test]
async fn pages_follow_each_other_whatever_their_length() {
    let server = server();
    let client = connect(&server).await;
    let all: Vec<String> = (0..25).map(|n| format!("d/{n:02}")).collect();
    for text in &all {
        put(&client, text, &pattern(1)).await;
    }
    for words in [
        &[][..],
        &["list:short-page=3", "odd-next"],
        &["list:empty-page:2"],
    ] {
        server.set_faults(words).expect("words");
        let mut seen = Vec::new();
        let mut request = ListNames {
            prefix: "d/".to_owned(),
            max: 10,
            delimiter: true,
            start: None,
        };
        loop {
            let page = client.list_file_names(&request).await.expect("lists");
            seen.extend(page.files.iter().map(|row| row.name.to_string()));
            request.start = page.next;
            if request.start.is_none() {
                break;
            }
        }
        assert_eq!(seen, all, "{words:?}");
    }
}

#[tokio::test]
async fn folders_are_folded_at_the_slash() {
    let server = server();
    let client = connect(&server).await;
    for text in ["a/x", "a/y", "b"] {
        put(&client, text, &pattern(1)).await;
    }
    let request = ListNames {
        delimiter: true,
        max: 10,
        ..ListNames::default()
    };
    let page = client.list_file_names(&request).await.expect("lists");
    let rows: Vec<_> = page
        .files
        .iter()
        .map(|row| (row.name.as_str(), &row.action))
        .collect();
    assert_eq!(rows, [("a/", &Action::Folder), ("b", &Action::Upload)]);
}

#[tokio::test]
async fn hiding_and_deleting_twice_is_no_error() {
    let server = server();
    let client = connect(&server).await;
    let version = put(&client, "f", &pattern(1)).await;
    client.hide_file(&name("f")).await.expect("hides");
    client.hide_file(&name("f")).await.expect("is hidden");
    assert_eq!(versions(&client, "f").await.len(), 2);
    for _ in 0..2 {
        let gone = client.delete_file_version(&name("f"), &id(&version)).await;
        gone.expect("is gone");
    }
    let error = client.hide_file(&name("never")).await.expect_err("absent");
    assert_eq!(error.kind, ErrorKind::NotFound);
    let error = client.get_file_info(&id(&version)).await;
    assert_eq!(error.expect_err("deleted").kind, ErrorKind::NotFound);
    let error = client.download(&id(&version), 0..1).await;
    assert_eq!(error.expect_err("deleted").kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_copy_keeps_or_replaces_its_info() {
    let server = server();
    let client = connect(&server).await;
    let bytes = pattern(1000);
    let source = put(&client, "source.txt", &bytes).await;
    let kept = copy(&client, &source, "kept", &CopyMetadata::Copy).await;
    assert_eq!(kept.action, Action::Upload);
    assert_eq!(kept.info, source.info);
    assert_eq!(kept.content_type, source.content_type);
    let info = FileInfo::from([("mode".to_owned(), "100600".to_owned())]);
    let replace = CopyMetadata::Replace {
        content_type: "text/x-other".to_owned(),
        info: info.clone(),
    };
    let new = copy(&client, &source, "new", &replace).await;
    assert_eq!(new.info, info);
    assert_eq!(new.content_type.as_deref(), Some("text/x-other"));
    assert_eq!(get(&client, &id(&new), 0..1000).await, bytes);
}

#[tokio::test]
async fn a_large_file_is_made_of_sent_and_copied_parts() {
    let server = server();
    let client = connect(&server).await;
    let bytes = pattern(11_000_000);
    let base = put(&client, "base", &bytes.slice(..6_000_000)).await;
    let large = client
        .start_large_file(&file("large"))
        .await
        .expect("starts");
    assert_eq!(large.action, Action::Start);
    let large = id(&large);
    let copied = client.copy_part(&large, 1, &id(&base), 0..5_500_000).await;
    let copied = copied.expect("copies");
    assert_eq!((copied.number, copied.size), (1, 5_500_000));
    assert_eq!(copied.sha1, sha1(&bytes[..5_500_000]));
    let rest = Payload::from(bytes.slice(5_500_000..));
    let sent = client.upload_part(&large, 2, rest).await.expect("sends");
    assert_eq!(sent.sha1, sha1(&bytes[5_500_000..]));
    let whole = client
        .finish_large_file(&large, &[copied.sha1, sent.sha1])
        .await;
    let whole = whole.expect("finishes");
    assert_eq!(
        (whole.action.clone(), whole.size),
        (Action::Upload, 11_000_000)
    );
    assert_eq!(get(&client, &id(&whole), 0..whole.size).await, bytes);
}

#[tokio::test]
async fn a_cancelled_large_file_is_gone() {
    let server = server();
    let client = connect(&server).await;
    let large = client.start_large_file(&file("d/l")).await.expect("starts");
    let unfinished = client.list_unfinished_large_files("d/").await;
    assert_eq!(unfinished.expect("lists"), std::slice::from_ref(&large));
    let elsewhere = client.list_unfinished_large_files("e/").await;
    assert_eq!(elsewhere.expect("lists"), []);
    client
        .cancel_large_file(&id(&large))
        .await
        .expect("cancels");
    let unfinished = client.list_unfinished_large_files("").await;
    assert_eq!(unfinished.expect("lists"), []);
}

#[tokio::test]
async fn many_uploads_share_few_urls_and_connections() {
    let server = server();
    let client = connect(&server).await;
    let names: Vec<String> = (0..100).map(|n| format!("many/{n}")).collect();
    let bytes = pattern(100);
    futures_util::future::join_all(names.iter().map(|text| put(&client, text, &bytes))).await;
    let counters = client.counters();
    assert_eq!(counters.calls("b2_upload_file"), 100);
    assert!(counters.calls("b2_get_upload_url") <= options(&server).uploads as u64);
    assert_eq!(counters.retries, 0);
    assert_eq!(counters.bytes_up, 10_000);
}

#[tokio::test]
async fn downloads_reuse_their_connections() {
    let server = server();
    let client = connect(&server).await;
    let bytes = pattern(300_000);
    let version = id(&put(&client, "f", &bytes).await);
    get(&client, &version, 0..300_000).await;
    let before = server.counters().connections;
    for start in 0..50 {
        assert_eq!(
            get(&client, &version, start..300_000).await.len() as u64,
            300_000 - start
        );
    }
    let opened = server.counters().connections - before;
    assert!(opened < 10, "50 downloads opened {opened} connections");
}

#[tokio::test]
async fn a_dropped_download_gives_its_place_back() {
    let server = server();
    let mut options = options(&server);
    options.downloads = 1;
    let client = Client::connect(options).await.expect("connects");
    let version = id(&put(&client, "f", &pattern(3_000_000)).await);
    for _ in 0..3 {
        let mut download = client
            .download(&version, 0..3_000_000)
            .await
            .expect("starts");
        assert!(download.chunk().await.expect("goes on").is_some());
    }
    assert_eq!(get(&client, &version, 0..10).await.len(), 10);
}

#[tokio::test]
async fn counters_are_one_line_of_json() {
    let server = server();
    let client = connect(&server).await;
    put(&client, "f", &pattern(10)).await;
    let line = client.counters_json();
    assert!(!line.contains('\n'));
    let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(json["calls"]["b2_upload_file"], 1);
    assert_eq!(json["class_a"], 2);
    assert_eq!(json["bytes_up"], 10);
}

#[tokio::test]
async fn an_unknown_id_is_an_error_at_once() {
    let server = server();
    let client = connect(&server).await;
    let nowhere = FileId::new(
        "4_z0123456789abcdef01234567_f100000000000000_d20260101_m000000_c000_v0001000_t0000",
    );
    let error = client.download(&nowhere, 0..1).await.expect_err("unknown");
    assert_eq!(error.attempts, 1, "{error}");
}

#[tokio::test]
async fn a_house_full_of_idle_downloads_is_an_error_not_a_hang() {
    let server = server();
    let mut options = options(&server);
    (options.downloads, options.timeout) = (1, Duration::from_millis(300));
    let client = Client::connect(options).await.expect("connects");
    let version = id(&put(&client, "f", &pattern(10)).await);
    let idle = client.download(&version, 0..10).await.expect("starts");
    let error = client.download(&version, 0..10).await.expect_err("full");
    assert_eq!((error.kind, error.attempts), (ErrorKind::Unavailable, 0));
    drop(idle);
    assert_eq!(get(&client, &version, 0..10).await.len(), 10);
}

#[tokio::test]
async fn versions_are_paged_newest_first() {
    let server = server();
    let client = connect(&server).await;
    for len in 1..=3 {
        put(&client, "f", &pattern(len)).await;
    }
    put(&client, "g", &pattern(4)).await;
    let mut request = ListVersions {
        max: 1,
        ..ListVersions::default()
    };
    let mut sizes = Vec::new();
    loop {
        let page = client.list_file_versions(&request).await.expect("lists");
        sizes.extend(page.files.iter().map(|row| row.size));
        request.start = page.next;
        if request.start.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [3, 2, 1, 4]);
}

#[tokio::test]
async fn too_much_file_info_is_an_invalid_argument() {
    let server = server();
    let client = connect(&server).await;
    let mut wanted = file("f");
    wanted.info.insert("note".to_owned(), "x".repeat(7000));
    let error = client.upload_file(&wanted, Payload::from(pattern(1))).await;
    let error = error.expect_err("too much");
    assert_eq!(
        (error.kind, error.attempts),
        (ErrorKind::InvalidArgument, 1)
    );
    let error = client
        .start_large_file(&wanted)
        .await
        .expect_err("too much");
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_slow_line_is_no_stall() {
    let server = Server::start(emulator::Options {
        bandwidth: Some(4_000_000),
        ..emulator::Options::default()
    });
    let server = server.expect("the emulator starts");
    let mut options = options(&server);
    options.timeout = Duration::from_secs(4);
    let client = Client::connect(options).await.expect("connects");
    // Both ways take longer than a call may without progress, even where the kernel takes the
    // last 10 MB at once.
    let bytes = pattern(20_000_000);
    let version = put(&client, "f", &bytes).await;
    assert!(get(&client, &id(&version), 0..20_000_000).await == bytes);
    assert_eq!(client.counters().retries, 0);
}

#[tokio::test]
async fn a_file_with_a_hundred_info_keys_can_be_read() {
    let server = server();
    let seed = emulator::Seed {
        name: "f".to_owned(),
        size: 9,
        info: (0..105)
            .map(|n| (format!("k{n}"), "v".to_owned()))
            .collect(),
        ..emulator::Seed::default()
    };
    server.seed(server.bucket_name(), &[seed]).expect("seeds");
    let client = connect(&server).await;
    let version = &versions(&client, "f").await[0];
    assert_eq!(version.info.len(), 105);
    assert_eq!(get(&client, &id(version), 0..9).await.len(), 9);
}
