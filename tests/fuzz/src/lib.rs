//! A server that answers every call as it is told, once a client has authorized: what the fuzz targets have in common.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use b2fuse::b2::{Client, Options, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// A client whose server answers with whatever bytes.
pub struct Rig {
    runtime: Runtime,
    client: Client,
    answer: Arc<Mutex<Vec<u8>>>,
}

static RIG: LazyLock<Rig> = LazyLock::new(Rig::start);

/// Has the client do something while each answer is these bytes, from the status line on.
pub fn answered<F>(answer: Vec<u8>, work: impl FnOnce(Client) -> F)
where
    F: Future<Output = ()>,
{
    *RIG.answer.lock().expect("no panic") = answer;
    RIG.runtime.block_on(work(RIG.client.clone()));
}

/// A whole answer with this body.
pub fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

impl Rig {
    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let answer = Arc::new(Mutex::new(Vec::new()));
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

async fn serve(mut stream: TcpStream, api: &str, answer: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut input = Vec::new();
    while !input.windows(4).any(|four| four == b"\r\n\r\n") {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
    let authorizes = String::from_utf8_lossy(&input).contains("/b2_authorize_account ");
    let answer = if authorizes {
        let body = format!(
            r#"{{"accountId":"a","authorizationToken":"t","apiInfo":{{"storageApi":{{
            "apiUrl":"{api}","downloadUrl":"{api}","allowed":{{"capabilities":["listFiles","readFiles"],
            "buckets":[{{"id":"b","name":"bucket"}}],"namePrefix":null}}}}}}}}"#
        );
        ok(body.as_bytes())
    } else {
        answer.lock().expect("no panic").clone()
    };
    stream.write_all(&answer).await?;
    stream.shutdown().await
}
