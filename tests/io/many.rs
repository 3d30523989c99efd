//! Many files written at once in little memory.

use std::time::Duration;

use b2fuse::emulator;
use b2fuse::io::{Cursor, Settings};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_ahead_beside_writers_is_still_there_when_it_is_read() {
    const EACH: u64 = 32 * MIB;
    const PAIRS: u64 = 8;
    let settings = Settings {
        memory: 64 * MIB,
        ..settings()
    };
    let options = emulator::Options {
        latency: Duration::from_millis(5),
        ..emulator::Options::default()
    };
    let rig = Rig::with(settings, Duration::from_secs(20), options).await;
    let mut tasks = Vec::new();
    for number in 0..PAIRS {
        let version = rig.seed(&format!("read-{number}"), EACH).await;
        let stored = rig.io.stored(version);
        tasks.push(tokio::spawn(async move {
            let cursor = Cursor::default();
            let mut offset = 0;
            while offset < EACH {
                let data = stored.read(&cursor, offset, 128 << 10).await?;
                offset += data.iter().map(|piece| piece.len() as u64).sum::<u64>();
            }
            Ok::<_, b2fuse::io::Error>(())
        }));
        let file = rig.create(&format!("written-{number}"));
        tasks.push(tokio::spawn(async move {
            let piece = noise(number, MIB as usize);
            for at in 0..EACH / MIB {
                file.write(at * MIB, piece.clone()).await?;
            }
            file.commit().await?;
            Ok(())
        }));
    }
    for task in tasks {
        task.await.expect("no panic").expect("read, or stored");
    }
    let counters = rig.server.counters();
    let (read, out) = (PAIRS * EACH, counters.bytes_out);
    assert!(
        out <= read * 11 / 10,
        "{out} of {read}: {:?}",
        counters.calls
    );
}
