//! Whose a version is: what lies between the version that was made and the one that was believed in, and what calls of
//! unknown outcome have made.
//!
//! Decided by ids and by everything else that a row says, never by time stamps, and without asking B2.

use super::checks::Chain;
use crate::b2::{Action, FileId, FileVersion, Lost};
use crate::io::Stamp;
use crate::vfs::ask::look::Versions;

/// What lies between what was made and what was last verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::vfs) enum Between {
    /// Nothing of others.
    Nothing,
    /// Another client's version, which was the newest one.
    Theirs(Box<FileVersion>),
    /// The same, and an earlier deed has put content on it.
    Under(Box<FileVersion>),
    /// Somebody else has removed the file.
    Removed,
    /// It lies farther down than was looked.
    Farther,
    /// What was made is not among the rows: B2 lists it late, or it has gone again.
    Unlisted,
    /// It has gone again.
    Gone,
}

/// Decides by ids; `own` tells the versions, and hide markers, that this mount has made.
pub(in crate::vfs) fn between(
    versions: &Versions,
    chain: &Chain,
    own: impl Fn(&FileId) -> bool,
) -> Between {
    let believed = &chain.top.believed;
    let Some(at) = versions.position(&chain.top.made) else {
        return Between::Unlisted;
    };
    let mut content = false;
    let below = &versions.rows[at + 1..];
    let before = |row: &FileVersion| {
        let mut before = chain.before.iter();
        before.find(|(made, _)| row.id.as_ref() == Some(made))
    };
    for (at, row) in below.iter().enumerate() {
        let Some(id) = &row.id else { continue };
        if believed.contains(id) {
            return Between::Nothing;
        }
        content |= before(row).is_some_and(|(_, holds)| *holds);
        match row.action {
            _ if own(id) => {}
            // New bytes are no return of old ones.
            Action::Hide if content => return Between::Nothing,
            // Nothing was believed to be there, and nothing of this mount's lies under it.
            Action::Hide
                if believed.is_empty() && !below[at..].iter().any(|row| before(row).is_some()) =>
            {
                return Between::Nothing;
            }
            Action::Hide => return Between::Removed,
            Action::Upload if content => return Between::Under(Box::new(row.clone())),
            Action::Upload => return Between::Theirs(Box::new(row.clone())),
            _ => {}
        }
    }
    match (versions.complete, believed.is_empty() || content) {
        (false, _) => Between::Farther,
        (true, true) => Between::Nothing,
        (true, false) => Between::Removed,
    }
}

/// Whether a row is what a call of unknown outcome has made, and nothing else.
pub(in crate::vfs) fn is_lost(row: &FileVersion, lost: &Lost) -> bool {
    if row.action != Action::Upload {
        return false;
    }
    if lost.id.is_some() {
        return row.id == lost.id;
    }
    let nonce = |info| Stamp::of(info).nonce;
    nonce(&lost.info).is_some()
        && nonce(&lost.info) == nonce(&row.info)
        && row.has_info(&lost.info)
        && lost.size.is_none_or(|size| size == row.size)
        && lost.sha1.is_none_or(|sha1| row.whole_sha1() == Some(sha1))
}

/// What earlier tries of the call that made a version may have made beside it.
pub(in crate::vfs) fn twins_of(version: &FileVersion) -> Option<Lost> {
    version.twins.then(|| Lost {
        id: None,
        size: Some(version.size),
        sha1: version.whole_sha1(),
        info: version.info.clone(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::supersede::{Act, Deed};
    use super::*;
    use crate::b2::{ContentSha1, FileInfo, FileName, Sha1};
    use crate::vfs::delta::Delta;

    fn id(number: u32) -> FileId {
        FileId::new(&format!("4_z1_f{number}"))
    }

    fn row(number: u32, action: Action) -> FileVersion {
        FileVersion {
            action,
            id: Some(id(number)),
            name: FileName::listed("f"),
            size: 3,
            sha1: ContentSha1::Verified(Sha1([7; 20])),
            content_type: None,
            info: FileInfo::new(),
            uploaded_ms: 0,
            customer_key: false,
            twins: false,
        }
    }

    fn versions(rows: &[(u32, Action)], complete: bool) -> Versions {
        let rows = rows
            .iter()
            .map(|(number, action)| row(*number, action.clone()));
        Versions {
            rows: rows.collect(),
            complete,
        }
    }

    /// Rows, what is believed in, whether they are all, and the verdict.
    type Case<'a> = (&'a [(u32, Action)], Option<u32>, bool, &'a str);

    #[test]
    fn ids_decide_who_came_between() {
        use Action::{Hide, Upload};
        let verdict = |rows: &[(u32, Action)], believed: Option<u32>, complete| {
            // Numbers from 100 on are versions of this mount.
            let own = |one: &FileId| (100..200).any(|number| *one == id(number));
            let deed = Deed {
                full: "f".to_owned(),
                act: Act::Content,
                made: id(100),
                believed: believed.map(id).into_iter().collect(),
                lost: Vec::new(),
                twin: None,
                replaced: Vec::new(),
                delta: Delta::default(),
            };
            match between(&versions(rows, complete), &Chain::new(deed), own) {
                Between::Nothing => "nothing".to_owned(),
                Between::Theirs(row) | Between::Under(row) => row.id.expect("an id").to_string(),
                Between::Removed => "removed".to_owned(),
                Between::Farther => "farther".to_owned(),
                Between::Unlisted | Between::Gone => "unlisted".to_owned(),
            }
        };
        let cases: &[Case<'_>] = &[
            (&[(100, Upload), (1, Upload)], Some(1), true, "nothing"),
            (
                &[(100, Upload), (2, Upload), (1, Upload)],
                Some(1),
                true,
                "4_z1_f2",
            ),
            (
                &[(100, Hide), (101, Upload), (1, Upload)],
                Some(1),
                true,
                "nothing",
            ),
            (
                &[(100, Upload), (2, Hide), (1, Upload)],
                Some(1),
                true,
                "removed",
            ),
            (&[(100, Upload)], Some(1), true, "removed"),
            (&[(100, Upload)], None, true, "nothing"),
            (&[(100, Upload), (2, Upload)], None, true, "4_z1_f2"),
            (&[(100, Upload), (101, Upload)], Some(1), false, "farther"),
            (
                &[(2, Upload), (100, Upload), (1, Upload)],
                Some(1),
                true,
                "nothing",
            ),
            (&[(2, Upload), (1, Upload)], Some(1), true, "unlisted"),
        ];
        for (rows, believed, complete, wanted) in cases {
            assert_eq!(
                verdict(rows, *believed, *complete),
                *wanted,
                "{rows:?} {believed:?}"
            );
        }
    }

    /// A new file, and an attribute copy of it: a hide marker between them came when it was there.
    #[test]
    fn a_hide_marker_over_what_was_made_before_is_a_removal() {
        use Action::{Hide, Upload};
        let deed = |made, act| Deed {
            full: "f".to_owned(),
            act,
            made: id(made),
            believed: Vec::new(),
            lost: Vec::new(),
            twin: None,
            replaced: Vec::new(),
            delta: Delta::default(),
        };
        let mut chain = Chain::new(deed(101, Act::Attributes(crate::vfs::Ino::ROOT)));
        chain.before.push((id(100), true));
        let own = |one: &FileId| *one == id(100) || *one == id(101);
        let verdict = |rows: &[(u32, Action)]| between(&versions(rows, true), &chain, own);
        let removed = [(101, Upload), (1, Hide), (100, Upload)];
        assert_eq!(verdict(&removed), Between::Removed);
        let new = [(101, Upload), (100, Upload), (1, Hide), (2, Upload)];
        assert_eq!(verdict(&new), Between::Nothing);
    }

    proptest! {
        #[test]
        fn a_version_is_lost_only_if_everything_agrees(nonce: u64, other: u64, size in 0u64..5, same: bool) {
            let mut info = FileInfo::from([("mode".to_owned(), "100600".to_owned())]);
            Stamp::change(&mut info, |stamp| stamp.nonce = Some(nonce));
            let lost = Lost { id: None, size: Some(size), sha1: Some(Sha1([7; 20])), info: info.clone() };
            let mut row = row(1, Action::Upload);
            row.info = info;
            prop_assert_eq!(is_lost(&row, &lost), size == 3);
            if !same {
                Stamp::change(&mut row.info, |stamp| stamp.nonce = Some(other));
                prop_assert_eq!(is_lost(&row, &lost), size == 3 && nonce == other);
            }
            row.action = Action::Hide;
            prop_assert!(!is_lost(&row, &lost));
        }
    }
}
