//! Any status line and headers as the answer of a download: exactly the bytes that were asked for, or an error.
#![no_main]

use b2fuse::b2::FileId;
use b2fuse_fuzz::{answered, check_message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let answer = [b"HTTP/1.1 ".as_slice(), data, b"\r\n\r\n0123456789"].concat();
    answered(answer, async |client| {
        let mut download = match client.download(&FileId::new("4_zid"), 0..10).await {
            Ok(download) => download,
            Err(error) => return check_message(&error),
        };
        let mut came = 0;
        let end = loop {
            match download.chunk().await {
                Ok(Some(bytes)) => came += bytes.len(),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert!(came <= 10, "{came}");
        match end {
            Ok(()) => assert_eq!(came, 10),
            Err(error) => check_message(&error),
        }
        // What the answer says of the time is used.
        let _ = client.server_now_ms();
    });
});
