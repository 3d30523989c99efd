//! The client against a server that says exactly what a test wants: answers that neither B2 nor
//! the emulator gives, or gives only once in a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use b2fuse::b2::{
    Client, Error, ErrorKind, FileId, FileInfo, FileName, FileVersion, ListNames, NamesPage,
    NewFile, Options, Payload, Secret,
};

/// A request as the script sees it: `GET /path?query` and the number of such paths before it.
pub(crate) struct Asked<'a> {
    pub(crate) path: &'a str,
    pub(crate) before: usize,
    address: SocketAddr,
}

type Script = dyn Fn(&Asked<'_>) -> Option<String> + Send + Sync;

/// Answers by the script, and where that has nothing to say as a well-behaved B2 would.
pub(crate) struct Scripted {
    address: SocketAddr,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub(crate) async fn start(
        script: impl Fn(&Asked<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let paths = Arc::new(Mutex::new(Vec::new()));
        let (script, seen): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&paths));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(
                    stream,
                    address,
                    Arc::clone(&script),
                    Arc::clone(&seen),
                ));
            }
        });
        Self { address, paths }
    }

    pub(crate) async fn client(&self) -> Result<Client, Error> {
        Client::connect(Options {
            endpoint: format!("http://{}", self.address),
            key_id: "id".to_owned(),
            key: Secret::new("key"),
            bucket_id: None,
            bucket_name: None,
            timeout: Duration::from_secs(3),
            uploads: 2,
            downloads: 2,
            ..Options::default()
        })
        .await
    }

    fn count(&self, part: &str) -> usize {
        count(&self.paths, part)
    }
}

fn count(paths: &Mutex<Vec<String>>, part: &str) -> usize {
    let paths = paths.lock();
    paths.iter().filter(|path| path.contains(part)).count()
}

async fn serve(
    mut stream: TcpStream,
    address: SocketAddr,
    script: Arc<Script>,
    paths: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let mut input = Vec::new();
    let head = loop {
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&input[..head]).to_lowercase();
    let length = text
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next()?.parse().ok())
        .unwrap_or(0);
    while input.len() < head + length {
        stream.read_buf(&mut input).await?;
    }
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let before = count(&paths, &path);
    paths.lock().push(path.clone());
    let asked = Asked {
        path: &path,
        before,
        address,
    };
    let answer = script(&asked).unwrap_or_else(|| usual(&asked));
    if let Some((head, body)) = answer
        .split_once("\r\n\r\n")
        .filter(|_| answer.contains(CREEP))
    {
        stream
            .write_all(format!("{head}\r\n\r\n").as_bytes())
            .await?;
        for byte in body.bytes() {
            stream.write_all(&[byte]).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    stream.write_all(answer.as_bytes()).await?;
    if answer.contains(HOLD) {
        std::future::pending::<()>().await;
    }
    stream.shutdown().await
}

/// A header in an answer whose body comes byte by byte.
const CREEP: &str = "X-Creep: 1\r\n";

/// A header in an answer after which the connection stays open and silent.
const HOLD: &str = "X-Hold: 1\r\n";

pub(crate) fn answer(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn error(status: u16, code: &str) -> String {
    answer(
        status,
        &format!(r#"{{"code":"{code}","message":"m","status":{status}}}"#),
    )
}

fn authorized(api: &str, download: &str) -> String {
    answer(
        200,
        &format!(
            r#"{{"accountId":"a","authorizationToken":"t","apiInfo":{{"storageApi":{{
            "apiUrl":"{api}","downloadUrl":"{download}","allowed":{{"capabilities":["listFiles"],
            "buckets":[{{"id":"b","name":"bucket"}}],"namePrefix":null}}}}}}}}"#
        ),
    )
}

const HELLO: &str = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";

fn usual(asked: &Asked<'_>) -> String {
    let here = format!("http://{}", asked.address);
    if asked.path.ends_with("b2_authorize_account") {
        authorized(&here, &here)
    } else if asked.path.ends_with("b2_get_upload_url") {
        let body = format!(r#"{{"uploadUrl":"{here}/pod","authorizationToken":"u"}}"#);
        answer(200, &body)
    } else if asked.path == "/pod" {
        let body = format!(
            r#"{{"action":"upload","fileId":"f","fileName":"n","contentLength":5,"contentSha1":"{HELLO}"}}"#
        );
        answer(200, &body)
    } else {
        answer(200, r#"{"files":[],"nextFileName":null}"#)
    }
}

async fn list(client: &Client) -> Result<NamesPage, Error> {
    client.list_file_names(&ListNames::default()).await
}

pub(crate) async fn upload(client: &Client) -> Result<FileVersion, Error> {
    let file = NewFile {
        name: FileName::new("n").expect("a name"),
        content_type: "b2/x-auto".to_owned(),
        info: FileInfo::new(),
    };
    let payload = Payload::from(Bytes::from_static(b"hello"));
    client.upload_file(&file, payload).await
}

pub(crate) async fn read(client: &Client, range: std::ops::Range<u64>) -> Result<Vec<u8>, Error> {
    let mut download = client.download(&FileId::new("f"), range).await?;
    let mut all = Vec::new();
    while let Some(chunk) = download.chunk().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

#[tokio::test]
async fn the_well_behaved_server_is_enough() {
    let server = Scripted::start(|_| None).await;
    let client = server.client().await.expect("connects");
    assert_eq!(client.account().bucket_name, "bucket");
    assert_eq!(client.account().minimum_part_size, 5_000_000);
    list(&client).await.expect("lists");
    upload(&client).await.expect("uploads");
}

#[tokio::test]
async fn a_url_on_another_machine_in_plain_http_is_refused() {
    let api = "http://192.0.2.1:1";
    let server = Scripted::start(move |asked| {
        let here = format!("http://{}", asked.address);
        asked
            .path
            .ends_with("authorize_account")
            .then(|| authorized(api, &here))
    })
    .await;
    let error = server.client().await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Protocol);
    assert!(error.detail.contains("192.0.2.1"), "{error}");

    let server = Scripted::start(|asked| {
        asked.path.ends_with("upload_url").then(|| {
            let body = r#"{"uploadUrl":"http://192.0.2.1/secret","authorizationToken":"u"}"#;
            answer(200, body)
        })
    })
    .await;
    let client = server.client().await.expect("connects");
    let error = upload(&client).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Protocol);
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = Scripted::start(|asked| {
        asked.path.ends_with("names").then(|| {
            "HTTP/1.1 302 x\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".to_owned()
        })
    })
    .await;
    let client = server.client().await.expect("connects");
    let error = list(&client).await.expect_err("redirected");
    assert_eq!((error.kind, error.status), (ErrorKind::Protocol, 302));
    assert_eq!(server.count("elsewhere"), 0);
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_asked_for_again() {
    for nonsense in [
        answer(200, "<html>welcome</html>"),
        answer(200, ""),
        "HTTP/1.1 200 x\r\nContent-Length: 99\r\n\r\n{".to_owned(),
        "nonsense".to_owned(),
        String::new(),
        answer(503, &"x".repeat(1 << 20)),
    ] {
        let server = Scripted::start(move |asked| {
            (asked.path.ends_with("names") && asked.before == 0).then(|| nonsense.clone())
        })
        .await;
        let client = server.client().await.expect("connects");
        list(&client).await.expect("the second answer");
        assert_eq!(client.counters().retries, 1);
    }
}

#[tokio::test]
async fn urls_are_read_anew_when_the_token_is_renewed() {
    let server = Scripted::start(|asked| {
        let here = format!("http://{}", asked.address);
        if asked.path.ends_with("authorize_account") {
            let api = format!("{here}/{}", asked.before);
            Some(authorized(&api, &api))
        } else {
            asked
                .path
                .starts_with("/0/")
                .then(|| error(401, "expired_auth_token"))
        }
    })
    .await;
    let client = server.client().await.expect("connects");
    list(&client).await.expect("lists");
    assert_eq!(server.count("/1/b2api/v4/b2_list_file_names"), 1);
    assert_eq!(client.account().bucket_id, "b");
}

#[tokio::test]
async fn a_key_that_dies_is_shown_to_b2_once_for_all_calls() {
    let server = Scripted::start(|asked| {
        if asked.path.ends_with("authorize_account") {
            (asked.before > 0).then(|| error(401, "bad_auth_token"))
        } else {
            Some(error(401, "expired_auth_token"))
        }
    })
    .await;
    let client = server.client().await.expect("connects");
    let calls = futures_util::future::join_all((0..50).map(|_| list(&client))).await;
    for outcome in calls {
        assert_eq!(outcome.expect_err("dead").kind, ErrorKind::BadCredentials);
    }
    assert_eq!(server.count("authorize_account"), 2);
}

#[tokio::test]
async fn a_range_over_the_whole_file_may_come_without_a_content_range() {
    let server = Scripted::start(|asked| {
        asked
            .path
            .contains("download_file")
            .then(|| answer(200, "hello"))
    })
    .await;
    let client = server.client().await.expect("connects");
    assert_eq!(read(&client, 0..5).await.expect("reads"), b"hello");
    let error = read(&client, 1..5).await.expect_err("the whole file");
    assert_eq!((error.kind, error.attempts), (ErrorKind::Protocol, 1));
}

#[tokio::test]
async fn more_than_was_asked_for_is_never_handed_out() {
    let server = Scripted::start(|asked| {
        asked.path.contains("download_file").then(|| {
            "HTTP/1.1 206 x\r\nContent-Range: bytes 1-3/99\r\nConnection: close\r\n\r\nello, world"
                .to_owned()
        })
    })
    .await;
    let client = server.client().await.expect("connects");
    assert_eq!(read(&client, 1..4).await.expect("reads"), b"ell");
    let error = read(&client, 2..4).await.expect_err("another range");
    assert_eq!(error.kind, ErrorKind::Protocol);
}

#[tokio::test]
async fn a_download_without_a_byte_ends_after_bounded_tries() {
    let server = Scripted::start(|asked| {
        asked.path.contains("download_file").then(|| {
            "HTTP/1.1 206 x\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\n".to_owned()
        })
    })
    .await;
    let client = server.client().await.expect("connects");
    let error = read(&client, 0..5).await.expect_err("nothing comes");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!((2..=30).contains(&error.attempts), "{error}");
}

#[tokio::test]
async fn a_download_that_stands_still_goes_on_elsewhere() {
    let server = Scripted::start(|asked| {
        let (range, body, hold) = match asked.before {
            0 => ("0-4", "he", HOLD),
            _ => ("2-4", "llo", ""),
        };
        asked.path.contains("download_file").then(|| {
            let length = if asked.before == 0 { 5 } else { 3 };
            format!(
                "HTTP/1.1 206 x\r\nContent-Range: bytes {range}/5\r\n{hold}Connection: close\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            )
        })
    })
    .await;
    let client = server.client().await.expect("connects");
    assert_eq!(read(&client, 0..5).await.expect("reads"), b"hello");
    assert_eq!(client.counters().retries, 1);
    assert_eq!(client.counters().bytes_down, 5);
}

#[tokio::test]
async fn what_changes_nothing_is_asked_again_where_a_connection_is_silent() {
    let server = Scripted::start(|asked| {
        let silent = asked.before == 0 && asked.path != "/pod";
        silent.then(|| format!("HTTP/1.1 200 x\r\n{HOLD}"))
    })
    .await;
    let client = server.client().await.expect("connects");
    list(&client).await.expect("listed");
    assert_eq!(server.count("b2_authorize_account"), 2);
    assert_eq!(server.count("b2_list_file_names"), 2);
    upload(&client).await.expect("stored");
    assert_eq!(server.count("b2_get_upload_url"), 2);
    assert_eq!(server.count("/pod"), 1);
    assert_eq!(client.counters().retries, 0, "no call has failed");
}

#[tokio::test]
async fn a_slowed_upload_keeps_its_url_and_a_busy_one_loses_it() {
    for (status, code, urls) in [(429, "too_many_requests", 1), (400, "auth_token_limit", 2)] {
        let server = Scripted::start(move |asked| {
            (asked.path == "/pod" && asked.before == 0).then(|| error(status, code))
        })
        .await;
        let client = server.client().await.expect("connects");
        upload(&client).await.expect("uploads");
        upload(&client).await.expect("uploads");
        assert_eq!(server.count("b2_get_upload_url"), urls, "{code}");
    }
}

#[tokio::test]
async fn another_hash_than_ours_is_corruption() {
    let server = Scripted::start(|asked| {
        (asked.path == "/pod").then(|| {
            let zeros = "0".repeat(40);
            let body = format!(r#"{{"fileName":"n","contentLength":5,"contentSha1":"{zeros}"}}"#);
            answer(200, &body)
        })
    })
    .await;
    let client = server.client().await.expect("connects");
    let error = upload(&client).await.expect_err("not ours");
    assert_eq!((error.kind, error.attempts), (ErrorKind::Corrupt, 1));

    let server = Scripted::start(|asked| {
        let body = r#"{"code":"bad_request","message":"Sha1 did not match data received"}"#;
        (asked.path == "/pod").then(|| answer(400, body))
    })
    .await;
    let client = server.client().await.expect("connects");
    let error = upload(&client).await.expect_err("not ours");
    assert_eq!((error.kind, error.attempts), (ErrorKind::Corrupt, 3));
}

#[tokio::test]
async fn what_b2_says_is_told_without_its_token_and_without_control_characters() {
    let server = Scripted::start(|asked| {
        let body = r#"{"code":"auth_token_limit","message":"more than one upload using auth token 4_0022623512fc8f80000000001_0186e431_d18d02_acct_secret\u001b[2J","status":400}"#;
        (asked.path == "/pod").then(|| answer(400, body))
    })
    .await;
    let client = server.client().await.expect("connects");
    let error = upload(&client).await.expect_err("refused").to_string();
    assert!(!error.contains("secret"), "{error}");
    assert!(error.contains("auth token"), "{error}");
    assert!(!error.chars().any(char::is_control), "{error:?}");
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_told_at_once() {
    let error = Client::connect(Options {
        endpoint: "https://nowhere.invalid".to_owned(),
        key_id: "id".to_owned(),
        key: Secret::new("key"),
        bucket_id: None,
        bucket_name: None,
        timeout: Duration::from_secs(3600),
        uploads: 2,
        downloads: 2,
        ..Options::default()
    });
    let error = tokio::time::timeout(Duration::from_secs(300), error).await;
    // A machine without a resolver cannot know that the name does not exist.
    if let Ok(outcome) = error {
        let error = outcome.expect_err("no such host");
        assert_eq!(error.attempts, 1, "{error}");
        assert!(error.detail.contains("endpoint"), "{error}");
    }
}

#[tokio::test]
async fn neither_tokens_nor_keys_are_shown() {
    let server = Scripted::start(|asked| {
        asked
            .path
            .contains("download_file")
            .then(|| "cut".to_owned())
    })
    .await;
    let client = server.client().await.expect("connects");
    assert!(!format!("{client:?}").contains("key\""), "{client:?}");
    let error = read(&client, 0..5).await.expect_err("cut");
    assert!(!format!("{error:?}").contains("fileId="), "{error:?}");
    assert!(!error.detail.contains("http://"), "{error}");
}
