//! A bucket whose rows say anything, in names, numbers and file info: a tree of names that Linux can hold, each of which is
//! there as it was listed.
#![no_main]

use std::collections::HashSet;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use b2fuse::b2::Client;
use b2fuse::io::{self, Io};
use b2fuse::vfs::{
    Delete, Entry, Error, FileKind, HardLinks, HashFiles, Ino, Names, Overwrite, Permissions,
    Settings, Vfs,
};
use b2fuse_fuzz::{Rows, listed};
use libfuzzer_sys::fuzz_target;

/// Directories below one another that are looked into.
const DEPTH: usize = 3;
/// What can be asked of every file.
const ATTRIBUTES: [&str; 7] = [
    "user.b2.sha1",
    "user.b2.file_id",
    "user.b2.content_type",
    "user.b2.upload_timestamp",
    "user.b2.info.mode",
    "user.b2.url",
    "user.b2fuse.state",
];

async fn mount(client: Client, names: Names) -> Result<Vfs, Error> {
    let timeout = Duration::from_millis(50);
    let io = Io::new(
        client.clone(),
        io::Settings {
            memory: 24 << 20,
            large_file: 16 << 20,
            part_size: 6 << 20,
            uploads: 1,
            downloads: 1,
            verify_reads: true,
            timeout,
        },
    );
    let settings = Settings {
        prefix: String::new(),
        metadata_ttl: Duration::from_secs(600),
        delete: Delete::Hide,
        overwrite: Overwrite::Keep,
        drop_versions_within: Duration::ZERO,
        quota: None,
        read_only: true,
        uid: 0,
        gid: 0,
        umask: 0o022,
        permissions: Permissions::Keep,
        hard_links: HardLinks::Refuse,
        names,
        hash_files: HashFiles::Listed,
        parallel: 1,
        names_max: 1000,
        write_back: None,
        store_open: None,
        timeout,
    };
    Vfs::new(client, io, settings).await
}

/// All entries of a directory, `.` and `..` left out.
async fn entries(vfs: &Vfs, dir: Ino) -> Result<Vec<(Vec<u8>, Entry)>, Error> {
    let fh = vfs.opendir(dir).await?;
    let mut all = Vec::new();
    let mut offset = 0;
    loop {
        vfs.readdir_fill(fh, offset).await?;
        let before = offset;
        let more = vfs.readdir_emit(fh, offset, true, &mut |entry, with| {
            offset = entry.next;
            if let (Some(with), false) = (with, [&b"."[..], b".."].contains(&&*entry.name)) {
                assert_eq!(with.attr.kind, entry.kind);
                all.push((entry.name.to_vec(), with));
            }
            ControlFlow::Continue(())
        })?;
        match more {
            Some(more) => offset = more,
            None if offset == before => break,
            None => {}
        }
    }
    vfs.releasedir(fh);
    Ok(all)
}

async fn look(vfs: &Vfs, dir: Ino, depth: usize) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for (name, entry) in entries(vfs, dir).await? {
        assert!((1..=255).contains(&name.len()), "{name:?}");
        assert!(!name.contains(&b'/') && !name.contains(&0), "{name:?}");
        assert!(seen.insert(name.clone()), "twice: {name:?}");
        let found = vfs.lookup(dir, OsStr::from_bytes(&name)).await;
        assert!(!matches!(found, Err(Error::NotFound)), "{name:?}");
        let found = found?;
        assert_eq!(found.attr.ino, entry.attr.ino, "{name:?}");
        assert_eq!(found.attr.kind, entry.attr.kind, "{name:?}");
        let ino = found.attr.ino;
        let (attr, _) = vfs.getattr(ino).await?;
        assert_eq!(attr.mode & !0o7777, 0, "{name:?}: {:o}", attr.mode);
        let listed = vfs.listxattr(ino).await?;
        for attribute in listed.split(|byte| *byte == 0).filter(|a| !a.is_empty()) {
            assert!(attribute.len() <= 255, "{attribute:?}");
            vfs.getxattr(ino, OsStr::from_bytes(attribute)).await?;
        }
        for attribute in ATTRIBUTES {
            let _ = vfs.getxattr(ino, OsStr::new(attribute)).await;
        }
        match attr.kind {
            FileKind::Directory if depth > 0 => Box::pin(look(vfs, ino, depth - 1)).await?,
            FileKind::Symlink => {
                if let Ok(target) = vfs.readlink(ino).await {
                    assert!(target.len() <= 4096, "{}", target.len());
                }
            }
            FileKind::File => {
                let Ok(opened) = vfs.open(ino, 0).await else {
                    continue;
                };
                for at in [
                    0,
                    attr.size.saturating_sub(5),
                    attr.size,
                    i64::MAX as u64 - 8,
                ] {
                    if let Ok(pieces) = vfs.read(opened.fh, at, 8).await {
                        let came: usize = pieces.iter().map(|piece| piece.len()).sum();
                        let rest = attr.size.saturating_sub(at).min(8);
                        assert!(came as u64 <= rest, "{came} of {rest}");
                    }
                }
                vfs.release(opened.fh);
            }
            _ => {}
        }
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let names = match data.len() % 2 {
        0 => Names::Refuse,
        _ => Names::Encode,
    };
    listed(Rows::of(&text), async |client| {
        if let Ok(vfs) = mount(client, names).await {
            let _ = look(&vfs, Ino::ROOT, DEPTH).await;
        }
    });
});
