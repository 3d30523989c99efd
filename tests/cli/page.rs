//! The page for people, at `/` of the address of the metrics.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::*;
use crate::metrics::{get, start};

/// The address of the page, as `b2fuse status` prints it.
fn address(place: &Place) -> String {
    let (code, text) = outcome(b2fuse().arg("status").arg(place.mnt()));
    assert_eq!(code, Some(0), "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix("page "));
    line.unwrap_or_else(|| panic!("no page: {text}"))
        .trim()
        .to_owned()
}

#[test]
fn it_is_for_who_has_the_token_and_under_this_machines_names_only() {
    let server = emulator();
    let place = Place::new();
    let (mut running, host) = start(&mut b2fuse_with(&Account::of(&server)), &place);
    fs::write(place.mnt().join("secret name"), "x").expect("written");
    let page = address(&place);
    let (base, token) = page.split_once("/?token=").expect("a token");
    assert_eq!(base, format!("http://{host}"));
    assert!(token.len() >= 32, "{token}");
    assert!(
        !running.said().contains(token),
        "the log may be read by others"
    );

    let (head, text) = get(&host, &format!("GET /?token={token}"));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for part in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'nonce-",
        "cache-control: no-store",
        "referrer-policy: no-referrer",
    ] {
        assert!(head.contains(part), "{part}: {head}");
    }
    assert!(!text.contains(token) && !text.contains("secret"), "{text}");
    let (head, text) = get(&host, &format!("GET /state?token={token}"));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let state: Value = serde_json::from_str(&text).expect("JSON");
    let mountpoint = place.mnt().display().to_string();
    assert_eq!(state["status"]["mountpoint"], Value::from(mountpoint));
    assert!(
        !text.contains(token),
        "it says nothing that need not be known"
    );

    let wrong = "0".repeat(token.len());
    for path in ["/", "/state"] {
        for query in [String::new(), "?token=".into(), format!("?token={wrong}")] {
            let (head, text) = get(&host, &format!("GET {path}{query}"));
            assert!(head.starts_with("HTTP/1.1 403 "), "{path}{query}: {head}");
            assert!(text.contains("b2fuse status"), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
        // A browser that was led here by a stranger's page says the stranger's name.
        for foreign in ["evil.example", "127.0.0.1.evil.example:9568", "10.9.8.7"] {
            let (head, text) =
                crate::metrics::get_as(&host, foreign, &format!("GET {path}?token={token}"));
            assert!(head.starts_with("HTTP/1.1 403 "), "{foreign}: {head}");
            assert!(!text.contains("secret"), "{text}");
        }
        let port = host.rsplit(':').next().expect("a port");
        let own = format!("localhost:{port}");
        let (head, _) = crate::metrics::get_as(&host, &own, &format!("GET {path}?token={token}"));
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().0, Some(0));
}

/// A browser with the page open.
struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Browser {
    fn open(address: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/browser.py");
        let mut child = Command::new("python3")
            .args(["-B", script, "chromium-headless-shell", address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut browser = Self {
            child,
            input,
            output,
        };
        assert_eq!(browser.line(), "ready");
        browser
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the browser has ended");
        line.trim_end().to_owned()
    }

    /// The value of an expression in JavaScript.
    fn value(&mut self, expression: &str) -> Value {
        writeln!(self.input, "{expression}").expect("it listens");
        serde_json::from_str(&self.line()).expect("JSON")
    }

    /// What an element says to people; empty where it is not shown.
    fn text(&mut self, id: &str) -> String {
        let value = self.value(&format!("document.getElementById('{id}').innerText"));
        value.as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn wait_for(&mut self, id: &str, part: &str) {
        let what = format!("{id}: {part}");
        eventually(&what, || self.text(id).contains(part));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends with what it reads, and takes the browser along.
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

#[test]
fn a_browser_chromium_sees_numbers_move_and_errors_show() {
    let server = emulator();
    let place = Place::new();
    let mut command = b2fuse_with(&Account::of(&server));
    command.args([
        "--bandwidth-up",
        "1MiB",
        "--write-back",
        "1s",
        "--timeout",
        "2s",
    ]);
    let (mut running, _) = start(&mut command, &place);
    let mut browser = Browser::open(&address(&place));
    browser.wait_for("state", "mounted for ");
    browser.wait_for("to_store", "nothing");
    let mountpoint = place.mnt().display().to_string();
    assert_eq!(browser.text("mountpoint"), mountpoint);

    // Progress, rates and plots move by themselves.
    let strange = "<b onmouseover=alert(1)>&amp; film";
    fs::write(place.mnt().join(strange), vec![7; 6 << 20]).expect("written");
    browser.wait_for("files", strange);
    assert_eq!(
        browser.value("document.querySelectorAll('b').length"),
        json!(0)
    );
    let bar = "document.querySelector('#files progress')?.value ?? 0";
    let mut seen: Vec<u64> = Vec::new();
    eventually("three moments of progress", || {
        let now = browser.value(bar).as_u64().unwrap_or(0);
        if now > 0 && seen.last() != Some(&now) {
            seen.push(now);
        }
        seen.len() >= 3
    });
    assert!(seen.is_sorted(), "{seen:?}");
    eventually("a rate up", || {
        let rate = browser.text("up");
        !rate.starts_with("0 ") && rate.ends_with("/s") && rate.len() > 3
    });
    let plotted = "document.querySelector('#up_plot .line')?.getAttribute('d').length ?? 0";
    let before = browser.value(plotted).as_u64().expect("a number");
    assert!(before > 0);
    eventually("the plot moves", || {
        browser.value(plotted).as_u64().expect("a number") > before
    });
    if let Some(path) = std::env::var_os("B2FUSE_SCREENSHOT") {
        browser.value(&format!("screenshot {}", path.display()));
    }
    // On the screen of a telephone nothing lies outside.
    let wide = browser.value("document.documentElement.scrollWidth - window.innerWidth");
    assert_eq!(wide, json!(0));
    // Nothing on it changes anything.
    let controls = "document.querySelectorAll('button, input, form, a[href]').length";
    assert_eq!(browser.value(controls), json!(0));
    browser.wait_for("to_store", "nothing");

    server.set_faults(&["upload:storage-cap"]).expect("faults");
    let failing = place.mnt().join("too much");
    let writer = thread::spawn(move || fs::write(failing, "x"));
    browser.wait_for("trouble", "could not be stored");
    browser.wait_for("files", "too much");
    eventually("why it failed", || {
        let why = browser.value("document.querySelector('#files .error')?.innerText ?? ''");
        why.as_str().is_some_and(|why| why.contains("cap"))
    });
    browser.wait_for("log", "too much");
    // With write-back the program was told nothing.
    let _ = writer.join().expect("no panic");
    server.set_faults(&[]).expect("no faults");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().0, Some(0), "{}", running.said());
    browser.wait_for("gone", "No answer since ");
}
