//! Words that make the command another one than a mount. A mountpoint of such a name is `./rescue`.

use std::ffi::OsString;

use super::{check, helper, reference, rescue, running, setup};

/// Runs the command that the first argument names, if it names one.
pub(super) fn run(arguments: &[OsString]) -> Option<u8> {
    let (first, rest) = arguments.split_first()?;
    Some(match first.to_str()? {
        "rescue" => rescue::run(rest),
        "check" => check::run(rest),
        "setup" => setup::run(rest),
        "fstab" => helper::fstab::run(rest),
        "install-helper" => helper::install::run(rest),
        "man" => reference::man::run(rest),
        "completions" => reference::completions::run(rest),
        other => return running::run(other, rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_arguments_are_for_the_mount() {
        let other = [
            vec![],
            vec!["./rescue"],
            vec!["./fstab"],
            vec!["./status"],
            vec!["/status"],
            vec!["--debug", "rescue"],
        ];
        for other in other {
            let arguments: Vec<OsString> = other.into_iter().map(OsString::from).collect();
            assert!(run(&arguments).is_none());
        }
    }
}
