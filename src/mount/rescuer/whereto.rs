//! Where rescue directories are made: as configured, else where a machine keeps such things.

use std::ffi::OsString;
use std::path::PathBuf;

/// The option `rescue`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RescueTo {
    /// Where this user's programs keep their state.
    #[default]
    State,
    /// Nothing is written.
    Off,
    /// Below this directory.
    Dir(PathBuf),
}

/// The directory above all rescue directories; `None` when there is to be none, or no place for one.
pub(in crate::mount) fn root(
    wanted: &RescueTo,
    environment: &dyn Fn(&str) -> Option<OsString>,
    is_root: bool,
) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = environment(name).map(PathBuf::from)?;
        path.is_absolute().then_some(path)
    };
    match wanted {
        RescueTo::Off => None,
        RescueTo::Dir(dir) => Some(std::path::absolute(dir).unwrap_or_else(|_| dir.clone())),
        RescueTo::State => {
            // systemd gives a list, of which the first is the service's own.
            let given = environment("STATE_DIRECTORY")
                .and_then(|dirs| dirs.into_string().ok())
                .and_then(|dirs| dirs.split(':').next().map(PathBuf::from))
                .filter(|dir| dir.is_absolute());
            if let Some(dir) = given {
                return Some(dir.join("rescue"));
            }
            if is_root {
                return Some(PathBuf::from("/var/lib/b2fuse/rescue"));
            }
            let state = absolute("XDG_STATE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
            state.map(|state| state.join("b2fuse/rescue"))
        }
    }
}

/// Seconds since 1970 as a name: `2026-11-28T05-43-26Z`.
pub(super) fn stamp(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    // A clock that no calendar reaches is still a name of its own.
    jiff::Timestamp::from_second(seconds).map_or_else(
        |_| seconds.to_string(),
        |at| at.strftime("%Y-%m-%dT%H-%M-%SZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_and_service_has_its_place() {
        const HOME: (&str, &str) = ("HOME", "/home/a");
        let with = |set: &'static [(&'static str, &'static str)], is_root| {
            let environment = move |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let found = root(&RescueTo::State, &environment, is_root);
            found.map(|path| path.display().to_string())
        };
        for (set, is_root, place) in [
            (
                &[HOME] as &'static [_],
                false,
                Some("/home/a/.local/state/b2fuse/rescue"),
            ),
            (
                &[HOME, ("XDG_STATE_HOME", "/s")],
                false,
                Some("/s/b2fuse/rescue"),
            ),
            (
                &[HOME, ("XDG_STATE_HOME", "s")],
                false,
                Some("/home/a/.local/state/b2fuse/rescue"),
            ),
            (&[HOME], true, Some("/var/lib/b2fuse/rescue")),
            (
                &[HOME, ("STATE_DIRECTORY", "/var/lib/x:/var/lib/y")],
                true,
                Some("/var/lib/x/rescue"),
            ),
            (&[], false, None),
        ] {
            assert_eq!(with(set, is_root).as_deref(), place);
        }
        let nothing = |_: &str| None;
        assert_eq!(root(&RescueTo::Off, &nothing, true), None);
        let dir = RescueTo::Dir("/d".into());
        assert_eq!(root(&dir, &nothing, true), Some("/d".into()));
    }

    #[test]
    fn a_moment_is_a_name() {
        for (seconds, name) in [
            (0, "1970-01-01T00-00-00Z"),
            (951_782_399, "2000-02-28T23-59-59Z"),
            (951_782_400, "2000-02-29T00-00-00Z"),
            (1_795_844_606, "2026-11-28T05-43-26Z"),
            (4_107_542_400, "2100-03-01T00-00-00Z"),
        ] {
            assert_eq!(stamp(seconds), name);
        }
    }
}
