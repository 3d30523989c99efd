//! Files that leave in parts while they are written.

use super::*;

/// Writes to a new file until parts of it are in B2 and in no memory, and tells what it holds.
async fn stream_into(vfs: &Vfs, io: &Io, server: &Server, fh: Fh) -> Vec<u8> {
    let mut content = Vec::new();
    while calls(server, "b2_upload_part") == 0 {
        assert!(content.len() < 400 << 20, "no part ever leaves");
        let piece: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
            .take(1 << 20)
            .collect();
        let data = Bytes::copy_from_slice(&piece);
        vfs.write(fh, content.len() as u64, data).await.unwrap();
        content.extend(piece);
    }
    history::until("a part is there", async || {
        io.memory_unsent() < content.len() as u64
    })
    .await;
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_removed_while_its_parts_leave_is_read_to_its_end() {
    for (delete, left) in [(Delete::Hide, vec!["big hide"]), (Delete::Purge, vec![])] {
        let server = server();
        let settings = Settings {
            delete,
            ..settings()
        };
        let (vfs, io) = mount_within(&server, settings, 64 << 20).await;
        let (_, fh) = create(&vfs, Ino::ROOT, "big").await;
        let mut content = stream_into(&vfs, &io, &server, fh).await;
        vfs.unlink(Ino::ROOT, os("big")).await.unwrap();
        assert!(matches!(
            vfs.lookup(Ino::ROOT, os("big")).await,
            Err(Error::NotFound)
        ));
        assert!(read_all(&vfs, fh).await.unwrap() == content);
        let end = content.len() as u64;
        vfs.write(fh, end, Bytes::from_static(b"and on"))
            .await
            .unwrap();
        vfs.write(fh, 7, Bytes::from_static(b"over")).await.unwrap();
        content.extend(b"and on");
        content[7..11].copy_from_slice(b"over");
        vfs.flush(fh).await.unwrap();
        assert!(read_all(&vfs, fh).await.unwrap() == content);
        vfs.release(fh);
        for _ in 0..200 {
            if versions(&server).await == left {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(versions(&server).await, left);
        assert!(vfs.drain().await.is_empty());
        assert_eq!(calls(&server, "b2_start_large_file"), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_replaced_while_its_parts_leave_is_read_to_its_end() {
    let server = server();
    let (vfs, io) = mount_within(&server, settings(), 64 << 20).await;
    put(&vfs, Ino::ROOT, "new", b"new").await;
    let (_, fh) = create(&vfs, Ino::ROOT, "big").await;
    let content = stream_into(&vfs, &io, &server, fh).await;
    vfs.rename(Ino::ROOT, os("new"), Ino::ROOT, os("big"), 0)
        .await
        .unwrap();
    assert!(read_all(&vfs, fh).await.unwrap() == content);
    assert_eq!(get(&vfs, Ino::ROOT, "big").await.unwrap(), b"new");
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    for _ in 0..200 {
        if versions(&server).await == ["big upload"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(versions(&server).await, ["big upload"]);
    let again = mount(&server, settings()).await;
    assert_eq!(get(&again, Ino::ROOT, "big").await.unwrap(), b"new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_larger_than_the_memory_limit_goes_through() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "big").await;
    let piece = |i: u64| Bytes::from(vec![(i % 251) as u8; 1_000_000]);
    for i in 0..150 {
        vfs.write(fh, i * MB, piece(i)).await.unwrap();
    }
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    let entry = vfs.lookup(Ino::ROOT, os("big")).await.unwrap();
    assert_eq!(entry.attr.size, 150 * MB);
    let fh = vfs.open(entry.attr.ino, RDWR).await.unwrap().fh;
    vfs.write(fh, 75 * MB + 5, Bytes::from_static(b"patch"))
        .await
        .unwrap();
    let before = server.counters();
    vfs.flush(fh).await.unwrap();
    let after = server.counters();
    assert!(after.bytes_in - before.bytes_in < 12 * MB);
    let all = read_all(&vfs, fh).await.unwrap();
    vfs.release(fh);
    let mut expected: Vec<u8> = (0..150).flat_map(piece).collect();
    expected[75_000_005..75_000_010].copy_from_slice(b"patch");
    assert!(all == expected);
}
