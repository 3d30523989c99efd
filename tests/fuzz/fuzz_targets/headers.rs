//! Any status line and headers as the answer of a download: no more bytes than were asked for, or an error.
#![no_main]

use b2fuse::b2::FileId;
use b2fuse_fuzz::answered;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let answer = [b"HTTP/1.1 ".as_slice(), data, b"\r\n\r\n0123456789"].concat();
    answered(answer, async |client| {
        let Ok(mut download) = client.download(&FileId::new("4_zid"), 0..10).await else {
            return;
        };
        let mut came = 0;
        while let Ok(Some(bytes)) = download.chunk().await {
            came += bytes.len();
        }
        assert!(came <= 10, "{came}");
    });
});
