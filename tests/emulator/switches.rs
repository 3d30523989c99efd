//! Switches that make the emulator as awkward as B2 may be.

use serde_json::{Value, json};

use crate::api::{Answer, start};

#[tokio::test]
async fn a_folder_row_may_come_again_on_the_next_page() {
    let f = start().await;
    f.upload_all(&["a", "d/1", "d/2", "d/3", "d/4", "e"]).await;
    f.server.set_faults(&["split-folders=2"]).unwrap();
    let mut pages = Vec::new();
    let mut start = json!("");
    while !start.is_null() {
        let query = json!({"delimiter": "/", "startFileName": start});
        let (rows, next) = f.names(query).await;
        pages.push(rows.len());
        start = next;
        if pages.len() == 1 {
            assert_eq!(start, "d/2 ");
        }
    }
    // `a`, `d/`; and `d/` again, `e`.
    assert_eq!(pages, [2, 2]);
}

#[tokio::test]
async fn a_strict_upload_url_is_dead_after_any_failure_but_429() {
    let f = start().await;
    for (fault, then) in [
        ("429", 200),
        ("503", 400),
        ("408", 400),
        ("lost-reply", 400),
    ] {
        f.server
            .set_faults(&["strict-urls", &format!("upload:{fault}:1")])
            .unwrap();
        let (url, token) = f.upload_url().await;
        let upload = || {
            f.http
                .post(url.clone())
                .header("authorization", token.clone())
                .header("x-bz-file-name", "a")
                .header("content-type", "text/plain")
                .header("x-bz-content-sha1", "do_not_verify")
                .body("hello")
        };
        let _ = upload().send().await;
        let answer = Answer::of(upload()).await.unwrap();
        assert_eq!(answer.status, then, "{fault}");
    }
}

#[tokio::test]
async fn a_bad_name_in_a_json_call_may_be_bad_json() {
    let f = start().await;
    let file = f.upload("a", b"hello").await;
    f.server.set_faults(&["json-names", "old-names"]).unwrap();
    for name in ["x".repeat(251), "a\u{7}".to_owned()] {
        let request = json!({"sourceFileId": file["fileId"], "fileName": name});
        let answer = f.call("b2_copy_file", request).await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, &body["code"]), (400, &json!("bad_json")));
    }
}
