//! Manual pages and completions, as the programs see them that show them.

use std::fs;
use std::process::Command;

use crate::harness::*;

#[test]
fn manual_pages_are_shown_without_a_warning() {
    let place = Place::new();
    let dir = place.path().join("man");
    let (code, said) = outcome(b2fuse().arg("man").arg(&dir));
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let mut pages: Vec<String> = Vec::new();
    for entry in fs::read_dir(&dir).expect("listed") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        pages.push(name.into_owned());
        let mut man = Command::new("man");
        man.args(["--warnings", "-l"])
            .arg(&path)
            .env("LC_ALL", "C.UTF-8")
            .env("MANROFFSEQ", "")
            .env("MANWIDTH", "100");
        let output = man.output().expect("man");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("NAME") && text.contains("SEE ALSO"), "{text}");
    }
    pages.sort();
    let wanted = [
        "b2fuse-check.1",
        "b2fuse-flush.1",
        "b2fuse-fstab.1",
        "b2fuse-install-helper.1",
        "b2fuse-limit.1",
        "b2fuse-list.1",
        "b2fuse-log.1",
        "b2fuse-refresh.1",
        "b2fuse-reload.1",
        "b2fuse-rescue.1",
        "b2fuse-setup.1",
        "b2fuse-status.1",
        "b2fuse-umount.1",
        "b2fuse-warm.1",
        "b2fuse.1",
        "b2fuse.yaml.5",
        "mount.b2fuse.8",
        "umount.b2fuse.8",
    ];
    assert_eq!(pages, wanted);
}

/// Runs a script in a shell that has the completion; what it says on stdout.
fn completed(shell: &str, script: &str) -> String {
    let place = Place::new();
    let file = place.path().join("completion");
    let output = b2fuse()
        .args(["completions", shell])
        .output()
        .expect("it runs");
    assert!(output.status.success());
    // Those that say where the key is may be seen.
    let text = String::from_utf8_lossy(&output.stdout).replace("application-key-", "");
    for hidden in ["in-background", "application-key", "--source"] {
        assert!(!text.contains(hidden), "{shell}: {hidden}");
    }
    fs::write(&file, output.stdout).expect("written");
    let (code, said) = outcome(
        Command::new(shell)
            .args(["-c", script])
            .env("completion", &file),
    );
    assert_eq!(code, Some(0), "{shell}: {said}");
    said
}

#[test]
fn bash_completes_options_and_commands() {
    let script = r#"
        source "$completion"
        complete -p b2fuse >/dev/null || exit 1
        COMP_WORDS=(b2fuse --metadata); COMP_CWORD=1
        _b2fuse b2fuse --metadata b2fuse; echo "${COMPREPLY[@]}"
        COMP_WORDS=(b2fuse resc); COMP_CWORD=1
        _b2fuse b2fuse resc b2fuse; echo "${COMPREPLY[@]}"
    "#;
    let said = completed("bash", script);
    assert_eq!(said, "--metadata-ttl\nrescue\n");
}

#[test]
fn fish_completes_options_and_commands() {
    let script = r"
        source $completion
        complete -C 'b2fuse --metadata'
        complete -C 'b2fuse resc'
    ";
    let said = completed("fish", script);
    let words: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(words.starts_with(&["--metadata-ttl"]), "{said}");
    assert!(words.contains(&"rescue"), "{said}");
}

#[test]
fn zsh_loads_the_completion() {
    let script = r#"
        autoload -Uz compinit && compinit -D -u
        source "$completion"
        whence -w _b2fuse
        print -r -- ${_comps[b2fuse]}
    "#;
    assert_eq!(completed("zsh", script), "_b2fuse: function\n_b2fuse\n");
}

/// Two screens; the manual page has the rest.
#[test]
fn help_is_short_and_says_where_the_rest_is() {
    let (code, said) = outcome(b2fuse().arg("--help"));
    assert_eq!(code, Some(0), "{said}");
    let output = b2fuse().arg("--help").output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().count();
    assert!(lines <= 100, "{lines} lines: {text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    for word in [
        "man b2fuse",
        "--memory",
        "--write-back",
        "status [DIR]",
        "--emulator[=<DIR>]",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}
