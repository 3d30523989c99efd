//! `b2fuse completions SHELL`: what a shell needs to complete the command's options, on stdout.

use std::ffi::OsString;

use clap::Parser;
use clap_complete::Shell;

use super::whole;
use crate::cli::refused;
use crate::mount;

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
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut whole(), "b2fuse", &mut out);
    out
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
}
