//! What lies in the bucket, by content, for tests of who may cover or delete what.

use super::*;

/// Every listing is asked from B2 again.
pub(super) fn asking() -> Settings {
    Settings {
        metadata_ttl: Duration::from_nanos(1),
        ..settings()
    }
}

pub(super) fn purging() -> Settings {
    Settings {
        delete: Delete::Purge,
        ..settings()
    }
}

/// Nothing is stored until it must be.
pub(super) fn much_later() -> Settings {
    Settings {
        write_back: Some(Duration::from_secs(3600)),
        ..settings()
    }
}

/// A mount whose calls end early, so that an outage outlasts them.
pub(super) async fn impatient(server: &Server, settings: Settings) -> Vfs {
    let client = Client::connect(b2::Options {
        endpoint: server.endpoint(),
        key_id: server.key_id().to_owned(),
        key: Secret::new(server.key()),
        bucket_id: None,
        bucket_name: Some(server.bucket_name().to_owned()),
        timeout: Duration::from_millis(800),
        uploads: 8,
        downloads: 8,
        limits: b2::Limits::default(),
    })
    .await
    .unwrap();
    mount_by(client, settings, 64 << 20).await.0
}

/// One version: its name, and its content or `None` for a hide marker.
pub(super) type Version = (String, Option<Vec<u8>>);

/// Every finished version in the bucket, in B2's order.
pub(super) async fn everything(server: &Server) -> Vec<Version> {
    let client = client(server).await;
    let request = ListVersions {
        max: 10_000,
        ..ListVersions::default()
    };
    'again: loop {
        let page = client.list_file_versions(&request).await.unwrap();
        assert!(page.next.is_none());
        let mut found = Vec::new();
        for row in page.files {
            let content = match row.action {
                Action::Upload => {
                    let content = download(&client, row.id.as_ref().unwrap(), row.size).await;
                    if content.is_none() {
                        continue 'again; // deleted since it was listed
                    }
                    content
                }
                Action::Hide => None,
                _ => continue,
            };
            found.push((row.name.as_str().to_owned(), content));
        }
        return found;
    }
}

async fn download(client: &Client, id: &b2::FileId, size: u64) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    if size > 0 {
        let mut download = match client.download(id, 0..size).await {
            Err(error) if error.kind == b2::ErrorKind::NotFound => return None,
            download => download.unwrap(),
        };
        while let Some(chunk) = download.chunk().await.unwrap() {
            content.extend_from_slice(&chunk);
        }
    }
    Some(content)
}

/// The versions of one name, newest first.
pub(super) async fn history(server: &Server, name: &str) -> Vec<Option<Vec<u8>>> {
    let all = everything(server).await.into_iter();
    all.filter(|(found, _)| found == name)
        .map(|(_, content)| content)
        .collect()
}

/// What every other client sees under a name.
pub(super) async fn shown(server: &Server, name: &str) -> Option<Vec<u8>> {
    history(server, name).await.into_iter().next().flatten()
}

/// Whether some version, of whatever name, has this content.
pub(super) async fn is_somewhere(server: &Server, content: &[u8]) -> bool {
    let all = everything(server).await;
    all.iter()
        .any(|(_, found)| found.as_deref() == Some(content))
}

/// The newest version of a name, for a client that acts on it.
pub(super) async fn newest(client: &Client, name: &str) -> b2::FileVersion {
    let request = ListVersions {
        prefix: name.to_owned(),
        max: 1,
        ..ListVersions::default()
    };
    let page = client.list_file_versions(&request).await.unwrap();
    let found = page.files.into_iter().next().unwrap();
    assert_eq!(found.name.as_str(), name);
    found
}

/// Another client removes a name.
pub(super) async fn hide(client: &Client, name: &str) {
    client.hide_file(&b2::FileName::listed(name)).await.unwrap();
}

/// Another client deletes the newest version of a name.
pub(super) async fn delete_newest(client: &Client, name: &str) {
    let found = newest(client, name).await;
    client
        .delete_file_version(&found.name, found.id.as_ref().unwrap())
        .await
        .unwrap();
}

/// Another client changes attributes as this program does: by a copy onto the name, after which the
/// version before goes.
pub(super) async fn change_mode(client: &Client, name: &str, mode: u32) {
    let before = newest(client, name).await;
    let mut info = before.info.clone();
    info.insert("mode".to_owned(), format!("{:o}", 0o100_000 | mode));
    let metadata = b2::CopyMetadata::Replace {
        content_type: "b2/x-auto".to_owned(),
        info,
    };
    let id = before.id.unwrap();
    client
        .copy_file(&id, before.size, &before.name, &metadata)
        .await
        .unwrap();
    client.delete_file_version(&before.name, &id).await.unwrap();
}

/// Polls for something that must happen; a guard against waiting for ever, no measure.
pub(super) async fn until(what: &str, happened: impl AsyncFn() -> bool) {
    for _ in 0..1000 {
        if happened().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} has not happened");
}

/// Waits until the server holds such a call.
pub(super) async fn held(server: &Server, call: &str) {
    until(call, async || {
        server.held().iter().any(|held| held.call == call)
    })
    .await;
}

/// Lets what is done behind the callers' backs come to its end.
pub(super) async fn at_rest(vfs: &Vfs) {
    until("the removals' end", async || vfs.pending().removals == 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// As `fsync` of a directory does.
pub(super) async fn sync_dir(vfs: &Vfs, dir: Ino) -> Result<(), Error> {
    let fh = vfs.opendir(dir).await.unwrap();
    let result = vfs.fsyncdir(fh).await;
    vfs.releasedir(fh);
    result
}

pub(super) async fn ino(vfs: &Vfs, parent: Ino, name: &str) -> Ino {
    vfs.lookup(parent, os(name)).await.unwrap().attr.ino
}

pub(super) async fn mv(vfs: &Vfs, from: &str, to: &str) -> Result<(), Error> {
    vfs.rename(Ino::ROOT, os(from), Ino::ROOT, os(to), 0).await
}

pub(super) async fn rm(vfs: &Vfs, name: &str) -> Result<(), Error> {
    vfs.unlink(Ino::ROOT, os(name)).await
}

pub(super) async fn chmod(vfs: &Vfs, ino: Ino, mode: u32) {
    let set = SetAttr {
        mode: Some(mode),
        ..SetAttr::default()
    };
    vfs.setattr(ino, set).await.unwrap();
}

/// The permission bits that a mount made now shows.
pub(super) async fn mode(server: &Server, name: &str) -> u32 {
    let vfs = mount(server, settings()).await;
    let entry = vfs.lookup(Ino::ROOT, os(name)).await.unwrap();
    entry.attr.mode
}

/// The names in the root, as a mount made now shows them.
pub(super) async fn names_now(server: &Server) -> Vec<String> {
    names(&mount(server, settings()).await, Ino::ROOT).await
}

/// Everything that a mount wants to be told is stored.
pub(super) async fn stored(vfs: &Vfs) {
    let left = vfs.drain().await;
    assert!(left.is_empty(), "{left:?}");
}

pub(super) async fn write(vfs: &Vfs, fh: Fh, content: &'static [u8]) {
    vfs.append(fh, Bytes::from_static(content)).await.unwrap();
}

/// A file of 20 MB that is written and still open: its first parts have left.
pub(super) async fn streamed(server: &Server, vfs: &Vfs, name: &str) -> (Fh, Vec<u8>) {
    let (_, fh) = create(vfs, Ino::ROOT, name).await;
    let mut content = vec![0; 20 << 20];
    fastrand::Rng::with_seed(7).fill(&mut content);
    for (index, piece) in (0_u64..).zip(content.chunks(1 << 20)) {
        vfs.write(fh, index << 20, Bytes::copy_from_slice(piece))
            .await
            .unwrap();
    }
    until("a part", async || calls(server, "b2_upload_part") > 0).await;
    (fh, content)
}
