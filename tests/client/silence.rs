//! What is said of a server that takes requests and does not answer.

use std::time::Duration;

use b2fuse::b2::{Client, ListNames, Options};
use parking_lot::Mutex;
use tokio::time::{pause, resume, sleep};

use super::{options, server};

/// What is said of B2's silence by all tests of this binary, which is one.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listener;

impl log::Log for Listener {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = record.args().to_string();
        if self.enabled(record.metadata()) && line.contains("silent-") {
            SAID.lock().push(line);
        }
    }

    fn flush(&self) {}
}

fn ask(client: &Client, prefix: &str) -> tokio::task::JoinHandle<bool> {
    let (client, prefix) = (client.clone(), prefix.to_owned());
    tokio::spawn(async move {
        let request = ListNames {
            prefix,
            ..ListNames::default()
        };
        client.list_file_names(&request).await.is_ok()
    })
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_told_of_after_five_seconds_and_once_a_minute() {
    log::set_boxed_logger(Box::new(Listener)).expect("the only one");
    log::set_max_level(log::LevelFilter::Warn);
    let server = server();
    let client = Client::connect(Options {
        timeout: Duration::from_secs(600),
        ..options(&server)
    })
    .await
    .expect("connects");
    server.set_faults(&["*:hang"]).expect("faults");
    // From here on time passes as fast as nothing happens.
    pause();
    let one = ask(&client, "silent-1");
    sleep(Duration::from_secs(1)).await;
    let two = ask(&client, "silent-2");
    sleep(Duration::from_secs(3)).await;
    assert!(SAID.lock().is_empty(), "{:?}", SAID.lock());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(
        *SAID.lock(),
        [
            "B2 has not answered for 5 s: 2 calls wait (b2_list_file_names \"silent-1\", b2_list_file_names \"silent-2\")"
        ]
    );
    sleep(Duration::from_secs(90)).await;
    assert_eq!(SAID.lock().len(), 2, "{:?}", SAID.lock());
    resume();
    server.set_faults(&[]).expect("no faults");
    assert!(ask(&client, "silent-3").await.expect("no panic"));
    one.abort();
    two.abort();
}
