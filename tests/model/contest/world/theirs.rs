//! What the other client does.

use super::*;

pub(super) fn name_of(what: &Theirs) -> &'static str {
    match what {
        Theirs::Upload { name, .. }
        | Theirs::Hide { name }
        | Theirs::DeleteNewest { name }
        | Theirs::Copy { name, .. } => name,
    }
}

/// B acts on what it finds as the newest version; A may be at it as well, so that a version may be gone again.
pub(super) fn act_theirs(bucket: &Bucket, what: &Theirs) -> Found {
    let name = name_of(what);
    if let Theirs::Upload { token, .. } = what {
        bucket.upload(name, &theirs_token(*token));
        return Found::Newest(None);
    }
    let newest = bucket.versions_of(name).into_iter().next();
    let Some(newest) = newest.filter(|newest| newest.action != "start") else {
        return Found::Nothing;
    };
    let content = if newest.action == "upload" {
        let Some(content) = bucket.try_download(&newest.id) else {
            return Found::Nothing;
        };
        Some(content)
    } else {
        None
    };
    let delete = || {
        let version = json!({"fileName": name, "fileId": newest.id});
        bucket.try_call("b2_delete_file_version", &version)
    };
    let done = match what {
        Theirs::Hide { .. } => {
            let name = json!({"bucketId": bucket.id, "fileName": name});
            bucket.try_call("b2_hide_file", &name)
        }
        Theirs::DeleteNewest { .. } => delete(),
        Theirs::Copy { mode, .. } if content.is_some() => {
            let copy = json!({
                "sourceFileId": newest.id,
                "fileName": name,
                "metadataDirective": "REPLACE",
                "contentType": "b2/x-auto",
                "fileInfo": {"mode": format!("{:o}", 0o100_000 | mode)},
            });
            bucket.try_call("b2_copy_file", &copy)
        }
        Theirs::Copy { .. } | Theirs::Upload { .. } => return Found::Nothing,
    };
    if done.is_err() {
        return Found::Nothing;
    }
    if let Theirs::Copy { delete: true, .. } = what {
        // A's own, where A has changed it meanwhile: then it is gone already.
        drop(delete());
    }
    Found::Newest(content)
}
