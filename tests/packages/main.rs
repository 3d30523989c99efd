//! What `contrib/package` makes: looked through by lintian and rpm, installed into roots of their own, and removed again.
//!
//! Nothing is installed on the machine. Needs root, and what `tests/run --all` installs; what is missing is a failure.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const LINKS: [&str; 4] = [
    "mount.b2fuse",
    "mount.fuse.b2fuse",
    "umount.b2fuse",
    "umount.fuse.b2fuse",
];

/// Runs it to its end, which must be a success; what it says on stdout and stderr.
fn run(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(status.success(), "{command:?}: {status}: {said}");
    said
}

/// Both packages, made once.
fn made() -> &'static (PathBuf, PathBuf) {
    static MADE: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    MADE.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .expect("the folder of builds");
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        if let Some(tools) = std::env::var_os("B2FUSE_TEST_TOOLS") {
            path = [tools, path].join(":".as_ref());
        }
        let only = |dir: &str, end: &str| -> Vec<PathBuf> {
            let listed = fs::read_dir(target.join(dir)).into_iter().flatten();
            listed
                .map(|entry| entry.expect("an entry").path())
                .filter(|path| path.extension().is_some_and(|is| is == end))
                .collect()
        };
        let all = || [only("debian", "deb"), only("generate-rpm", "rpm")];
        for old in all().concat() {
            fs::remove_file(old).expect("removed");
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/package");
        run(Command::new(script)
            .env("CARGO_TARGET_DIR", target)
            .env("PATH", path));
        match all().map(|mut one| one.pop()) {
            [Some(deb), Some(rpm)] => (deb, rpm),
            other => panic!("not made: {other:?}"),
        }
    })
}

/// All paths below a directory but those of the package managers themselves.
fn paths(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("listed") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                dirs.push(entry.path());
            }
            let path = entry.path();
            let below = path.strip_prefix(root).expect("below it").to_owned();
            let own = [
                "var/lib/dpkg",
                "root/.rpmdb",
                "var/lib/rpm",
                "usr/lib/sysimage/rpm",
            ];
            if !own.iter().any(|own| below.starts_with(own)) {
                found.insert(below);
            }
        }
    }
    found
}

/// The program runs, units are right, pages are shown.
fn works(root: &Path) {
    let program = root.join("usr/bin/b2fuse");
    assert!(run(Command::new(&program).arg("--version")).starts_with("b2fuse "));
    for (dir, of_users) in [("system", false), ("user", true)] {
        let unit = root.join(format!("usr/lib/systemd/{dir}/b2fuse@.service"));
        let text = fs::read_to_string(unit).expect("the unit");
        let units = root.join("units").join(dir);
        fs::create_dir_all(&units).expect("made");
        let unit = units.join("b2fuse@x.service");
        let here = program.to_str().expect("UTF-8");
        fs::write(&unit, text.replace("/usr/bin/b2fuse", here)).expect("written");
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]);
        if of_users {
            verify.arg("--user").env("XDG_RUNTIME_DIR", &units);
        }
        let said = run(verify.arg(&unit));
        assert!(!said.contains("b2fuse@x"), "{said}");
    }
    fs::remove_dir_all(root.join("units")).expect("removed");
    for page in [
        "man1/b2fuse.1",
        "man1/b2fuse-status.1",
        "man5/b2fuse.yaml.5",
        "man8/mount.b2fuse.8",
    ] {
        let page = root.join(format!("usr/share/man/{page}.gz"));
        let shown = run(Command::new("man").args(["--warnings", "-l"]).arg(page));
        assert!(shown.contains("SEE ALSO"), "{shown}");
    }
}

#[test]
#[ignore = "slow: a release build; tests/run --all"]
fn the_debian_package_is_clean_works_and_goes_without_a_trace() {
    let (deb, _) = made();
    let lint = run(Command::new("lintian")
        .args(["--fail-on", "error,warning"])
        .arg(deb));
    assert!(!lint.contains("b2fuse:"), "{lint}");
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path();
    for part in ["info", "updates"] {
        fs::create_dir_all(root.join("var/lib/dpkg").join(part)).expect("made");
    }
    fs::write(root.join("var/lib/dpkg/status"), "").expect("written");
    let dpkg = || {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", root.display()))
            // What it needs is in no such root.
            .args(["--force-depends", "--force-bad-path", "--log=/dev/null"]);
        dpkg
    };
    let before = paths(root);
    run(dpkg().arg("-i").arg(deb));
    for link in LINKS {
        let to = fs::read_link(root.join("usr/sbin").join(link)).expect(link);
        assert_eq!(to, Path::new("../bin/b2fuse"), "{link}");
    }
    for path in [
        "usr/share/bash-completion/completions/b2fuse",
        "usr/share/zsh/vendor-completions/_b2fuse",
        "usr/share/fish/vendor_completions.d/b2fuse.fish",
        "usr/share/doc/b2fuse/examples/config.example.yaml",
        "usr/share/doc/b2fuse/docs/operating.md",
        "usr/share/man/man8/umount.fuse.b2fuse.8.gz",
    ] {
        assert!(root.join(path).is_file(), "{path}");
    }
    let license = fs::read_to_string(root.join("usr/share/doc/b2fuse/copyright")).expect("there");
    assert!(license.contains("WITHOUT WARRANTY"), "{license}");
    works(root);
    run(dpkg().args(["-P", "b2fuse"]));
    assert_eq!(paths(root), before);
}

#[test]
#[ignore = "slow: a release build; tests/run --all"]
fn the_rpm_package_works_and_leaves_no_file() {
    let (_, rpm) = made();
    let scripts = run(Command::new("rpm").args(["-qp", "--scripts"]).arg(rpm));
    for word in LINKS.iter().chain(&["ln -sf ../bin/b2fuse /usr/sbin/"]) {
        assert!(scripts.contains(word), "{word}: {scripts}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path();
    let manager = || {
        let mut manager = Command::new("rpm");
        // Its scripts would run in a root that has no shell.
        manager
            .args(["--force-debian", "--nodeps", "--noscripts", "--root"])
            .arg(root);
        manager
    };
    run(manager().arg("-i").arg(rpm));
    assert!(root.join("usr/share/licenses/b2fuse/LICENSE").is_file());
    works(root);
    run(manager().args(["-e", "b2fuse"]));
    let left = paths(root);
    let files: Vec<_> = left
        .iter()
        .filter(|path| root.join(path).is_file())
        .collect();
    assert!(files.is_empty(), "{files:?}");
}
