//! A Samba server whose share lies on the mount: what a Windows machine puts there and takes from there.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use tempfile::TempDir;

use crate::held::Held;
use crate::support::place::Place;
use crate::support::tools::{program, run, shell};
use crate::support::tree::{self, CONTENT, Compare, STORED, Times, get, noise, put};

crate::scenarios! {
    smbd_and_smbclient_carry_a_tree_in_and_out,
}

/// Of the odd names those that Windows allows.
const NAMES: &[&str] = &[
    "plain.txt",
    "with space",
    "plus+plus",
    "100%",
    "%41 is not A",
    "%2F",
    "#hash",
    "this & that",
    "it's",
    "$HOME `id` ;!",
    "-rf",
    "~tilde",
    ".hidden",
    "a=b,c;d@e",
    "grüße",
    "日本語.txt",
    "🦀🦀.rs",
    "cafe\u{301} decomposed",
    "עברית",
];

/// A server on a port of its own; killed when dropped.
struct Server {
    port: u16,
    running: Option<Held>,
    _state: TempDir,
}

impl Server {
    fn start(share: &Path) -> Self {
        let state = tempfile::tempdir().expect("a temporary directory");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = port.expect("a free port").port();
        let own = state.path().display();
        let settings = format!(
            "[global]\nserver role = standalone server\ndisable netbios = yes\nsmb ports = {port}\n\
             interfaces = 127.0.0.1\nbind interfaces only = yes\nload printers = no\nprintcap name = /dev/null\n\
             disable spoolss = yes\nmap to guest = bad user\nguest account = {user}\nlog file = {own}/log\n\
             lock directory = {own}\nstate directory = {own}\ncache directory = {own}\npid directory = {own}\n\
             private directory = {own}\nncalrpc dir = {own}/ncalrpc\n\
             [share]\npath = {share}\nguest ok = yes\nread only = no\n",
            user = shell("id -un", [""]).trim(),
            share = share.display(),
        );
        let file = state.path().join("smb.conf");
        put(&file, settings.as_bytes());
        let mut running = Held::start("smbd", |command| {
            // In a process group of its own, all of which it kills when it ends.
            command.args(["--foreground", "--configfile"]).arg(&file);
        });
        running.wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self {
            port,
            running: Some(running),
            _state: state,
        }
    }

    /// Runs these commands of smbclient in a directory of this machine.
    fn client(&self, within: &Path, commands: &str) -> String {
        run(program("smbclient")
            .args(["//127.0.0.1/share", "--no-pass", "--configfile=/dev/null"])
            .arg(format!("--port={}", self.port))
            .args(["--command", &format!("prompt off; recurse on; {commands}")])
            .current_dir(within))
    }

    fn stop(mut self) {
        self.running.take().expect("a running server").terminate();
    }
}

fn smbd_and_smbclient_carry_a_tree_in_and_out(place: &mut dyn Place) {
    let [source, first, second] = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
    tree::build_of(source.path(), 230, NAMES);
    let share = place.path().join("share");
    fs::create_dir(&share).unwrap();

    let server = Server::start(&share);
    server.client(source.path(), "mput *");
    tree::same(source.path(), &share, CONTENT);
    server.client(first.path(), "mget *");
    tree::same(source.path(), first.path(), CONTENT);

    put(&source.path().join("new"), &noise(231, 700_000));
    server.client(
        source.path(),
        "mkdir dir; mkdir dir/deep; put new dir/deep/new; rename dir moved; put new gone; del gone; \
         put plain.txt moved/once; put new moved/once; rename moved/deep/new moved/renamed; mkdir away; \
         put new away/new; deltree away; setmode moved/renamed +h",
    );
    fs::create_dir_all(source.path().join("moved/deep")).unwrap();
    for name in ["moved/once", "moved/renamed"] {
        put(&source.path().join(name), &get(&source.path().join("new")));
    }
    fs::remove_file(source.path().join("new")).unwrap();
    tree::same(source.path(), &share, CONTENT);
    server.stop();

    place.remount();
    tree::same(source.path(), &share, CONTENT);
    let server = Server::start(&share);
    server.client(second.path(), "mget *");
    tree::same(source.path(), second.path(), CONTENT);
    // Hidden is an extended attribute.
    let said = server.client(second.path(), "allinfo moved/renamed");
    assert!(said.contains("attributes: HA"), "{said}");
    server.stop();
    let contents = Compare {
        times: Times::No,
        ..STORED
    };
    tree::same(source.path(), &place.stored().join("share"), contents);
}
