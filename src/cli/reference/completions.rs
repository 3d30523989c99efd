//! `b2fuse completions SHELL`: what a shell needs to complete commands, options, their values and paths, on stdout.
//!
//! clap_complete writes it from the tree of commands. What it does not know, or has otherwise, is put right in its text: that a
//! value stands behind `=` only, and that the first word may be a mountpoint as well as a command.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::builder::{PossibleValuesParser, Resettable};
use clap::{Arg, Command, CommandFactory as _, Id, Parser, ValueHint};
use clap_complete::Shell;

use super::words;
use crate::cli::running::ask::LEVELS;
use crate::cli::{self, refused};
use crate::mount;

/// Options that take one of a few words.
const CHOICES: &[(&str, &[&str])] = &[
    ("delete", &["hide", "purge"]),
    ("overwrite", &["keep", "replace"]),
    ("permissions", &["keep", "ignore"]),
    ("hard-links", &["refuse", "copy"]),
    ("names", &["refuse", "encode"]),
    ("log-format", &["text", "json"]),
];

/// Prints the completion of the command's options for a shell.
#[derive(Debug, Parser)]
#[command(name = "b2fuse completions")]
struct Options {
    /// The shell
    shell: Shell,
}

pub(in crate::cli) fn run(arguments: &[OsString]) -> u8 {
    let name = OsString::from("b2fuse completions");
    match Options::try_parse_from(std::iter::once(&name).chain(arguments)) {
        Ok(options) => {
            mount::tell_bytes(&made(options.shell));
            0
        }
        Err(usage) => refused(&usage),
    }
}

fn made(shell: Shell) -> Vec<u8> {
    let mut tree = whole(shell);
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut tree, "b2fuse", &mut out);
    let text = String::from_utf8_lossy(&out).into_owned();
    let joined = joined(&tree);
    let text = match shell {
        Shell::Bash => bash(&text, &joined),
        Shell::Zsh => zsh(text, &joined),
        Shell::Fish => fish(&text, &joined),
        _ => text,
    };
    text.into_bytes()
}

/// The whole command line in one tree, as people see it. (It is parsed otherwise: `commands`.)
fn whole(shell: Shell) -> Command {
    // zsh would look for commands behind the mountpoint; fish shows paths only where there is one.
    let options: fn(&Arg) -> bool = match shell {
        Shell::Zsh => |arg| !arg.is_positional(),
        _ => |_| true,
    };
    shown("b2fuse", &cli::Options::command(), options)
        .disable_help_subcommand(true)
        .subcommands(
            words()
                .iter()
                .map(|(name, _, word)| shown(name, word, |_| true)),
        )
}

/// The command without its hidden options, which completions would show.
fn shown(name: &'static str, command: &Command, wanted: fn(&Arg) -> bool) -> Command {
    let arguments = command
        .get_arguments()
        // Each command gets a --help of its own.
        .filter(|arg| wanted(arg) && !arg.is_hide_set() && arg.get_id() != "help");
    Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(command.get_about().cloned().unwrap_or_default())
        // What is hidden is not there to be in conflict with.
        .args(arguments.map(|arg| valued(arg.clone().conflicts_with(Resettable::<Id>::Reset))))
}

/// The argument with what its value can be.
fn valued(arg: Arg) -> Arg {
    let long = arg.get_long().unwrap_or_default();
    let value = arg.get_value_names().and_then(|names| names.first());
    let value = value.map_or("", |name| name.as_str());
    let choice = CHOICES.iter().find(|(option, _)| *option == long);
    match (choice, value) {
        (Some((_, choice)), _) => arg.value_parser(PossibleValuesParser::new(*choice)),
        (None, "BOOL") => arg.value_parser(PossibleValuesParser::new(["true", "false"])),
        (None, "LEVEL") => arg.value_parser(PossibleValuesParser::new(LEVELS)),
        _ if !arg.get_action().takes_values() => arg,
        _ if arg.get_value_hint() != ValueHint::Unknown => arg,
        (None, "FILE") => arg.value_hint(ValueHint::FilePath),
        (None, "DIR") if matches!(long, "rescue" | "emulator") => {
            arg.value_hint(ValueHint::DirPath)
        }
        (None, "COMMAND") => arg.value_hint(ValueHint::CommandString),
        // Names, numbers, and directories of the bucket: no file here has them.
        _ => arg.value_hint(ValueHint::Other),
    }
}

/// The options whose value, if it is given, stands behind `=` only.
fn joined(tree: &Command) -> BTreeSet<String> {
    let commands = std::iter::once(tree).chain(tree.get_subcommands());
    let arguments = commands.flat_map(Command::get_arguments);
    arguments
        .filter(|arg| arg.is_require_equals_set())
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect()
}

fn bash(text: &str, joined: &BTreeSet<String>) -> String {
    const WORD: &str = r#"
# bash takes --option=value apart into three words.
_b2fuse_word() {
    local word="$2" before="$3" behind="" joined=" JOINED " found one
    if [[ "${COMP_WORDS[COMP_CWORD]}" == "=" ]]; then
        word=""
        behind="="
    elif [[ "$before" == "=" ]]; then
        before="${COMP_WORDS[COMP_CWORD - 2]}"
        behind="="
    fi
    if [[ -z "$behind" && "$joined" == *" $before "* ]]; then
        before=""
    fi
    _b2fuse "$1" "$word" "$before"
    # Options are shown to whoever types a hyphen. Where nothing is left, bash shows paths.
    if [[ -z "$word" ]]; then
        found=("${COMPREPLY[@]}")
        COMPREPLY=()
        # Commands stand before options only.
        if [[ "${COMP_WORDS[1]}" == -* && " ${found[*]} " == *" --help "* ]]; then
            found=()
        fi
        for one in "${found[@]}"; do
            [[ -z "$one" || "$one" == -* ]] || COMPREPLY+=("$one")
        done
    fi
}
"#;
    let joined: Vec<String> = joined.iter().map(|long| format!("--{long}")).collect();
    let word = WORD.replace("JOINED", &joined.join(" "));
    let (function, registered) = text.split_once("\n}\n").unwrap_or((text, ""));
    let registered = registered.replace(" -F _b2fuse ", " -F _b2fuse_word ");
    format!("{function}\n}}\n{word}{registered}")
}

fn zsh(mut text: String, joined: &BTreeSet<String>) -> String {
    const EITHER: &str = r"
(( $+functions[_b2fuse_first] )) ||
_b2fuse_first() {
    _alternative 'commands:command:_b2fuse_commands' 'mountpoints:mountpoint:_files -/'
}
(( $+functions[_b2fuse_levels] )) ||
_b2fuse_levels() {
    _alternative 'levels:level:(LEVELS)' 'mountpoints:mountpoint:_files -/'
}
";
    for long in joined {
        text = text.replace(&format!("'--{long}=["), &format!("'--{long}=-["));
    }
    let levels = LEVELS.join(" ");
    text = text.replace(&format!(":({levels})'"), ":_b2fuse_levels'");
    text = text.replace("\":: :_b2fuse_commands\"", "\":: :_b2fuse_first\"");
    let end = text.rfind("\nif [ \"$funcstack").unwrap_or(text.len());
    text.insert_str(end, &EITHER.replace("LEVELS", &levels));
    text
}

fn fish(text: &str, joined: &BTreeSet<String>) -> String {
    let mut out = String::new();
    for line in text.lines() {
        // argparse fails where the value of an option is still to come.
        let mut line = match line {
            "    or return" => "    or return 0".to_owned(),
            _ => line.to_owned(),
        };
        for long in joined {
            // In the list of options for argparse, whose ? is no wildcard, and where the option is declared.
            line = line.replace(&format!(" {long}= "), &format!(" '{long}=?' "));
            if line.contains(&format!(" -l {long} ")) {
                line = line.replace("' -r -f", "' -f");
            }
        }
        out.push_str(&line);
        out.push('\n');
    }
    let levels = LEVELS.join(" ");
    let of_log = "__fish_b2fuse_using_subcommand log";
    out + &format!("complete -c b2fuse -n \"{of_log}\" -a \"{levels}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_the_options_and_the_words() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(made(shell)).expect("UTF-8");
            for word in [
                "metadata-ttl",
                "rescue",
                "fstab",
                "install-helper",
                "umount",
                "watch",
            ] {
                assert!(text.contains(word), "{shell}: {word}");
            }
            assert!(!text.contains("in-background"), "{shell}");
        }
    }

    #[test]
    fn the_choices_are_those_that_options_take() {
        for (option, choice) in CHOICES {
            for word in *choice {
                let line = ["b2fuse", &format!("--{option}={word}"), "/m"];
                cli::Options::try_parse_from(line).expect(word);
            }
        }
        for arg in cli::Options::command().get_arguments() {
            let value = arg.get_value_names().and_then(|names| names.first());
            if value.is_some_and(|name| name == "HOW" || name == "FORMAT") {
                let long = arg.get_long().expect("a name");
                assert!(CHOICES.iter().any(|(option, _)| *option == long), "{long}");
            }
        }
    }
}
