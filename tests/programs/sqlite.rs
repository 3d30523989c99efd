//! SQLite databases on the mount: what was committed is there, what was not is rolled back, whoever
//! dies in the middle: the program, or b2fuse itself.
//!
//! No test says that this is a good place for a live database; they say that none is broken by it.

use std::path::Path;

use crate::held::Held;
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::place::Place;
use crate::support::tools::{program, run};
use crate::support::tree::{get, names};

crate::scenarios! {
    a_writer_killed_in_a_transaction_leaves_a_journal_that_is_rolled_back,
    what_was_committed_outlives_another_mount,
    several_processes_add_up,
    a_database_with_a_write_ahead_log_serves_several_processes,
    vacuum_and_large_values_hold,
}

/// Opens `path` by the journal mode and the `synchronous` of the arguments; statements commit by
/// themselves unless a transaction is begun.
const OPEN: &str = "
import sqlite3, sys, time
path, journal, synchronous = sys.argv[1:4]
base = sqlite3.connect(path, isolation_level=None, timeout=60)
found = base.execute('PRAGMA journal_mode=' + journal).fetchone()[0]
assert found == journal, found
base.execute('PRAGMA synchronous=' + synchronous)
";

/// Commits numbered rows, one after the other, each with a value that spills over pages; says each number
/// when it is committed.
const COMMITS: &str = "
base.execute('CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, v BLOB)')
base.execute('PRAGMA cache_size=10')
n = base.execute('SELECT coalesce(max(n), 0) FROM t').fetchone()[0]
while True:
    n += 1
    base.execute('BEGIN IMMEDIATE')
    base.execute('INSERT INTO t VALUES (?, randomblob(?))', (n, 100 + n * 977 % 9000))
    base.execute('UPDATE t SET v = randomblob(length(v)) WHERE n % 7 = ?', (n % 7,))
    base.execute('COMMIT')
    print(n, flush=True)
    if len(sys.argv) > 4 and n >= int(sys.argv[4]): break
";

/// Changes everything in one transaction, so much that pages reach the file, and stays there.
const UNFINISHED: &str = "
base.execute('PRAGMA cache_size=10')
base.execute('BEGIN IMMEDIATE')
base.execute('UPDATE t SET v = zeroblob(length(v))')
base.execute('DELETE FROM t WHERE n % 2 = 0')
print('in the middle', flush=True)
time.sleep(1000)
";

/// What `PRAGMA integrity_check`, and all the rows, say by the `sqlite3` command line.
fn state(path: &Path) -> String {
    let said = run(program("sqlite3").arg("-batch").arg(path).arg(
        "PRAGMA busy_timeout=60000; PRAGMA integrity_check; \
         SELECT count(*), min(n), max(n), sum(n) FROM t; SELECT n, hex(v) FROM t ORDER BY n;",
    ));
    assert!(said.starts_with("60000\nok\n"), "{said}");
    said
}

/// The number of the last row; fails unless all before it are there.
fn last(path: &Path) -> u64 {
    let said = state(path);
    let row = said.lines().nth(2).expect("a row");
    let numbers: Vec<u64> = row.split('|').map(|n| n.parse().unwrap_or(0)).collect();
    let last = numbers[2];
    assert_eq!(
        numbers,
        [last, u64::from(last > 0), last, last * (last + 1) / 2]
    );
    last
}

fn commit(path: &Path, journal: &str, until: u64) {
    let script = format!("{OPEN}{COMMITS}");
    run(program("python3").args(["-c", &script]).arg(path).args([
        journal,
        "FULL",
        &until.to_string(),
    ]));
}

fn a_writer_killed_in_a_transaction_leaves_a_journal_that_is_rolled_back(place: &mut dyn Place) {
    for journal in ["delete", "truncate", "persist"] {
        let path = place.path().join(format!("{journal}.db"));
        commit(&path, journal, 30);
        let before = state(&path);
        for remount in [false, true] {
            let whole = get(&path);
            let script = format!("{OPEN}{UNFINISHED}");
            let mut writer = Held::python(
                &script,
                [path.as_os_str(), journal.as_ref(), "FULL".as_ref()],
            );
            assert_eq!(writer.line().as_deref(), Some("in the middle"));
            writer.kill();
            // Not for show: there is a journal, and the file has changed.
            let left = path.with_extension("db-journal");
            assert!(std::fs::metadata(&left).unwrap().len() > 4096, "{journal}");
            assert_ne!(get(&path), whole, "{journal}");
            if remount {
                place.remount();
            }
            assert_eq!(state(&path), before, "{journal}, remounted: {remount}");
        }
        commit(&path, journal, 35);
        assert_eq!(last(&path), 35);
    }
}

fn what_was_committed_outlives_another_mount(place: &mut dyn Place) {
    let path = place.path().join("base.db");
    let mut expected = String::new();
    for (round, journal) in (1..).zip(["delete", "truncate", "persist", "wal", "delete"]) {
        commit(&path, journal, round * 20);
        let now = state(&path);
        assert_eq!(last(&path), round * 20);
        assert_ne!(now, expected);
        expected = now;
        place.remount();
        assert_eq!(state(&path), expected, "after {journal}");
    }
    // Back from the log and out of its last journal: the file is all there is.
    assert_eq!(names(place.path()), ["base.db"]);
    assert_eq!(state(&place.stored().join("base.db")), expected);
}

/// Adds to a counter and to a list, many times, from several processes at once.
fn add_up(place: &mut dyn Place, journal: &str) {
    let path = place.path().join("base.db");
    let prepare = "CREATE TABLE c (x INTEGER); INSERT INTO c VALUES (0); \
                   CREATE TABLE t (n INTEGER PRIMARY KEY, v BLOB)";
    run(program("sqlite3").arg(&path).arg(prepare));
    run(program("sqlite3")
        .arg(&path)
        .arg(format!("PRAGMA journal_mode={journal}")));
    let script = format!(
        "{OPEN}
for i in range(15):
    base.execute('BEGIN IMMEDIATE')
    x = base.execute('SELECT x FROM c').fetchone()[0]
    base.execute('INSERT INTO t VALUES (?, ?)', (x + 1, sys.argv[4]))
    base.execute('UPDATE c SET x = ?', (x + 1,))
    base.execute('COMMIT')
"
    );
    std::thread::scope(|scope| {
        for process in 0..4 {
            let (script, path) = (&script, &path);
            scope.spawn(move || {
                run(program("python3").args(["-c", script]).arg(path).args([
                    journal,
                    "NORMAL",
                    &process.to_string(),
                ]))
            });
        }
    });
    assert_eq!(last(&path), 60);
    place.remount();
    assert_eq!(last(&path), 60);
}

fn several_processes_add_up(place: &mut dyn Place) {
    add_up(place, "delete");
}

fn a_database_with_a_write_ahead_log_serves_several_processes(place: &mut dyn Place) {
    add_up(place, "wal");
}

fn vacuum_and_large_values_hold(place: &mut dyn Place) {
    let path = place.path().join("base.db");
    commit(&path, "delete", 40);
    let lines = "
        INSERT INTO t SELECT n + 40, randomblob(200000) FROM t;
        DELETE FROM t WHERE n > 70;
        CREATE INDEX i ON t (length(v));
        VACUUM;
        REINDEX;
        ANALYZE;
        PRAGMA page_size=16384;
        VACUUM;
    ";
    run(program("sqlite3").arg(&path).arg(lines));
    let now = state(&path);
    assert_eq!(last(&path), 70);
    place.remount();
    assert_eq!(state(&path), now);
    assert_eq!(state(&place.stored().join("base.db")), now);
}

/// When b2fuse is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kill {
    /// While the writer goes on.
    Amid,
    /// While it does nothing, after a commit.
    Between,
}

/// Commits until `b2fuse` is killed under the writer, again and again; gives for each time the last number that
/// the writer was told, and the last that is there.
fn killed_under_the_writer(journal: &str, synchronous: &str, when: Kill) -> Vec<(u64, u64)> {
    let emulator = Emulator::start();
    let mut mount = Mount::new(&emulator);
    let path = mount.path().join("base.db");
    // It ends by an error, and need not say so.
    let script = format!("import sys; sys.stderr = None\n{OPEN}{COMMITS}time.sleep(1000)\n");
    let mut seen = Vec::new();
    let mut told = 0;
    for round in 0..5 {
        let until = told + 4 + round * 3;
        let stop = match when {
            Kill::Amid => u64::MAX,
            Kill::Between => until,
        };
        let mut writer = Held::python(
            &script,
            [path.as_os_str(), journal.as_ref(), synchronous.as_ref()]
                .into_iter()
                .chain([stop.to_string().as_ref()]),
        );
        while told < until {
            let line = writer.line().expect("the next commit");
            told = line.parse().expect("its number");
        }
        mount.kill();
        if when == Kill::Amid {
            // What it was told until the filesystem went away.
            while let Some(line) = writer.line() {
                told = line.parse().expect("its number");
            }
        }
        writer.kill();
        mount.remount();
        let there = last(&path);
        seen.push((told, there));
        told = there;
    }
    seen
}

/// The commit that was under way may be there.
#[track_caller]
fn nothing_told_is_lost(seen: &[(u64, u64)]) {
    for (told, there) in seen {
        assert!((*told..=told + 1).contains(there), "{seen:?}");
    }
}

#[test]
fn a_crash_after_a_commit_costs_nothing_with_a_truncated_journal() {
    nothing_told_is_lost(&killed_under_the_writer("truncate", "FULL", Kill::Amid));
}

#[test]
fn a_crash_after_a_commit_costs_nothing_with_a_kept_journal() {
    nothing_told_is_lost(&killed_under_the_writer("persist", "FULL", Kill::Amid));
}

#[test]
fn a_crash_after_a_commit_costs_nothing_with_a_write_ahead_log() {
    nothing_told_is_lost(&killed_under_the_writer("wal", "FULL", Kill::Amid));
}

/// Removing the journal is the commit, and only `EXTRA` waits for the removal (`fsync` of the directory). A filesystem
/// that goes away between these two SQLite takes for one whose directories cannot be synced.
#[test]
fn a_crash_after_a_commit_costs_nothing_with_a_deleted_journal_and_synchronous_extra() {
    let seen = killed_under_the_writer("delete", "EXTRA", Kill::Between);
    for (told, there) in &seen {
        assert_eq!(told, there, "{seen:?}");
    }
}

/// With `FULL` SQLite does not wait for the removal of the journal: the last transactions may be rolled back,
/// as on any disk; nothing is broken.
#[test]
fn a_crash_after_a_commit_costs_at_most_the_last_one_with_a_deleted_journal() {
    let seen = killed_under_the_writer("delete", "FULL", Kill::Amid);
    for (told, there) in &seen {
        assert!(
            (told.saturating_sub(1)..=told + 1).contains(there),
            "{seen:?}"
        );
    }
}
