//! Extended attributes: what of them is in B2, when, at which price, and what they survive.

use super::history::shown;
use super::*;

async fn set(vfs: &Vfs, ino: Ino, name: &str, value: &[u8]) -> Result<(), Error> {
    vfs.setxattr(ino, os(name), value, 0).await
}

async fn value(vfs: &Vfs, ino: Ino, name: &str) -> Result<Vec<u8>, Error> {
    vfs.getxattr(ino, os(name)).await
}

async fn listed(vfs: &Vfs, ino: Ino) -> Vec<String> {
    let names = vfs.listxattr(ino).await.unwrap();
    let text = String::from_utf8(names).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

async fn known(vfs: &Vfs, dir: Ino, name: &str) -> Ino {
    vfs.lookup(dir, os(name)).await.unwrap().attr.ino
}

async fn rename(vfs: &Vfs, from: &str, to: &str) -> Result<(), Error> {
    vfs.rename(Ino::ROOT, os(from), Ino::ROOT, os(to), 0).await
}

/// The info of the newest version of a name.
async fn info(server: &Server, name: &str) -> b2::FileInfo {
    let request = ListVersions {
        prefix: name.to_owned(),
        max: 1,
        ..ListVersions::default()
    };
    let client = client(server).await;
    let page = client.list_file_versions(&request).await.unwrap();
    page.files[0].info.clone()
}

fn is_absent<T: std::fmt::Debug>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::NoData))
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_a_file_are_one_copy_and_survive_a_remount() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let f = put(&vfs, Ino::ROOT, "f", b"x").await;
    set(&vfs, f, "user.mime_type", b"text/plain").await.unwrap();
    set(&vfs, f, "user.Bytes", b"\0\xff").await.unwrap();
    set(&vfs, f, "user.gone", b"1").await.unwrap();
    vfs.removexattr(f, os("user.gone")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_copy_file"), 1);
    assert_eq!(versions(&server).await, ["f upload"]);
    let stored = info(&server, "f").await;
    assert_eq!(stored["xattr-mime_type"], "text/plain");
    assert_eq!(stored["xattr-~42ytes"], "0sAP8");

    let vfs = mount(&server, settings()).await;
    let f = known(&vfs, Ino::ROOT, "f").await;
    assert_eq!(listed(&vfs, f).await, ["user.mime_type", "user.Bytes"]);
    assert_eq!(value(&vfs, f, "user.Bytes").await.unwrap(), b"\0\xff");
    assert!(is_absent(&value(&vfs, f, "user.gone").await));
    assert!(is_absent(&vfs.removexattr(f, os("user.gone")).await));
    assert_eq!(calls(&server, "b2_get_file_info"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_before_close_goes_with_the_upload() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "f").await;
    vfs.write(fh, 0, Bytes::from_static(b"x")).await.unwrap();
    set(&vfs, attr.ino, "user.a", b"1").await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(info(&server, "f").await["xattr-a"], "1");
    assert_eq!(calls(&server, "b2_upload_file"), 1);
    assert_eq!(calls(&server, "b2_copy_file"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_during_the_upload_is_stored_after_it() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "f").await;
    vfs.write(fh, 0, Bytes::from_static(b"x")).await.unwrap();
    set(&vfs, attr.ino, "user.a", b"before").await.unwrap();
    server.set_faults(&["upload_file:stall=1:1"]).unwrap();
    let closing = tokio::spawn({
        let vfs = vfs.clone();
        async move { vfs.flush(fh).await }
    });
    while calls(&server, "b2_upload_file") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    set(&vfs, attr.ino, "user.a", b"during").await.unwrap();
    closing.await.unwrap().unwrap();
    vfs.release(fh);
    assert_eq!(value(&vfs, attr.ino, "user.a").await.unwrap(), b"during");
    assert!(vfs.drain().await.is_empty());
    assert_eq!(info(&server, "f").await["xattr-a"], "during");
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_stay_with_the_file_and_not_with_its_name() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    for name in ["f", "g"] {
        let ino = put(&vfs, Ino::ROOT, name, b"x").await;
        set(&vfs, ino, "user.of", name.as_bytes()).await.unwrap();
    }
    // Written anew, it is the same file.
    let f = known(&vfs, Ino::ROOT, "f").await;
    let opened = vfs.open(f, RDWR | libc::O_TRUNC).await.unwrap();
    vfs.write(opened.fh, 0, Bytes::from_static(b"new"))
        .await
        .unwrap();
    vfs.flush(opened.fh).await.unwrap();
    vfs.release(opened.fh);
    rename(&vfs, "f", "g").await.unwrap();
    assert_eq!(value(&vfs, f, "user.of").await.unwrap(), b"f");
    vfs.unlink(Ino::ROOT, os("g")).await.unwrap();
    let g = put(&vfs, Ino::ROOT, "g", b"another").await;
    assert!(listed(&vfs, g).await.is_empty());
    assert!(vfs.drain().await.is_empty());
    assert!(!info(&server, "g").await.contains_key("xattr-of"));
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_directories_are_on_their_markers_and_move_along() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    put(&vfs, d, "f", b"x").await;
    set(&vfs, d, "user.a", b"1").await.unwrap();
    assert_eq!(value(&vfs, d, "user.a").await.unwrap(), b"1");
    assert!(vfs.drain().await.is_empty());
    assert_eq!(info(&server, "d/.bzEmpty").await["xattr-a"], "1");

    let vfs = mount(&server, settings()).await;
    rename(&vfs, "d", "e").await.unwrap();
    let e = known(&vfs, Ino::ROOT, "e").await;
    assert_eq!(value(&vfs, e, "user.a").await.unwrap(), b"1");
    set(&vfs, e, "user.b", b"2").await.unwrap();
    assert!(vfs.drain().await.is_empty());

    let vfs = mount(&server, settings()).await;
    let e = known(&vfs, Ino::ROOT, "e").await;
    assert_eq!(listed(&vfs, e).await, ["user.a", "user.b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_tools_wrote_on_a_marker_stays_when_its_attributes_change() {
    let server = server();
    let marker = NewFile {
        name: b2::FileName::new("d/.bzEmpty").unwrap(),
        content_type: "application/octet-stream".to_owned(),
        info: b2::FileInfo::from([("color".to_owned(), "red".to_owned())]),
    };
    let other = client(&server).await;
    other
        .upload_file(&marker, Payload::default())
        .await
        .unwrap();
    let vfs = mount(&server, settings()).await;
    let d = known(&vfs, Ino::ROOT, "d").await;
    let mode = SetAttr {
        mode: Some(0o700),
        ..SetAttr::default()
    };
    vfs.setattr(d, mode).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(info(&server, "d/.bzEmpty").await["color"], "red");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_budget_is_no_space_and_what_fits_is_taken_by_b2() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let long = "n".repeat(100);
    let f = put(&vfs, Ino::ROOT, &long, b"x").await;
    let owner = SetAttr {
        mode: Some(0o4700),
        uid: Some(u32::MAX - 1),
        gid: Some(u32::MAX - 1),
        mtime: Some(Some(UNIX_EPOCH - Duration::new(9_000_000_000, 1))),
        ..SetAttr::default()
    };
    vfs.setattr(f, owner).await.unwrap();
    // The most that fits, found as a program would.
    let mut most = 0;
    for size in (0..2048).rev() {
        match set(&vfs, f, "user.a", &vec![b'v'; size]).await {
            Ok(()) => {
                most = size;
                break;
            }
            Err(error) => assert!(matches!(error, Error::NoSpace(_)), "{error}"),
        }
    }
    assert!(most > 1500, "{most}");
    assert!(matches!(
        set(&vfs, f, "user.b", b"1").await,
        Err(Error::NoSpace(_))
    ));
    assert_eq!(listed(&vfs, f).await, ["user.a"]);
    assert!(vfs.drain().await.is_empty());
    assert!(matches!(
        rename(&vfs, &long, &"n".repeat(101)).await,
        Err(Error::NameTooLong)
    ));
    rename(&vfs, &long, &"m".repeat(100)).await.unwrap();
    set(&vfs, f, "user.a", b"shorter").await.unwrap();
    set(&vfs, f, "user.b", b"1").await.unwrap();
    assert!(vfs.drain().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_moves_only_if_everything_below_keeps_its_attributes() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    let f = put(&vfs, d, "f", b"x").await;
    set(&vfs, f, "user.a", &[b'v'; 1610]).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    let long = "n".repeat(200);
    assert!(matches!(
        rename(&vfs, "d", &long).await,
        Err(Error::NameTooLong)
    ));
    assert_eq!(get(&vfs, d, "f").await.unwrap(), b"x");
    assert_eq!(versions(&server).await, ["d/f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_and_namespaces_are_those_of_linux() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let f = put(&vfs, Ino::ROOT, "f", b"x").await;
    let with = |flags| vfs.setxattr(f, os("user.a"), b"1", flags);
    assert!(is_absent(&with(libc::XATTR_REPLACE).await));
    with(libc::XATTR_CREATE).await.unwrap();
    assert!(matches!(with(libc::XATTR_CREATE).await, Err(Error::Exists)));
    with(libc::XATTR_REPLACE).await.unwrap();
    for other in [
        "trusted.a",
        "security.a",
        "system.posix_acl_access",
        "user.",
    ] {
        assert!(
            matches!(set(&vfs, f, other, b"1").await, Err(Error::NotSupported)),
            "{other}"
        );
        assert!(matches!(
            value(&vfs, f, other).await,
            Err(Error::NotSupported)
        ));
    }
    let hash = known(&vfs, Ino::ROOT, "f.sha1").await;
    assert!(listed(&vfs, hash).await.is_empty());
    assert!(is_absent(&value(&vfs, hash, "user.a").await));
    assert!(matches!(
        set(&vfs, hash, "user.a", b"1").await,
        Err(Error::NotPermitted)
    ));
    let read_only = Settings {
        read_only: true,
        ..settings()
    };
    let vfs = mount(&server, read_only).await;
    let f = known(&vfs, Ino::ROOT, "f").await;
    assert!(matches!(
        set(&vfs, f, "user.a", b"1").await,
        Err(Error::ReadOnly)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_b2_knows_is_shown_never_listed_and_never_changed() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let f = put(&vfs, Ino::ROOT, "f.txt", b"abc").await;
    vfs.setattr(f, at(7)).await.unwrap();
    let told = |name: &'static str| {
        let vfs = &vfs;
        async move { String::from_utf8(value(vfs, f, name).await.unwrap()).unwrap() }
    };
    assert!(vfs.drain().await.is_empty());
    let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
    assert_eq!(told("user.b2.sha1").await, sha1);
    assert_eq!(told("user.b2.content_type").await, "text/plain");
    assert_eq!(calls(&server, "b2_get_file_info"), 0);
    assert_eq!(told("user.b2.info.src_last_modified_millis").await, "7000");
    let stamp: u64 = told("user.b2.upload_timestamp").await.parse().unwrap();
    assert!(stamp > 1_000_000_000_000);
    let id = b2::FileId::new(&told("user.b2.file_id").await);
    let there = client(&server).await.get_file_info(&id).await.unwrap();
    assert_eq!(there.name.as_str(), "f.txt");
    for unknown in ["user.b2.other", "user.b2.info.other", "user.b2fuse.other"] {
        assert!(is_absent(&value(&vfs, f, unknown).await), "{unknown}");
    }
    for fixed in ["user.b2.sha1", "user.b2fuse.stats"] {
        assert!(matches!(
            set(&vfs, f, fixed, b"1").await,
            Err(Error::NotPermitted)
        ));
        assert!(matches!(
            vfs.removexattr(f, os(fixed)).await,
            Err(Error::NotPermitted)
        ));
    }
    assert!(listed(&vfs, f).await.is_empty());
    let (attr, fh) = create(&vfs, Ino::ROOT, "unsent").await;
    assert!(is_absent(&value(&vfs, attr.ino, "user.b2.sha1").await));
    vfs.release(fh);
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_permissions_show_the_defaults_and_lose_nothing() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let f = put(&vfs, Ino::ROOT, "f", b"x").await;
    let mode = |mode| SetAttr {
        mode: Some(mode),
        uid: Some(7),
        ..SetAttr::default()
    };
    vfs.setattr(f, mode(0o600)).await.unwrap();
    assert!(vfs.drain().await.is_empty());

    let ignoring = Settings {
        permissions: Permissions::Ignore,
        uid: 42,
        ..settings()
    };
    let vfs = mount(&server, ignoring).await;
    let f = known(&vfs, Ino::ROOT, "f").await;
    let copies = calls(&server, "b2_copy_file");
    let (attr, _) = vfs.setattr(f, mode(0o400)).await.unwrap();
    assert_eq!((attr.mode, attr.uid), (0o644, 42));
    let made = NewNode {
        mode: 0o777,
        uid: 5,
        ..new(FileKind::File)
    };
    let made = vfs.mknod(Ino::ROOT, os("g"), made).await.unwrap().attr;
    assert_eq!((made.mode, made.uid), (0o644, 42));
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_copy_file"), copies);
    rename(&vfs, "f", "moved").await.unwrap();
    assert!(vfs.drain().await.is_empty());

    let vfs = mount(&server, settings()).await;
    let moved = vfs.lookup(Ino::ROOT, os("moved")).await.unwrap().attr;
    assert_eq!((moved.mode, moved.uid), (0o600, 7));
}

/// As many as B2's older rules allow, and two more.
async fn set_twelve(vfs: &Vfs, ino: Ino) {
    for n in 0..12 {
        set(vfs, ino, &format!("user.k{n:02}"), b"v").await.unwrap();
    }
}

/// What is stored of an object that was given twelve attributes, by a B2 that takes ten keys.
async fn has_what_fits(server: &Server, name: &str) -> b2::FileInfo {
    let stored = info(server, name).await;
    assert_eq!(stored.len(), 10, "{stored:?}");
    assert_eq!(stored["xattr-k00"], "v");
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_of_many_info_keys_more_attributes_than_that_are_refused_when_they_are_set()
{
    let server = server();
    server.set_faults(&["info-keys=10"]).unwrap();
    let vfs = mount(&server, settings()).await;
    let f = put(&vfs, Ino::ROOT, "f", b"x").await;
    set_twelve(&vfs, f).await;
    assert!(vfs.drain().await.is_empty());
    has_what_fits(&server, "f").await;

    let g = put(&vfs, Ino::ROOT, "g", b"x").await;
    let mut taken = 0;
    for n in 0..12 {
        match set(&vfs, g, &format!("user.k{n:02}"), b"v").await {
            Ok(()) => taken += 1,
            Err(Error::NoSpace(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!((1..10).contains(&taken), "{taken}");
    assert_eq!(listed(&vfs, g).await.len(), taken);
    // What takes no further key goes on, and there is room for all that a file has besides.
    set(&vfs, g, "user.k00", b"w").await.unwrap();
    vfs.removexattr(g, os("user.k00")).await.unwrap();
    set(&vfs, g, "user.another", b"v").await.unwrap();
    let all = SetAttr {
        mode: Some(0o4711),
        uid: Some(7),
        gid: Some(8),
        ..at(9)
    };
    vfs.setattr(g, all).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    let stored = info(&server, "g").await;
    assert_eq!(stored["mode"], "104711");
    assert_eq!(stored["xattr-another"], "v");
    assert_eq!(listed(&vfs, g).await.len(), taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_that_b2_refuses_for_their_number_keep_nothing_else_from_being_stored() {
    for subject in ["content", "attributes", "rename", "directory"] {
        let server = server();
        server.set_faults(&["info-keys=10"]).unwrap();
        let vfs = mount(&server, settings()).await;
        let stored = match subject {
            "content" => {
                let (attr, fh) = create(&vfs, Ino::ROOT, "f").await;
                vfs.write(fh, 0, Bytes::from_static(b"x")).await.unwrap();
                set_twelve(&vfs, attr.ino).await;
                vfs.flush(fh).await.unwrap();
                vfs.release(fh);
                let stored = has_what_fits(&server, "f").await;
                assert_eq!(shown(&server, "f").await.unwrap(), b"x");
                let still = listed(&vfs, attr.ino).await.len();
                let kept = stored.keys().filter(|key| key.starts_with("xattr-"));
                assert_eq!(still, kept.count());
                stored
            }
            "directory" => {
                let d = mkdir(&vfs, Ino::ROOT, "d").await;
                set_twelve(&vfs, d).await;
                let mode = SetAttr {
                    mode: Some(0o700),
                    ..SetAttr::default()
                };
                vfs.setattr(d, mode).await.unwrap();
                assert!(vfs.drain().await.is_empty());
                has_what_fits(&server, "d/.bzEmpty").await
            }
            _ => {
                let f = put(&vfs, Ino::ROOT, "f", b"x").await;
                set_twelve(&vfs, f).await;
                vfs.setattr(f, at(9)).await.unwrap();
                let mut name = "f";
                if subject == "rename" {
                    rename(&vfs, "f", "g").await.unwrap();
                    name = "g";
                }
                assert!(vfs.drain().await.is_empty());
                let stored = has_what_fits(&server, name).await;
                assert_eq!(stored["src_last_modified_millis"], "9000");
                stored
            }
        };
        drop(stored);
        assert!(vfs.drain().await.is_empty(), "{subject}");
    }
}
