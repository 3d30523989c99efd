//! Servers that lie: listings without an end, more than was asked for, answers that swell, bodies that creep.

use std::time::Duration;

use b2fuse::b2::{Client, Error, ErrorKind, ListNames, ListVersions};

use crate::scripted::{Scripted, answer, read, upload};

/// All names, as a reader without any caution of its own would fetch them.
async fn all(client: &Client, prefix: &str) -> Result<usize, Error> {
    let mut request = ListNames {
        prefix: prefix.to_owned(),
        ..ListNames::default()
    };
    let mut rows = 0;
    loop {
        let page = client.list_file_names(&request).await?;
        rows += page.files.len();
        request.start = page.next;
        if request.start.is_none() {
            return Ok(rows);
        }
    }
}

async fn all_versions(client: &Client) -> Result<(), Error> {
    let mut request = ListVersions::default();
    loop {
        let page = client.list_file_versions(&request).await?;
        request.start = page.next;
        if request.start.is_none() {
            return Ok(());
        }
    }
}

async fn lying(page: impl Fn(usize) -> String + Send + Sync + 'static) -> Client {
    let server = Scripted::start(move |asked| {
        let list = asked.path.contains("b2_list_file") || asked.path.contains("unfinished");
        list.then(|| answer(200, &page(asked.before)))
    })
    .await;
    server.client().await.expect("connects")
}

#[tokio::test]
async fn listings_without_an_end_are_refused() {
    type Page = fn(usize) -> String;
    let pages: [(&str, Page); 5] = [
        ("in circles", |_| {
            r#"{"files":[{"fileName":"d/a","action":"upload","fileId":"1"}],"nextFileName":"d/a"}"#
                .to_owned()
        }),
        ("in circles", |n| {
            let next = ["d/b", "d/c", "d/b"][n % 3];
            format!(r#"{{"files":[],"nextFileName":"{next}"}}"#)
        }),
        ("empty pages", |n| {
            format!(r#"{{"files":[],"nextFileName":"d/{n:09}"}}"#)
        }),
        ("leaves", |_| {
            r#"{"files":[],"nextFileName":"e"}"#.to_owned()
        }),
        ("begin with", |_| {
            r#"{"files":[{"fileName":"e","action":"upload","fileId":"1"}],"nextFileName":null}"#
                .to_owned()
        }),
    ];
    for (why, page) in pages {
        let client = lying(page).await;
        let error = all(&client, "d/").await.expect_err(why);
        assert_eq!(error.kind, ErrorKind::Protocol, "{error}");
        assert!(error.detail.contains(why), "{error}");
    }
}

#[tokio::test]
async fn ids_in_circles_are_refused() {
    let circle = |n: usize| {
        let id = ["1", "2", "3"][n % 3];
        format!(
            r#"{{"files":[{{"fileName":"a","action":"upload","fileId":"{id}"}}],"nextFileName":"a","nextFileId":"{id}"}}"#
        )
    };
    let client = lying(circle).await;
    let error = all_versions(&client).await.expect_err("a circle");
    assert!(error.detail.contains("circles"), "{error}");
    let client = lying(circle).await;
    let error = client.list_unfinished_large_files("").await;
    assert!(error.expect_err("a circle").detail.contains("circles"));
}

#[tokio::test]
async fn more_rows_than_were_asked_for_are_refused() {
    let rows = |count: usize| {
        let rows = vec![r#"{"fileName":"a","action":"upload","fileId":"1"}"#; count].join(",");
        format!(r#"{{"files":[{rows}],"nextFileName":null}}"#)
    };
    let client = lying(move |_| rows(11)).await;
    let request = ListNames {
        max: 10,
        ..ListNames::default()
    };
    let error = client.list_file_names(&request).await.expect_err("eleven");
    assert_eq!(error.kind, ErrorKind::Protocol, "{error}");
    let client = lying(move |_| rows(10)).await;
    client.list_file_names(&request).await.expect("ten");
}

#[tokio::test]
async fn an_answer_that_swells_is_not_read_to_its_end() {
    let tiny = format!(
        r#"{{"files":[{}{{}}],"nextFileName":null}}"#,
        "{},".repeat(3_000_000)
    );
    let client = lying(move |_| tiny.clone()).await;
    let error = client.list_file_names(&ListNames::default()).await;
    assert_eq!(error.expect_err("too much").kind, ErrorKind::Unavailable);
    let spaces = format!(r#"{{"files":[]{}}}"#, " ".repeat(32 << 20));
    let client = lying(move |_| spaces.clone()).await;
    let error = client.list_file_names(&ListNames::default()).await;
    assert_eq!(error.expect_err("too much").kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_upload_under_another_name_is_no_success() {
    let server = Scripted::start(|asked| {
        let body = r#"{"fileName":"m","contentLength":5,"contentSha1":"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"}"#;
        (asked.path == "/pod").then(|| answer(200, body))
    })
    .await;
    let client = server.client().await.expect("connects");
    let error = upload(&client).await.expect_err("another name");
    assert_eq!((error.kind, error.attempts), (ErrorKind::Corrupt, 1));
    // Something may have been stored.
    assert!(error.lost.is_some());
}

#[tokio::test]
async fn a_body_that_creeps_is_asked_for_again() {
    let server = Scripted::start(|asked| {
        asked.path.contains("download_file").then(|| {
            format!(
                "HTTP/1.1 206 x\r\nX-Creep: 1\r\nContent-Range: bytes 0-99999/100000\r\n\
                 Content-Length: 100000\r\n\r\n{}",
                "x".repeat(10_000)
            )
        })
    })
    .await;
    let client = server.client().await.expect("connects");
    let read = read(&client, 0..100_000);
    let read = tokio::time::timeout(Duration::from_secs(60), read).await;
    // The second answer begins at the first byte again, which nobody has asked for.
    let error = read.expect("an end").expect_err("another range");
    assert_eq!(
        (error.kind, error.attempts),
        (ErrorKind::Protocol, 2),
        "{error}"
    );
}
