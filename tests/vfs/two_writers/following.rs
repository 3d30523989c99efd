//! Open files that grow at the other end: who reads one goes on with what was appended, and with nothing else.

use super::history::*;
use super::*;

fn hasty() -> Settings {
    Settings {
        metadata_ttl: Duration::from_millis(100),
        ..settings()
    }
}

async fn append(vfs: &Vfs, name: &str, text: &[u8]) {
    let file = ino(vfs, Ino::ROOT, name).await;
    let fh = vfs
        .open(file, libc::O_WRONLY | libc::O_APPEND)
        .await
        .unwrap()
        .fh;
    let size = vfs.getattr(file).await.unwrap().0.size;
    vfs.write(fh, size, Bytes::copy_from_slice(text))
        .await
        .unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
}

/// What fstat(2) shows once what is known has expired, asked for until it is so.
async fn has_size(vfs: &Vfs, file: Ino, size: u64) {
    until("a size", async || {
        vfs.getattr(file).await.unwrap().0.size == size
    })
    .await;
}

/// What fstat(2) shows some time later.
async fn size_later(vfs: &Vfs, file: Ino) -> u64 {
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(110)).await;
        vfs.getattr(file).await.unwrap();
    }
    vfs.getattr(file).await.unwrap().0.size
}

async fn read(vfs: &Vfs, fh: Fh, offset: u64) -> Vec<u8> {
    let pieces = vfs.read(fh, offset, 1 << 20).await.unwrap();
    pieces.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_comes_to_who_has_the_file_open() {
    let server = server();
    let writer = mount(&server, hasty()).await;
    put(&writer, Ino::ROOT, "log", b"one\n").await;
    let reader = mount(&server, hasty()).await;
    let file = ino(&reader, Ino::ROOT, "log").await;
    let fh = reader.open(file, RDONLY).await.unwrap().fh;
    assert_eq!(read(&reader, fh, 0).await, b"one\n");
    let mut at = 4;
    for line in [b"two\n", b"tre\n", b"for\n"] {
        append(&writer, "log", line).await;
        has_size(&reader, file, at + 4).await;
        assert_eq!(read(&reader, fh, at).await, line);
        // tail -F: the name is the same file.
        assert_eq!(ino(&reader, Ino::ROOT, "log").await, file);
        at += 4;
    }
    assert_eq!(read(&reader, fh, 0).await, b"one\ntwo\ntre\nfor\n");
    // Attributes make another version of the same bytes.
    let theirs = ino(&writer, Ino::ROOT, "log").await;
    chmod(&writer, theirs, 0o600).await;
    stored(&writer).await;
    until("a mode", async || {
        reader.getattr(file).await.unwrap().0.mode & 0o777 == 0o600
    })
    .await;
    append(&writer, "log", b"end\n").await;
    has_size(&reader, file, at + 4).await;
    assert_eq!(read(&reader, fh, at).await, b"end\n");
    reader.release(fh);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_appends_between_two_looks_are_followed() {
    for remounted in [false, true] {
        let server = server();
        let mut writer = mount(&server, hasty()).await;
        put(&writer, Ino::ROOT, "log", b"0").await;
        let reader = mount(&server, hasty()).await;
        let file = ino(&reader, Ino::ROOT, "log").await;
        let fh = reader.open(file, RDONLY).await.unwrap().fh;
        for _ in 0..20 {
            append(&writer, "log", b"1").await;
            if remounted {
                stored(&writer).await;
                writer = mount(&server, hasty()).await;
            }
        }
        has_size(&reader, file, 21).await;
        assert_eq!(read(&reader, fh, 0).await, b"011111111111111111111");
        assert_eq!(ino(&reader, Ino::ROOT, "log").await, file);
        reader.release(fh);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_content_is_another_file() {
    let changes: [(&str, u64, &'static [u8]); 4] = [
        ("patched", 0, b"X"),
        ("patched and longer", 2, b"XXXXXX"),
        ("cut", 1, b""),
        ("new", 0, b"content and more"),
    ];
    for (what, at, bytes) in changes {
        let server = server();
        let writer = mount(&server, hasty()).await;
        put(&writer, Ino::ROOT, "f", b"content").await;
        let reader = mount(&server, hasty()).await;
        let file = ino(&reader, Ino::ROOT, "f").await;
        let fh = reader.open(file, RDONLY).await.unwrap().fh;
        let theirs = ino(&writer, Ino::ROOT, "f").await;
        let flags = match what {
            "new" => libc::O_WRONLY | libc::O_TRUNC,
            _ => libc::O_WRONLY,
        };
        let writing = writer.open(theirs, flags).await.unwrap().fh;
        if what == "cut" {
            let cut = SetAttr {
                size: Some(at),
                ..SetAttr::default()
            };
            writer.setattr(theirs, cut).await.unwrap();
        } else {
            write_at(&writer, writing, at, bytes).await;
        }
        writer.flush(writing).await.unwrap();
        writer.release(writing);
        stored(&writer).await;
        assert_eq!(size_later(&reader, file).await, 7, "{what}");
        assert_eq!(read(&reader, fh, 0).await, b"content", "{what}");
        assert_ne!(ino(&reader, Ino::ROOT, "f").await, file, "{what}");
        reader.release(fh);
    }
}

async fn write_at(vfs: &Vfs, fh: Fh, at: u64, bytes: &'static [u8]) {
    vfs.write(fh, at, Bytes::from_static(bytes)).await.unwrap();
}

/// Both have appended to the same version: neither of theirs continues the other.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_append_at_once_neither_is_taken_for_the_other() {
    let server = server();
    let one = mount(&server, hasty()).await;
    put(&one, Ino::ROOT, "log", b"0").await;
    let two = mount(&server, hasty()).await;
    let open = async |vfs: &Vfs| {
        let file = ino(vfs, Ino::ROOT, "log").await;
        vfs.open(file, libc::O_WRONLY | libc::O_APPEND)
            .await
            .unwrap()
            .fh
    };
    let (first, second) = (open(&one).await, open(&two).await);
    write_at(&one, first, 1, b"first").await;
    one.flush(first).await.unwrap();
    one.release(first);
    stored(&one).await;
    let reader = mount(&server, hasty()).await;
    let file = ino(&reader, Ino::ROOT, "log").await;
    let fh = reader.open(file, RDONLY).await.unwrap().fh;
    assert_eq!(read(&reader, fh, 0).await, b"0first");
    write_at(&two, second, 1, b"second").await;
    two.flush(second).await.unwrap();
    two.release(second);
    stored(&two).await;
    assert_eq!(size_later(&reader, file).await, 6);
    assert_eq!(read(&reader, fh, 0).await, b"0first");
    assert_ne!(ino(&reader, Ino::ROOT, "log").await, file);
    reader.release(fh);
}

/// Parts that copy what was there, and one with what is new.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_grows_as_well() {
    let server = server();
    let writer = mount(&server, hasty()).await;
    let (_, fh) = create(&writer, Ino::ROOT, "large").await;
    for piece in 0..12_u64 {
        let bytes = Bytes::from(vec![piece as u8; 1 << 20]);
        writer.write(fh, piece << 20, bytes).await.unwrap();
    }
    writer.flush(fh).await.unwrap();
    writer.release(fh);
    stored(&writer).await;
    let reader = mount(&server, hasty()).await;
    let file = ino(&reader, Ino::ROOT, "large").await;
    let fh = reader.open(file, RDONLY).await.unwrap().fh;
    append(&writer, "large", b"the end").await;
    has_size(&reader, file, (12 << 20) + 7).await;
    assert_eq!(read(&reader, fh, 12 << 20).await, b"the end");
    assert_eq!(read(&reader, fh, 7 << 20).await, vec![7; 1 << 20]);
    reader.release(fh);
}

/// Who appends may delete what it has replaced.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_read_from_what_continues_it() {
    let server = server();
    let replacing = Settings {
        overwrite: Overwrite::Replace,
        ..hasty()
    };
    let writer = mount(&server, replacing).await;
    put(&writer, Ino::ROOT, "log", b"one\n").await;
    let reader = mount(&server, settings()).await;
    let file = ino(&reader, Ino::ROOT, "log").await;
    let fh = reader.open(file, RDONLY).await.unwrap().fh;
    append(&writer, "log", b"two\n").await;
    stored(&writer).await;
    let all = b"one\ntwo\n".to_vec();
    assert_eq!(history(&server, "log").await, [Some(all.clone())]);
    assert_eq!(read(&reader, fh, 0).await, all);
    assert_eq!(ino(&reader, Ino::ROOT, "log").await, file);
    reader.release(fh);
    // What does not continue it is another file.
    let third = mount(&server, settings()).await;
    let file = ino(&third, Ino::ROOT, "log").await;
    let fh = third.open(file, RDONLY).await.unwrap().fh;
    let theirs = ino(&writer, Ino::ROOT, "log").await;
    let flags = libc::O_WRONLY | libc::O_TRUNC;
    let writing = writer.open(theirs, flags).await.unwrap().fh;
    write_at(&writer, writing, 0, b"a longer content").await;
    writer.flush(writing).await.unwrap();
    writer.release(writing);
    stored(&writer).await;
    let other = Some(b"a longer content".to_vec());
    assert_eq!(history(&server, "log").await, [other]);
    let read = third.read(fh, 0, 100).await;
    assert!(matches!(read, Err(Error::Stale)), "{read:?}");
    third.release(fh);
}

/// Nobody waits: an open file is there whatever B2 does.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_does_not_reach_who_asks_for_the_size_of_an_open_file() {
    let server = server();
    let writer = mount(&server, hasty()).await;
    put(&writer, Ino::ROOT, "log", b"one\n").await;
    let reader = mount(&server, hasty()).await;
    let file = ino(&reader, Ino::ROOT, "log").await;
    let fh = reader.open(file, RDONLY).await.unwrap().fh;
    server
        .set_faults(&["list_file_names:503", "list_file_versions:503"])
        .unwrap();
    assert_eq!(size_later(&reader, file).await, 4);
    server.set_faults(&[]).unwrap();
    append(&writer, "log", b"two\n").await;
    has_size(&reader, file, 8).await;
    reader.release(fh);
}
