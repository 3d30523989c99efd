//! Many files written at once in little memory.

use std::time::Duration;

use b2fuse::emulator;
use b2fuse::io::Settings;

use super::rig::{MIB, Rig, noise, settings};

const FILES: u64 = 120;
const PIECES: u64 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_many_files_come_to_their_end_in_little_memory() {
    let settings = Settings {
        memory: 24 * MIB,
        ..settings()
    };
    let options = emulator::Options {
        latency: Duration::from_millis(20),
        ..emulator::Options::default()
    };
    let rig = Rig::with(settings, Duration::from_secs(20), options).await;
    let writers: Vec<_> = (0..FILES)
        .map(|number| {
            let file = rig.create(&format!("f{number}"));
            tokio::spawn(async move {
                for piece in 0..PIECES {
                    let data = noise(number * PIECES + piece, MIB as usize);
                    file.write(piece * MIB, data).await?;
                }
                // A commit that somebody else has asked for may have been the last one.
                file.commit().await?;
                Ok::<_, b2fuse::io::Error>(file)
            })
        })
        .collect();
    for (number, writer) in (0..).zip(writers) {
        let file = writer.await.expect("no panic").expect("written and stored");
        let pieces = (0..PIECES).map(|piece| noise(number * PIECES + piece, MIB as usize));
        rig.stores(&file, &pieces.collect::<Vec<_>>().concat())
            .await;
    }
    assert_eq!(rig.io.memory_unsent(), 0);
}
