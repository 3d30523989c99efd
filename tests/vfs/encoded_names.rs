//! With `names: encode`: names that B2 refuses are written as rclone does it, and come back from all that asks and tells.

use std::os::unix::ffi::OsStrExt as _;

use super::warnings::{listen, times_said};
use super::*;

fn encoding() -> Settings {
    Settings {
        names: Names::Encode,
        ..settings()
    }
}

/// Names in a directory, byte by byte.
async fn bytes(vfs: &Vfs, dir: Ino) -> Vec<Vec<u8>> {
    let fh = vfs.opendir(dir).await.unwrap();
    let mut names = Vec::new();
    let mut at = Some(0);
    while let Some(offset) = at {
        vfs.readdir_fill(fh, offset).await.unwrap();
        at = vfs
            .readdir_emit(fh, offset, false, &mut |entry, _| {
                names.push(entry.name.to_vec());
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    vfs.releasedir(fh);
    names.retain(|name| name != b"." && name != b"..");
    names.sort();
    names
}

/// What B2 shows.
async fn in_b2(server: &Server) -> Vec<String> {
    let mut shown = Vec::<String>::new();
    let mut last = String::new();
    for row in versions(server).await {
        let (name, action) = row.rsplit_once(' ').unwrap();
        if name != last && action == "upload" {
            shown.push(name.to_owned());
        }
        name.clone_into(&mut last);
    }
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn what_b2_refuses_is_made_renamed_listed_and_removed() {
    let server = server();
    let vfs = mount(&server, encoding()).await;
    put(&vfs, Ino::ROOT, "Icon\r", b"1").await;
    let dir = mkdir(&vfs, Ino::ROOT, "tab\there").await;
    put(&vfs, dir, "back\\slash", b"2").await;
    let latin = OsStr::from_bytes(b"\xe9t\xe9");
    vfs.symlink(dir, latin, b"a\nb", new(FileKind::Symlink))
        .await
        .unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(
        in_b2(&server).await,
        [
            "Icon\u{240d}",
            "tab\u{2409}here/back\u{ff3c}slash",
            "tab\u{2409}here/\u{201b}E9t\u{201b}E9"
        ]
    );
    for vfs in [&vfs, &mount(&server, encoding()).await] {
        assert_eq!(bytes(vfs, Ino::ROOT).await, [&b"Icon\r"[..], b"tab\there"]);
        let dir = vfs
            .lookup(Ino::ROOT, os("tab\there"))
            .await
            .unwrap()
            .attr
            .ino;
        assert_eq!(bytes(vfs, dir).await, [&b"back\\slash"[..], b"\xe9t\xe9"]);
        assert_eq!(get(vfs, Ino::ROOT, "Icon\r").await.unwrap(), b"1");
        let link = vfs.lookup(dir, latin).await.unwrap();
        assert_eq!(vfs.readlink(link.attr.ino).await.unwrap(), b"a\nb"[..]);
        // As B2 has them, they are other names.
        assert!(matches!(
            get(vfs, Ino::ROOT, "Icon\u{240d}").await,
            Err(Error::NotFound)
        ));
    }
    vfs.rename(dir, os("back\\slash"), Ino::ROOT, os("bell\x07"), 0)
        .await
        .unwrap();
    vfs.rename(Ino::ROOT, os("tab\there"), Ino::ROOT, os("del\x7f"), 0)
        .await
        .unwrap();
    assert_eq!(
        bytes(&vfs, Ino::ROOT).await,
        [&b"Icon\r"[..], b"bell\x07", b"del\x7f"]
    );
    assert!(vfs.drain().await.is_empty());
    assert_eq!(
        in_b2(&server).await,
        [
            "Icon\u{240d}",
            "bell\u{2407}",
            // It tells when a name went from there.
            "del\u{2421}/.bzEmpty",
            "del\u{2421}/\u{201b}E9t\u{201b}E9"
        ]
    );
    vfs.unlink(Ino::ROOT, os("Icon\r")).await.unwrap();
    vfs.unlink(Ino::ROOT, os("bell\x07")).await.unwrap();
    vfs.unlink(
        vfs.lookup(Ino::ROOT, os("del\x7f")).await.unwrap().attr.ino,
        latin,
    )
    .await
    .unwrap();
    vfs.rmdir(Ino::ROOT, os("del\x7f")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert!(in_b2(&server).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_looks_encoded_and_what_it_stands_for_are_two() {
    let server = server();
    let vfs = mount(&server, encoding()).await;
    put(&vfs, Ino::ROOT, "a\r", b"control").await;
    put(&vfs, Ino::ROOT, "a\u{240d}", b"picture").await;
    put(&vfs, Ino::ROOT, "a\u{201b}\u{240d}", b"quoted").await;
    let vfs = mount(&server, encoding()).await;
    for (name, content) in [
        ("a\r", "control"),
        ("a\u{240d}", "picture"),
        ("a\u{201b}\u{240d}", "quoted"),
    ] {
        assert_eq!(
            get(&vfs, Ino::ROOT, name).await.unwrap(),
            content.as_bytes(),
            "{name:?}"
        );
    }
    assert_eq!(bytes(&vfs, Ino::ROOT).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_show_as_another_name_is_left_alone_with_a_warning() {
    listen();
    let server = server();
    let other = client(&server).await;
    // Both would be `shown\twice`; a quote that quotes nothing; and a directory.
    upload(&other, "shown\\twice", b"raw").await;
    upload(&other, "shown\u{ff3c}twice", b"encoded").await;
    upload(&other, "stray\u{201b}quote", b"1").await;
    upload(&other, "raw\\directory/f", b"2").await;
    let before = versions(&server).await;
    let vfs = mount(&server, encoding()).await;
    for _ in 0..2 {
        assert_eq!(bytes(&vfs, Ino::ROOT).await, [b"shown\\twice"]);
        assert_eq!(
            get(&vfs, Ino::ROOT, "shown\\twice").await.unwrap(),
            b"encoded"
        );
        vfs.ask_anew();
    }
    assert_eq!(times_said("\"shown\\\\twice\": "), 1);
    assert_eq!(times_said("\"stray\u{201b}quote\": "), 1);
    assert_eq!(times_said("\"raw\\\\directory/\": "), 1);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, before);
    // Without the option, all are there.
    let plain = mount(&server, settings()).await;
    assert_eq!(bytes(&plain, Ino::ROOT).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_count_bytes_as_b2_has_them() {
    let server = server();
    let vfs = mount(&server, encoding()).await;
    let make = async |name: &[u8]| {
        let node = new(FileKind::File);
        vfs.mknod(Ino::ROOT, OsStr::from_bytes(name), node)
            .await
            .map(drop)
    };
    // Three bytes each.
    make(&[b'\r'; 83]).await.unwrap();
    assert!(matches!(make(&[b'\r'; 84]).await, Err(Error::NameTooLong)));
    // Five.
    make(&[0xff; 50]).await.unwrap();
    assert!(matches!(make(&[0xff; 51]).await, Err(Error::NameTooLong)));
    assert!(matches!(
        vfs.lookup(Ino::ROOT, OsStr::from_bytes(&[0xff; 200])).await,
        Err(Error::NameTooLong)
    ));
    let longest = [&[b'\r'; 83][..], &[0xff; 50]];
    assert_eq!(bytes(&vfs, Ino::ROOT).await, longest);
    // In all: a header takes nine bytes for each control character.
    let mut dir = Ino::ROOT;
    let mut made = 0;
    loop {
        let name = OsStr::from_bytes(&[b'\n'; 40]);
        match vfs.mkdir(dir, name, new(FileKind::Directory)).await {
            Ok(entry) => dir = entry.attr.ino,
            Err(error) => {
                assert!(matches!(error, Error::NameTooLong), "{error:?}");
                break;
            }
        }
        made += 1;
    }
    assert_eq!(made, 4);
    assert!(vfs.drain().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn hash_files_have_the_names_of_their_files() {
    let server = server();
    let listed = Settings {
        hash_files: HashFiles::Listed,
        ..encoding()
    };
    let vfs = mount(&server, listed).await;
    put(&vfs, Ino::ROOT, "Icon\r", b"abc").await;
    put(&vfs, Ino::ROOT, "\u{ff0e}", b"dot").await;
    let all = bytes(&vfs, Ino::ROOT).await;
    assert_eq!(
        all,
        [
            &b"Icon\r"[..],
            b"Icon\r.sha1",
            "\u{ff0e}".as_bytes(),
            "\u{ff0e}.sha1".as_bytes()
        ]
    );
    let hash = get(&vfs, Ino::ROOT, "Icon\r.sha1").await.unwrap();
    assert_eq!(hash, b"a9993e364706816aba3e25717850c26c9cd0d89d\n");
    for name in all {
        vfs.lookup(Ino::ROOT, OsStr::from_bytes(&name))
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_is_told_to_forget_the_name_that_it_knows() {
    let server = server();
    let other = client(&server).await;
    upload(&other, "Icon\u{240d}", b"1").await;
    let vfs = mount(&server, encoding()).await;
    vfs.lookup(Ino::ROOT, os("Icon\r")).await.unwrap();
    other
        .hide_file(&b2::FileName::listed("Icon\u{240d}"))
        .await
        .unwrap();
    vfs.ask_anew();
    assert!(bytes(&vfs, Ino::ROOT).await.is_empty());
    let stale = vfs.next_stale_entry().await;
    assert_eq!((stale.parent, &*stale.name), (Ino::ROOT, &b"Icon\r"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_given_as_b2_has_it() {
    let server = server();
    let other = client(&server).await;
    upload(&other, "raw\\dir/tab\u{2409}", b"1").await;
    upload(&other, "tab\u{2409}/f", b"2").await;
    for (prefix, name) in [("raw\\dir/", "tab\t"), ("tab\u{2409}/", "f")] {
        let within = Settings {
            prefix: prefix.to_owned(),
            ..encoding()
        };
        let vfs = mount(&server, within).await;
        assert_eq!(names(&vfs, Ino::ROOT).await, [name]);
        put(&vfs, Ino::ROOT, "new\r", b"3").await;
        assert!(vfs.drain().await.is_empty());
        assert!(
            in_b2(&server)
                .await
                .contains(&format!("{prefix}new\u{240d}"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_option_nothing_is_encoded() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    for name in [&b"a\nb"[..], b"a\x7f"] {
        let made = vfs
            .mknod(Ino::ROOT, OsStr::from_bytes(name), new(FileKind::File))
            .await;
        assert!(matches!(made, Err(Error::Invalid)), "{name:?}");
    }
    let made = vfs
        .mknod(Ino::ROOT, OsStr::from_bytes(b"\xff"), new(FileKind::File))
        .await;
    assert!(matches!(made, Err(Error::IllegalName)));
    put(&vfs, Ino::ROOT, "a\\b\u{240d}\u{201b}", b"1").await;
    assert_eq!(in_b2(&server).await, ["a\\b\u{240d}\u{201b}"]);
    assert_eq!(names(&vfs, Ino::ROOT).await, ["a\\b\u{240d}\u{201b}"]);
}
