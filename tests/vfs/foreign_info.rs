//! Objects as s3fs, rclone and Cyberduck store them: shown as they meant them, and what they say stays.

use super::history::newest;
use super::*;

/// What s3fs says of a file.
const S3FS: &[(&str, &str)] = &[
    ("mode", "33200"),
    ("uid", "1001"),
    ("gid", "1002"),
    ("mtime", "1609459200"),
    ("atime", "1609459300.5"),
    ("ctime", "1609459400.25"),
];
/// What `rclone --metadata` says.
const RCLONE: &[(&str, &str)] = &[
    ("mode", "100640"),
    ("uid", "1003"),
    ("gid", "1004"),
    ("mtime", "2021-01-01T00:00:00.123456789Z"),
    ("atime", "2021-01-01T00:01:40Z"),
    ("btime", "2020-01-01T00:00:00Z"),
];
/// What Cyberduck says.
const CYBERDUCK: &[(&str, &str)] = &[
    ("src_last_modified_millis", "1609459200000"),
    ("src_creation_date_millis", "1577836800000"),
];
const NONSENSE: &[(&str, &str)] = &[
    ("mode", "rw-r--r--"),
    ("uid", "4294967295"),
    ("gid", "-1"),
    ("mtime", "yesterday"),
    ("atime", "1e400"),
    ("ctime", "99999999999"),
];
const ALL: &[(&str, &[(&str, &str)])] = &[
    ("s3fs", S3FS),
    ("rclone", RCLONE),
    ("cyberduck", CYBERDUCK),
    ("nonsense", NONSENSE),
];

async fn fill(server: &Server) {
    let client = client(server).await;
    for (name, info) in ALL {
        let file = NewFile {
            name: b2::FileName::new(name).unwrap(),
            content_type: "b2/x-auto".to_owned(),
            info: info
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        client
            .upload_file(&file, Payload::from(Bytes::from_static(b"content")))
            .await
            .unwrap();
    }
}

async fn attr(vfs: &Vfs, name: &str) -> Attr {
    vfs.lookup(Ino::ROOT, os(name)).await.unwrap().attr
}

fn nanos(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

async fn info(server: &Server, name: &str) -> b2::FileInfo {
    newest(&client(server).await, name).await.info
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_tools_say_of_a_file_is_shown() {
    const DAY: u128 = 1_609_459_200_000_000_000;
    const SECOND: u128 = 1_000_000_000;
    let server = server();
    fill(&server).await;
    let vfs = mount(&server, settings()).await;
    let s3fs = attr(&vfs, "s3fs").await;
    assert_eq!((s3fs.mode, s3fs.uid, s3fs.gid), (0o660, 1001, 1002));
    assert_eq!(nanos(s3fs.mtime), DAY);
    assert_eq!(nanos(s3fs.atime), DAY + 100 * SECOND + SECOND / 2);
    assert_eq!(nanos(s3fs.ctime), DAY + 200 * SECOND + SECOND / 4);
    let rclone = attr(&vfs, "rclone").await;
    assert_eq!((rclone.mode, rclone.uid, rclone.gid), (0o640, 1003, 1004));
    assert_eq!(nanos(rclone.mtime), DAY + 123_456_789);
    assert_eq!(nanos(rclone.atime), DAY + 100 * SECOND);
    let uploaded = async |name| newest(&client(&server).await, name).await.uploaded_ms;
    let upload = u128::from(uploaded("rclone").await) * 1_000_000;
    assert_eq!(nanos(rclone.ctime), upload);
    let duck = attr(&vfs, "cyberduck").await;
    assert_eq!((nanos(duck.mtime), nanos(duck.atime)), (DAY, DAY));
    let nonsense = attr(&vfs, "nonsense").await;
    assert_eq!((nonsense.mode, nonsense.uid, nonsense.gid), (0o644, 0, 0));
    let upload = u128::from(uploaded("nonsense").await) * 1_000_000;
    for time in [nonsense.mtime, nonsense.atime, nonsense.ctime] {
        assert_eq!(nanos(time), upload);
    }
    // An access time that is set here is shown before that.
    let set = SetAttr {
        atime: Some(Some(UNIX_EPOCH + Duration::from_secs(7))),
        ..SetAttr::default()
    };
    vfs.setattr(s3fs.ino, set).await.unwrap();
    assert_eq!(nanos(attr(&vfs, "s3fs").await.atime), 7 * SECOND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_tools_say_stays_through_changes() {
    let server = server();
    fill(&server).await;
    for (name, said) in ALL {
        let vfs = mount(&server, settings()).await;
        let before = attr(&vfs, name).await;
        let mode = SetAttr {
            mode: Some(0o600),
            ..SetAttr::default()
        };
        vfs.setattr(before.ino, mode).await.unwrap();
        vfs.rename(Ino::ROOT, os(name), Ino::ROOT, os("renamed"), 0)
            .await
            .unwrap();
        assert!(vfs.drain().await.is_empty());
        let again = mount(&server, settings()).await;
        let after = attr(&again, "renamed").await;
        assert_eq!(
            (after.mtime, after.atime),
            (before.mtime, before.atime),
            "{name}"
        );
        assert_eq!(
            (after.mode, after.uid, after.gid),
            (0o600, before.uid, before.gid)
        );
        let kept = info(&server, "renamed").await;
        for (key, value) in *said {
            let ours = ["mode", "uid", "gid", "src_last_modified_millis", "ctime"].contains(key);
            if !ours || *name == "nonsense" && *key == "mtime" {
                assert_eq!(
                    kept.get(*key).map(String::as_str),
                    Some(*value),
                    "{name} {key}"
                );
            }
        }
        // New content has new times, in the words of that tool as well.
        let ino = after.ino;
        let fh = again.open(ino, RDWR).await.unwrap().fh;
        again
            .write(fh, 7, Bytes::from_static(b", more"))
            .await
            .unwrap();
        again.flush(fh).await.unwrap();
        again.release(fh);
        assert!(again.drain().await.is_empty());
        let shown = attr(&again, "renamed").await;
        assert!(shown.mtime > before.mtime || *name == "nonsense");
        assert_eq!((shown.uid, shown.gid), (before.uid, before.gid));
        let kept = info(&server, "renamed").await;
        for (key, value) in *said {
            match *key {
                "atime" | "btime" | "src_creation_date_millis" => assert_eq!(kept[*key], *value),
                "mtime" if *name != "nonsense" => {
                    let seconds: u64 = kept["mtime"].parse().unwrap();
                    assert_eq!(u128::from(seconds), nanos(shown.mtime) / 1_000_000_000);
                }
                _ => {}
            }
        }
        assert_eq!(
            get(&again, Ino::ROOT, "renamed").await.unwrap(),
            b"content, more"
        );
        again.unlink(Ino::ROOT, os("renamed")).await.unwrap();
        assert!(again.drain().await.is_empty());
    }
}
