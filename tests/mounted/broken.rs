//! What a hostile reviewer found, on a real mount: see `tests/vfs/broken.rs`.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::support::bucket::Bucket;
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;

/// Issue 11, line 1, with write-back: `close` gives 0, the mount ends with "everything is stored", and the bytes are in no
/// version. After the last close the kernel forgets an inode that has no name any more, and `Tree::free_if_unused`
/// throws away what a displaced one still has to store.
#[test]
fn what_is_written_after_another_replaced_the_file_is_stored_with_write_back() {
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    bucket.upload("f", b"as B made it");
    let config = "list_hashfiles: false\nmetadata_ttl: 1s\nwrite_back: 3s\n";
    let mut mount = Mount::with(&emulator, config);
    let path = mount.path().join("f");
    let mut file = fs::File::options()
        .read(true)
        .append(true)
        .open(&path)
        .unwrap();
    bucket.upload("f", b"again by B");
    let patience = Instant::now() + Duration::from_secs(60);
    while fs::read(&path).unwrap() != b"again by B" {
        assert!(Instant::now() < patience);
        std::thread::sleep(Duration::from_millis(100));
    }
    file.write_all(b", and A").unwrap();
    nix::unistd::close(file).unwrap();
    // Long enough for the kernel to forget the inode.
    std::thread::sleep(Duration::from_secs(1));
    mount.unmount();
    let stored: Vec<Vec<u8>> = bucket
        .versions_of("f")
        .iter()
        .map(|version| bucket.download(&version.id))
        .collect();
    assert!(
        stored.contains(&b"as B made it, and A".to_vec()),
        "{stored:?}\n{}",
        mount.messages()
    );
}
