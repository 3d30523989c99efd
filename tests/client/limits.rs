//! Limits on calls and on bytes: those that B2 sets, which the client has to find, and those that the user sets.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use b2fuse::b2::{Client, Limits, ListNames, Options};
use b2fuse::emulator::{self, Server};
use futures_util::future::join_all;

use crate::{connect, get, id, options, pattern, put, server, versions};

/// So many listings at once, all of which succeed.
async fn lists(client: &Client, count: usize) {
    let request = ListNames {
        max: 10,
        ..ListNames::default()
    };
    for page in join_all((0..count).map(|_| client.list_file_names(&request))).await {
        page.expect("lists");
    }
}

fn refused(server: &Server) -> u64 {
    let answers = server.counters().answers;
    answers.get(&429).copied().unwrap_or(0)
}

#[tokio::test]
async fn a_crowd_of_calls_is_hardly_ever_refused() {
    let server = Server::start(emulator::Options {
        // Long enough for calls to run at once on a slow machine.
        latency: Duration::from_millis(40),
        ..emulator::Options::default()
    });
    let server = server.expect("the emulator starts");
    let client = connect(&server).await;
    server.set_faults(&["at-once=20"]).expect("a switch");
    lists(&client, 240).await;
    let refused = refused(&server);
    assert!(refused * 10 < 240 + refused, "{refused} refused");
}

#[tokio::test]
async fn no_more_calls_begin_in_a_second_than_the_user_allows() {
    let server = server();
    let client = Client::connect(Options {
        limits: Limits {
            requests_per_second: NonZeroU32::new(5),
            ..Limits::default()
        },
        ..options(&server)
    });
    let client = client.await.expect("connects");
    // Twice as many, for what has been on its way for long.
    server.set_faults(&["rate-limit=10"]).expect("a switch");
    lists(&client, 15).await;
    assert_eq!(refused(&server), 0);
}

/// A client that counts a transfer as stalled after half a second without a byte, and lets each move once a second.
async fn slow(server: &Server) -> Client {
    let client = Client::connect(Options {
        timeout: Duration::from_secs(1),
        ..options(server)
    });
    let client = client.await.expect("connects");
    let rate = NonZeroU64::new(1024);
    client.set_bandwidth(rate, rate);
    client
}

#[tokio::test]
async fn an_upload_that_our_own_limit_slows_down_is_not_stalled() {
    let server = server();
    let client = slow(&server).await;
    let bytes = pattern(3500);
    let version = put(&client, "f", &bytes).await;
    client.set_bandwidth(None, None);
    assert_eq!(versions(&client, "f").await.len(), 1);
    assert!(get(&client, &id(&version), 0..3500).await == bytes);
}

#[tokio::test]
async fn a_download_that_our_own_limit_slows_down_is_not_stalled() {
    let server = server();
    let bytes = pattern(3500);
    let version = put(&connect(&server).await, "f", &bytes).await;
    let client = slow(&server).await;
    // Time for another try is left, too.
    server
        .set_faults(&["download:truncate:1"])
        .expect("a fault");
    assert!(get(&client, &id(&version), 0..3500).await == bytes);
    assert_eq!(client.counters().bytes_down, 3500);
}
