//! A server that answers every call as it is told, once a client has authorized: what the fuzz targets have in common.

mod rows;

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use b2fuse::b2::{Client, Error, Options, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

pub use rows::Rows;

/// What the server says.
#[derive(Clone)]
enum Answer {
    /// These bytes, from the status line on.
    Bytes(Vec<u8>),
    /// What a bucket with these rows would say.
    Bucket(Rows),
}

/// A client whose server answers as it is told.
struct Rig {
    runtime: Runtime,
    client: Client,
    answer: Arc<Mutex<Answer>>,
}

static RIG: LazyLock<Rig> = LazyLock::new(Rig::start);

/// Has the client do something while each answer is these bytes, from the status line on.
pub fn answered<F>(answer: Vec<u8>, work: impl FnOnce(Client) -> F)
where
    F: Future<Output = ()>,
{
    RIG.work(Answer::Bytes(answer), work);
}

/// Has the client do something with a bucket that holds these rows.
pub fn listed<F>(rows: Rows, work: impl FnOnce(Client) -> F)
where
    F: Future<Output = ()>,
{
    RIG.work(Answer::Bucket(rows), work);
}

/// A whole answer with this body.
pub fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A message is a line that steers no terminal, and not endless, whatever the answer held.
pub fn check_message(error: &Error) {
    let text = error.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.len() < 20_000, "{} bytes", text.len());
}

impl Rig {
    fn work<F: Future<Output = ()>>(&self, answer: Answer, work: impl FnOnce(Client) -> F) {
        *self.answer.lock().expect("no panic") = answer;
        self.runtime.block_on(work(self.client.clone()));
    }

    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let answer = Arc::new(Mutex::new(Answer::Bytes(Vec::new())));
        let shared = Arc::clone(&answer);
        let client = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let here = format!("http://{}", listener.local_addr().expect("an address"));
            let api = here.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let answer = Arc::clone(&shared);
                    let api = api.clone();
                    // How a connection ends is the client's business.
                    tokio::spawn(async move { serve(stream, &api, &answer).await.ok() });
                }
            });
            Client::connect(Options {
                endpoint: here,
                key_id: "id".to_owned(),
                key: Secret::new("key"),
                // What is refused is not tried again for long.
                timeout: Duration::from_millis(50),
                ..Options::default()
            })
            .await
            .expect("connects")
        });
        Self {
            runtime,
            client,
            answer,
        }
    }
}

async fn serve(mut stream: TcpStream, api: &str, answer: &Mutex<Answer>) -> std::io::Result<()> {
    let mut input = Vec::new();
    loop {
        let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else {
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&input[..end]).to_ascii_lowercase();
        if head.contains("/b2_authorize_account ") {
            let body = format!(
                r#"{{"accountId":"a","authorizationToken":"t","apiInfo":{{"storageApi":{{
                "apiUrl":"{api}","downloadUrl":"{api}","allowed":{{"capabilities":["listFiles","readFiles"],
                "buckets":[{{"id":"b","name":"bucket"}}],"namePrefix":null}}}}}}}}"#
            );
            stream.write_all(&ok(body.as_bytes())).await?;
            return stream.shutdown().await;
        }
        let now = answer.lock().expect("no panic").clone();
        let rows = match now {
            Answer::Bytes(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Answer::Bucket(rows) => rows,
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())
            .unwrap_or(0);
        let whole = end + 4 + length;
        while input.len() < whole {
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
        stream
            .write_all(&rows.answer(&head, &input[end + 4..whole]))
            .await?;
        input.drain(..whole);
    }
}
