//! A media player: it looks at the head of a file and at the index at its end, plays, and is sent forward; what
//! it gets is right, and what it costs of the line has a bound.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::pages::check_seeded;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const SIZE: u64 = 400 * MIB;
/// What reading ahead has to get on with.
const MEMORY: u64 = 64 * MIB;

/// Reads and checks a stretch in pieces of what a player's demuxer buffers; gives what has been downloaded since
/// the stretch before.
fn play(file: &File, stretch: Range<u64>, emulator: &Emulator) -> u64 {
    let mut piece = vec![0; 32 * KIB as usize];
    for at in stretch.clone().step_by(piece.len()) {
        let len = (stretch.end - at).min(piece.len() as u64) as usize;
        file.read_exact_at(&mut piece[..len], at).unwrap();
        check_seeded("film.mkv", at, &piece[..len]);
    }
    let downloaded = emulator.counters().bytes_out;
    emulator.forget_counters();
    println!("{stretch:?}: {} KiB downloaded", downloaded / KIB);
    downloaded
}

#[test]
fn a_player_that_jumps_downloads_what_it_shows_and_what_was_read_ahead() {
    let emulator = Emulator::without_md5();
    emulator.seed("film.mkv", SIZE);
    let mount = Mount::with(&emulator, "list_hashfiles: false\nmemory: 64MiB\n");
    let file = File::open(mount.path().join("film.mkv")).unwrap();
    let mut all = 0;
    let mut cost = |stretch| {
        let downloaded = play(&file, stretch, &emulator);
        all += downloaded;
        downloaded
    };
    // Looked at: what was asked for, what the kernel adds to it, and the first of what might be wanted next.
    assert!(cost(0..128 * KIB) <= 2 * MIB);
    assert!(cost(SIZE - 200 * KIB..SIZE) <= 2 * MIB);
    let film = 128 * KIB..SIZE / 10 * 3;
    assert!(cost(film.clone()) <= film.end + MEMORY);
    for tenth in [4, 5, 6, 7, 8, 9] {
        let at = SIZE / 10 * tenth + 12_345 * tenth;
        assert!(cost(at..at + 6 * MIB) <= 6 * MIB + MEMORY);
    }
    assert!(all >= film.end, "{all} downloaded: nothing was in memory");
}
