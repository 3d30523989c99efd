//! Slips of the command line that the parser does not understand: a value behind a switch, which takes one only after `=`.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, Parser};

use crate::config::Switch;

/// Parses the arguments behind a command's name.
pub(super) fn parse<T: Parser>(name: &str, arguments: &[OsString]) -> Result<T, clap::Error> {
    let words = std::iter::once(OsString::from(name)).chain(arguments.iter().cloned());
    let parsed = T::try_parse_from(words);
    let mut command = T::command();
    let unexpected = parsed
        .as_ref()
        .is_err_and(|fault| fault.kind() == ErrorKind::UnknownArgument);
    match detached(arguments, &command, unexpected) {
        Some(said) => Err(command.error(ErrorKind::ValueValidation, said)),
        None => parsed,
    }
}

/// The first word that was meant as the value of the option before it. `true` and the like always are; other words only
/// where there is one `unexpected` word.
fn detached(arguments: &[OsString], command: &Command, unexpected: bool) -> Option<String> {
    let options = arguments.iter().take_while(|word| *word != "--");
    let words: Vec<&str> = options.map_while(|word| word.to_str()).collect();
    words.windows(2).find_map(|pair| {
        let (option, value) = (pair[0], pair[1]);
        let long = option.strip_prefix("--")?;
        let arg = command.get_arguments().find(|arg| is_named(arg, long))?;
        let is_value = value.parse::<Switch>().is_ok();
        if is_value && matches!(arg.get_action(), ArgAction::SetTrue) {
            return Some(format!(
                "{option} {value}: {option} takes no value: leave {value} out"
            ));
        }
        let switch = arg.get_value_names().is_some_and(|names| names == ["BOOL"]);
        let meant = if switch {
            is_value
        } else {
            unexpected && !value.starts_with('-')
        };
        (arg.is_require_equals_set() && meant).then(|| {
            format!(
                "{option} {value}: the value stands behind an equals sign: write {option}={value}"
            )
        })
    })
}

/// Whether an option has this name, or this other name.
fn is_named(arg: &Arg, name: &str) -> bool {
    let others = arg.get_all_aliases().unwrap_or_default();
    arg.get_long()
        .into_iter()
        .chain(others)
        .any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Options;

    fn said(line: &str) -> String {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        parse::<Options>("b2fuse", &arguments)
            .map_or_else(|fault| fault.to_string(), |_| String::new())
    }

    #[test]
    fn a_value_that_stands_apart_is_told_how_to_be_written() {
        for (line, remedy) in [
            ("--read-only true /m", "write --read-only=true"),
            ("--read_only false /m", "write --read_only=false"),
            ("--allow-other yes", "write --allow-other=yes"),
            ("-v --debug true /m", "leave true out"),
            ("--emulator /data /m", "write --emulator=/data"),
            ("--from-b2-cli work /m", "write --from-b2-cli=work"),
        ] {
            assert!(said(line).contains(remedy), "{line}: {}", said(line));
        }
        for line in [
            "--read-only /m",
            "--read-only=true /m",
            "--read-only ./true",
            "--emulator /m",
            "--memory 1GiB /m",
        ] {
            assert_eq!(said(line), "", "{line}");
        }
        assert!(said("--nonsense true /m").contains("unexpected argument '--nonsense'"));
        assert!(
            said("--raed-only /m").contains("'--read-only'"),
            "{}",
            said("--raed-only /m")
        );
        assert!(said("/a /b").contains("unexpected argument '/b'"));
    }
}
