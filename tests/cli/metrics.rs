//! What monitoring reads of a running mount.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::*;

/// Head and body of an answer.
pub(crate) fn get(address: &str, request: &str) -> (String, String) {
    get_as(address, address, request)
}

/// The same, asked for under another name of the host.
pub(crate) fn get_as(address: &str, host: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "{request} HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// The address that a mount has told of, and the mount.
pub(crate) fn start(command: &mut Command, place: &Place) -> (Running, String) {
    let running = Running::mount(command.args(["--metrics", "127.0.0.1:0"]), &place.mnt());
    running.hear("/metrics\n");
    let said = running.said();
    let told = said.split("metrics: http://").nth(1).expect("an address");
    let address = told.split('/').next().expect("an address").to_owned();
    (running, address)
}

/// The number of a line that begins so.
fn number(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample));
    let value = line.unwrap_or_else(|| panic!("{sample} in {text}"));
    value.trim().parse().expect("a number")
}

#[test]
fn numbers_are_told_in_words_for_monitoring() {
    let server = emulator();
    let place = Place::new();
    let (mut running, address) = start(&mut b2fuse_with(&Account::of(&server)), &place);
    fs::write(place.mnt().join("a"), vec![7; 100_000]).expect("written");
    assert_eq!(
        fs::read(place.mnt().join("a")).expect("read").len(),
        100_000
    );
    let (head, text) = get(&address, "GET /metrics");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let mountpoint = place.mnt().display().to_string();
    assert!(
        text.contains(&format!("mountpoint=\"{mountpoint}\"")),
        "{text}"
    );
    for (sample, least) in [
        ("b2fuse_b2_tries_total{call=\"b2_upload_file\"}", 1.0),
        (
            "b2fuse_b2_try_duration_seconds_count{call=\"b2_upload_file\"}",
            1.0,
        ),
        (
            "b2fuse_b2_try_duration_seconds_bucket{call=\"b2_upload_file\",le=\"+Inf\"}",
            1.0,
        ),
        ("b2fuse_b2_sent_bytes_total", 100_000.0),
        ("b2fuse_memory_limit_bytes", 1_000_000.0),
        ("process_resident_memory_bytes", 1_000_000.0),
    ] {
        assert!(number(&text, sample) >= least, "{sample}: {text}");
    }
    assert!(
        (number(&text, "b2fuse_pending_files")).abs() < 0.5,
        "{text}"
    );
    // Every sample belongs to a family that was described before.
    let mut family = "";
    for line in text.lines() {
        if let Some(told) = line.strip_prefix("# TYPE ") {
            family = told.split(' ').next().expect("a name");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(family), "{line} after {family}");
        }
    }
    // What the dashboard asks for is there.
    let dashboard = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/contrib/grafana-dashboard.json"
    );
    let dashboard = fs::read_to_string(dashboard).expect("read");
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let asked = dashboard
        .split(word)
        .filter(|word| word.starts_with("b2fuse_"));
    let asked: BTreeSet<&str> = asked
        .map(|name| name.strip_suffix("_bucket").unwrap_or(name))
        .collect();
    assert!(asked.len() > 10, "{asked:?}");
    for name in asked {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}: {text}");
    }
    let (head, _) = get(&address, "GET /healthz");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for (request, status) in [
        ("GET /", "403"),
        ("GET /x", "404"),
        ("POST /metrics", "405"),
    ] {
        let (head, _) = get(&address, request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn it_is_not_healthy_while_something_cannot_be_stored_also_at_the_end() {
    let server = emulator();
    let place = Place::new();
    let mut command = b2fuse_with(&Account::of(&server));
    let (mut running, address) = start(command.args(["--timeout", "2s"]), &place);
    server.set_faults(&["upload:storage-cap"]).expect("faults");
    // The error of the close is nobody's.
    fs::write(place.mnt().join("secret name"), "x").expect("written");
    let sick = || {
        let (head, why) = get(&address, "GET /healthz");
        (head.starts_with("HTTP/1.1 503 "), why)
    };
    assert_eq!(
        sick(),
        (
            true,
            "1 thing could not be stored; it is tried again\n".to_owned()
        )
    );
    running.signal(Signal::SIGTERM);
    running.hear("last error: ");
    assert!(sick().0);
    let (_, text) = get(&address, "GET /metrics");
    assert!(number(&text, "b2fuse_not_stored") > 0.5, "{text}");
    assert!(!text.contains("secret"), "no paths: {text}");
    server.set_faults(&[]).expect("no faults");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn an_address_that_is_taken_ends_the_start() {
    let server = emulator();
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let mut command = b2fuse_with(&Account::of(&server));
    let (code, said) = outcome(command.args(["--metrics", &address]).arg(place.mnt()));
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&format!("metrics: cannot listen at {address}")),
        "{said}"
    );
}

/// A Prometheus that scrapes one mount every second, ended with its test.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    fn scraping(target: &str, dir: &std::path::Path) -> Self {
        let config = dir.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n\
             - {{job_name: b2fuse, static_configs: [{{targets: ['{target}']}}]}}\n"
        );
        fs::write(&config, text).expect("written");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("its address").to_string();
        drop(free);
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus");
        Self { child, address }
    }

    /// What a query comes to; `None` while it does not answer.
    fn query(&self, query: &str) -> Option<Vec<Value>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let address = format!("http://{}/api/v1/query", self.address);
        let address = reqwest::Url::parse_with_params(&address, [("query", query)]);
        let address = address.expect("an address");
        let answer: Value = runtime.block_on(async {
            let http = reqwest::Client::builder().no_proxy().build().ok()?;
            http.get(address).send().await.ok()?.json().await.ok()
        })?;
        assert_ne!(answer["status"], "error", "{query}: {answer}");
        answer["data"]["result"].as_array().cloned()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All numbers arrive, and each query of the dashboard is one that Prometheus answers.
#[test]
fn prometheus_scrapes_a_mount() {
    let server = emulator();
    let place = Place::new();
    let (mut running, address) = start(&mut b2fuse_with(&Account::of(&server)), &place);
    fs::write(place.mnt().join("a"), vec![7; 100_000]).expect("written");
    fs::read(place.mnt().join("a")).expect("read");
    let (_, text) = get(&address, "GET /metrics");
    let mut checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut input = checker.stdin.take().expect("piped");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let checked = checker.wait_with_output().expect("it ends");
    assert!(
        checked.status.success() && checked.stderr.is_empty(),
        "{checked:?}"
    );

    let prometheus = Prometheus::scraping(&address, place.path());
    let sent = "b2fuse_b2_sent_bytes_total";
    eventually("the bytes sent", || {
        prometheus.query(sent).is_some_and(|found| {
            let value = found.first().map(|one| one["value"][1].clone());
            value == Some(Value::from("100000"))
        })
    });
    let dashboard = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/contrib/grafana-dashboard.json"
    );
    let dashboard = fs::read_to_string(dashboard).expect("read");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries: Vec<&str> = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str())
        .collect();
    assert!(queries.len() > 10, "{queries:?}");
    for query in queries {
        let query = query
            .replace("$instance", &address)
            .replace("$__rate_interval", "1m");
        // What has never failed has no failures.
        let found = |found: Vec<Value>| query.contains("_failed_") || !found.is_empty();
        eventually(&query, || prometheus.query(&query).is_some_and(found));
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().0, Some(0));
}
