//! Order, folding, paging of names and versions (API §4).

use serde_json::{Value, json};

use crate::api::{start, start_with, wanted};
use b2fuse::emulator::{Options, Seed};

#[tokio::test]
async fn names_come_in_the_order_of_their_bytes() {
    let f = start().await;
    let names = [
        "B",
        "a",
        "a-b",
        "a.txt",
        "a/b",
        "a0",
        "b",
        "ä",
        "\u{ffee}",
        "\u{1f600}",
    ];
    let mut shuffled = names;
    shuffled.reverse();
    f.upload_all(&shuffled).await;
    let rows: Vec<_> = names.map(|name| ("upload", name)).to_vec();
    assert_eq!(f.names(json!({})).await, (wanted(&rows), Value::Null));
}

#[tokio::test]
async fn a_delimiter_folds_what_lies_deeper() {
    let f = start().await;
    f.upload_all(&[
        "photos/cats/1",
        "photos/cats/2",
        "photos/dog.jpg",
        "photos2/x",
        "photos.txt",
    ])
    .await;
    let top = f.names(json!({"delimiter": "/"})).await.0;
    assert_eq!(
        top,
        wanted(&[
            ("upload", "photos.txt"),
            ("folder", "photos/"),
            ("folder", "photos2/")
        ])
    );
    let inside = f
        .names(json!({"delimiter": "/", "prefix": "photos/"}))
        .await
        .0;
    assert_eq!(
        inside,
        wanted(&[("folder", "photos/cats/"), ("upload", "photos/dog.jpg")])
    );
    let stem = f
        .names(json!({"delimiter": "/", "prefix": "photos"}))
        .await
        .0;
    assert_eq!(
        stem,
        wanted(&[
            ("upload", "photos.txt"),
            ("folder", "photos/"),
            ("folder", "photos2/")
        ])
    );
}

#[tokio::test]
async fn a_folder_row_has_only_nulls() {
    let f = start().await;
    f.upload("d/x", b"x").await;
    let page = f
        .ok(
            "b2_list_file_names",
            json!({"bucketId": f.bucket, "delimiter": "/"}),
        )
        .await;
    let row = json!({
        "accountId": f.account_id, "action": "folder", "bucketId": f.bucket, "contentLength": 0,
        "contentMd5": null, "contentSha1": null, "contentType": null, "fileId": null, "fileInfo": {},
        "fileName": "d/", "uploadTimestamp": 0,
    });
    assert_eq!(page["files"], json!([row]));
}

#[tokio::test]
async fn an_object_named_like_a_folder_shows_inside_only() {
    let f = start().await;
    f.upload_all(&["d/", "d/x"]).await;
    assert_eq!(
        f.names(json!({"delimiter": "/"})).await.0,
        wanted(&[("folder", "d/")])
    );
    let inside = f.names(json!({"delimiter": "/", "prefix": "d/"})).await.0;
    assert_eq!(inside, wanted(&[("upload", "d/"), ("upload", "d/x")]));
}

#[tokio::test]
async fn the_start_name_is_inclusive_and_need_not_exist() {
    let f = start().await;
    f.upload_all(&["a", "c", "e"]).await;
    assert_eq!(
        f.names(json!({"startFileName": "c"})).await.0,
        wanted(&[("upload", "c"), ("upload", "e")])
    );
    assert_eq!(
        f.names(json!({"startFileName": "b"})).await.0,
        wanted(&[("upload", "c"), ("upload", "e")])
    );
    assert_eq!(
        f.names(json!({"startFileName": "f"})).await,
        (vec![], Value::Null)
    );
    let before = f
        .names(json!({"startFileName": "a", "prefix": "c"}))
        .await
        .0;
    assert_eq!(before, wanted(&[("upload", "c")]));
}

#[tokio::test]
async fn pages_join_without_gap_or_repeat() {
    let f = start().await;
    f.upload_all(&["a", "d/1", "d/2", "d/3", "e", "f/1", "g"])
        .await;
    for odd in [false, true] {
        f.server
            .set_faults(if odd { &["odd-next"] } else { &[] })
            .unwrap();
        for max in 1..=6 {
            let mut all = Vec::new();
            let mut start = json!("");
            while !start.is_null() {
                let query = json!({"delimiter": "/", "maxFileCount": max, "startFileName": start});
                let (rows, next) = f.names(query).await;
                assert!(rows.len() == max || next.is_null());
                all.extend(rows);
                start = next;
            }
            let rows = [
                ("upload", "a"),
                ("folder", "d/"),
                ("upload", "e"),
                ("folder", "f/"),
                ("upload", "g"),
            ];
            assert_eq!(all, wanted(&rows), "{max} a page");
        }
    }
}

#[tokio::test]
async fn a_page_has_100_rows_unless_asked_and_10000_at_most() {
    let f = start().await;
    let seeds: Vec<_> = (0..150)
        .map(|i| Seed {
            name: format!("{i:03}"),
            ..Seed::default()
        })
        .collect();
    f.server.seed(&f.bucket_name, &seeds).unwrap();
    for query in [json!({}), json!({"maxFileCount": 0})] {
        let (rows, next) = f.names(query).await;
        assert_eq!((rows.len(), next), (100, json!("100")));
    }
    assert_eq!(f.names(json!({"maxFileCount": 10_000})).await.0.len(), 150);
    for call in ["b2_list_file_names", "b2_list_file_versions"] {
        let body = json!({"bucketId": f.bucket, "maxFileCount": 10_001});
        f.call(call, body).await.is_error(400, "out_of_range");
    }
}

#[tokio::test]
async fn a_delimiter_is_one_character() {
    let f = start().await;
    f.upload_all(&["aäb"]).await;
    for delimiter in ["", "//"] {
        let body = json!({"bucketId": f.bucket, "delimiter": delimiter});
        f.call("b2_list_file_names", body)
            .await
            .is_error(400, "bad_request");
    }
    assert_eq!(
        f.names(json!({"delimiter": "ä"})).await.0,
        wanted(&[("folder", "aä")])
    );
}

#[tokio::test]
async fn hidden_names_and_folders_of_them_are_not_listed_but_their_versions_are() {
    let f = start().await;
    f.upload_all(&["d/x", "y", "z"]).await;
    for name in ["d/x", "y"] {
        f.ok(
            "b2_hide_file",
            json!({"bucketId": f.bucket, "fileName": name}),
        )
        .await;
    }
    assert_eq!(
        f.names(json!({"delimiter": "/"})).await.0,
        wanted(&[("upload", "z")])
    );
    let versions = f.versions(json!({"delimiter": "/"})).await;
    assert_eq!(
        versions,
        wanted(&[
            ("folder", "d/"),
            ("hide", "y"),
            ("upload", "y"),
            ("upload", "z")
        ])
    );
}

#[tokio::test]
async fn versions_come_newest_first_and_page_by_name_and_id() {
    let f = start().await;
    for content in ["1", "2", "3"] {
        f.upload("a", content.as_bytes()).await;
    }
    f.upload("b", b"x").await;
    let all = f
        .ok("b2_list_file_versions", json!({"bucketId": f.bucket}))
        .await;
    let stamps: Vec<_> = (0..3)
        .map(|i| all["files"][i]["uploadTimestamp"].as_u64().unwrap())
        .collect();
    assert!(stamps[0] > stamps[1] && stamps[1] > stamps[2], "{stamps:?}");
    let mut ids = Vec::new();
    let (mut name, mut id) = (json!(null), json!(null));
    loop {
        let body = json!({"bucketId": f.bucket, "maxFileCount": 1, "startFileId": id, "startFileName": name});
        let page = f.ok("b2_list_file_versions", body).await;
        ids.push(page["files"][0]["fileId"].clone());
        (name, id) = (page["nextFileName"].clone(), page["nextFileId"].clone());
        if name.is_null() {
            assert!(id.is_null());
            break;
        }
    }
    let wanted: Vec<_> = (0..4).map(|i| all["files"][i]["fileId"].clone()).collect();
    assert_eq!(ids, wanted);
    let alone = json!({"bucketId": f.bucket, "startFileId": wanted[1]});
    f.call("b2_list_file_versions", alone)
        .await
        .is_error(400, "bad_request");
}

#[tokio::test]
async fn an_unfinished_large_file_is_a_version_but_no_name() {
    let f = start().await;
    f.upload("a", b"small").await;
    f.start_large("a").await;
    f.start_large("b").await;
    assert_eq!(f.names(json!({})).await.0, wanted(&[("upload", "a")]));
    let versions = f.versions(json!({})).await;
    assert_eq!(
        versions,
        wanted(&[("start", "a"), ("upload", "a"), ("start", "b")])
    );
    assert_eq!(f.get("a").await.body, b"small");
}

#[tokio::test]
async fn a_huge_folder_is_one_row() {
    let f = start_with(Options::default()).await;
    let seeds: Vec<_> = (0..100_000)
        .map(|i| Seed {
            name: format!("huge/{i:06}"),
            ..Seed::default()
        })
        .collect();
    f.server.seed(&f.bucket_name, &seeds).unwrap();
    f.upload_all(&["a", "z"]).await;
    let rows = f.names(json!({"delimiter": "/"})).await.0;
    assert_eq!(
        rows,
        wanted(&[("upload", "a"), ("folder", "huge/"), ("upload", "z")])
    );
}

#[tokio::test]
async fn a_walk_over_ten_thousand_directories_is_ten_pages() {
    let f = start().await;
    let name = |i: u32| format!("{:02}/{:02}/{}", i / 1000, i / 10 % 100, i % 10);
    let seeds: Vec<_> = (0..100_000)
        .map(|i| Seed {
            name: name(i),
            size: 4096,
            ..Seed::default()
        })
        .collect();
    f.server.seed(&f.bucket_name, &seeds).unwrap();
    let mut start = json!("");
    for page in 0..10 {
        let query = json!({"maxFileCount": 10_000, "startFileName": start});
        let (rows, next) = f.names(query).await;
        let all: Vec<_> = (page * 10_000..).take(10_000).map(name).collect();
        let rows_wanted: Vec<_> = all.iter().map(|name| ("upload", name.as_str())).collect();
        assert_eq!(rows, wanted(&rows_wanted));
        start = next;
    }
    assert!(start.is_null());
    let (folders, next) = f
        .names(json!({"maxFileCount": 1000, "delimiter": "/", "prefix": "50/"}))
        .await;
    assert_eq!((folders.len(), next), (100, Value::Null));
}
