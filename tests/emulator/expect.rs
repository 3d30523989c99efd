//! `Expect: 100-continue`: a body is asked for once the token is known to be good (API §5.2).

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::api::{Caller, start};

/// Sends the head of an upload of three bytes, and the body when it is asked for; the first line of each answer.
fn upload(url: &str, token: &str) -> Vec<String> {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!(
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\nX-Bz-File-Name: a\r\n\
         Content-Type: text/plain\r\nX-Bz-Content-Sha1: do_not_verify\r\nContent-Length: 3\r\n\
         Expect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    let mut all = String::from_utf8(first.to_vec()).unwrap();
    if all.ends_with("100") {
        stream.write_all(b"abc").unwrap();
    }
    stream.read_to_string(&mut all).unwrap();
    let lines = all.lines().filter(|line| line.starts_with("HTTP/1.1 "));
    lines
        .map(|line| line["HTTP/1.1 ".len()..][..3].to_owned())
        .collect()
}

async fn try_upload(f: &Caller, token: Option<&str>) -> Vec<String> {
    let (url, good) = f.upload_url().await;
    let token = token.map_or(good, str::to_owned);
    tokio::task::spawn_blocking(move || upload(&url, &token))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_asked_for_with_a_good_token_only() {
    let f = start().await;
    assert_eq!(try_upload(&f, None).await, ["100", "200"]);
    assert_eq!(try_upload(&f, Some("wrong")).await, ["401"]);
}
