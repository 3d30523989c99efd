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
fn bash_completes_commands_options_values_and_paths() {
    let script = r#"
        source "$completion"
        [[ "$(complete -p b2fuse)" == *" -F _b2fuse_word "* && "$(complete -p b2fuse)" == *" -o default "* ]] || exit 1
        try() {
            COMP_WORDS=(b2fuse "$@"); COMP_CWORD=$#; COMPREPLY=()
            local word="${COMP_WORDS[COMP_CWORD]}"
            [[ "$word" != "=" ]] || word=""
            _b2fuse_word b2fuse "$word" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
            echo "$*: ${COMPREPLY[*]}|"
        }
        try resc
        try --metadata
        try --overwrite ""
        try --overwrite =
        try --overwrite = r
        try check --log-format ""
        try --read-only = t
        try log d
        try status --w
        try status --he
        # No word of its own: bash shows paths.
        try status ""
        try umount /m
        try --read-only ""
        try --config /nonexistent
    "#;
    let wanted = "resc: rescue|
--metadata: --metadata-ttl|
--overwrite : keep replace|
--overwrite =: keep replace|
--overwrite = r: replace|
check --log-format : text json|
--read-only = t: true|
log d: debug|
status --w: --watch|
status --he: --help|
status : |
umount /m: |
--read-only : |
--config /nonexistent: |
";
    assert_eq!(completed("bash", script), wanted);
}

#[test]
fn fish_completes_commands_options_values_and_paths() {
    let script = r#"
        source $completion
        cd (path dirname $completion)
        for line in resc --metadata "--overwrite " --overwrite=r --read-only=t "--read-only m" "log d" "status --w" "umount m" m "--read-only resc"
            echo "$line: "(complete -C "b2fuse $line" | string split -f 1 \t | string join " ")
        end
    "#;
    let wanted = "resc: rescue
--metadata: --metadata-ttl
--overwrite : keep replace
--overwrite=r: --overwrite=replace
--read-only=t: --read-only=true
--read-only m: mnt/
log d: debug
status --w: --watch
umount m: mnt/
m: mnt/
--read-only resc: rescue
";
    assert_eq!(completed("fish", script), wanted);
}

/// In a terminal of its own, for zsh completes nowhere else.
#[test]
fn zsh_completes_commands_options_values_and_paths() {
    let script = r#"
        zmodload zsh/zpty
        cd "${completion:h}"
        zpty shell zsh -f -i
        zpty -w shell 'PROMPT= RPROMPT=
            show() { print -r -- "$BUFFER|" >>typed; BUFFER=; print -n "sho""wn" }
            zle -N show; bindkey "^X" show; bindkey "^I" expand-or-complete
            autoload -Uz compinit && compinit -D -u; source ./completion; print -n "sho""wn"'
        zpty -r shell said '*shown*'
        for line in resc --metadata "--overwrite r" --read-only=t "--read-only m" "log d" "log m" \
            "status --wa" "status --he" "umount m" m "check --read-only m"; do
            zpty -w -n shell "b2fuse $line"$'\t\x18'
            zpty -r shell said '*shown*'
        done
        zpty -d shell
        cat typed
    "#;
    let wanted = "b2fuse rescue |
b2fuse --metadata-ttl=|
b2fuse --overwrite replace |
b2fuse --read-only=true |
b2fuse --read-only mnt/|
b2fuse log debug |
b2fuse log mnt/|
b2fuse status --watch |
b2fuse status --help |
b2fuse umount mnt/|
b2fuse mnt/|
b2fuse check --read-only mnt/|
";
    assert_eq!(completed("zsh", script), wanted);
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
