//! git: repositories on the mount, with their work trees, through packing, cloning and another mount.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::place::{Bucket, Place};
use crate::support::tools::{both, finish, program, run};
use crate::support::tree::{self, names, noise, put};

crate::scenarios! {
    a_repository_is_what_it_would_be_elsewhere,
    packing_loses_nothing,
    clones_go_in_out_and_around,
    pushes_and_fetches_meet_in_a_bare_repository,
    worktrees_have_their_links_and_modes,
    a_lock_file_keeps_others_out,
    commits_at_once_are_all_there_or_refused,
}

/// A line of shell in which git knows nobody's settings and dates everything alike, so that the same
/// work makes the same hashes.
fn command(line: &str, within: &Path) -> Command {
    let mut command = program("bash");
    command
        .args(["-euo", "pipefail", "-c", line, "bash"])
        .current_dir(within)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove("GIT_DIR");
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "A U Thor")
            .env(format!("GIT_{who}_EMAIL"), "author@example.org")
            .env(format!("GIT_{who}_DATE"), "1700000000 +0100");
    }
    command
}

fn git(line: &str, within: &Path) -> String {
    run(&mut command(line, within))
}

fn try_git(line: &str, within: &Path) -> Output {
    finish(&mut command(line, within))
}

/// A directory of this machine.
fn elsewhere() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Two branches, a merge, a tag; renames, removals, links and modes on the way.
const HISTORY: &str = "
    git init -q -b main .
    git add -A
    git commit -qm 'the tree'
    git checkout -qb side
    for i in 1 2 3 4 5; do
        seq $i 400 > numbers
        git add numbers
        git commit -qm \"numbers $i\"
    done
    git mv numbers 'numbers moved'
    git rm -q large.bin
    chmod +x plain
    ln -sfn 'numbers moved' link
    git commit -qam 'moved, removed, made executable'
    git checkout -q main
    echo more >> plain
    git commit -qam 'on main'
    git merge -q -m 'both' side
    git tag -a v1 -m 'a tag'
";

/// Everything that git knows of the state, in hashes; and that nothing is left to commit.
const STATE: &str = "
    git for-each-ref
    git log --all --format='%H %T %s'
    git ls-files -s
    git status --porcelain
    git diff HEAD --raw
    git fsck --full --strict --no-progress
";

/// Fills a directory and makes a repository of it.
fn repository(at: &Path) {
    tree::build(at, 200);
    put(&at.join("large.bin"), &noise(201, 1_500_000));
    put(&at.join("plain"), b"plain\n");
    let links = "ln -s plain link; ln -s no/where dangling; ln -s . 'to here'";
    git(links, at);
    git(HISTORY, at);
}

/// What has to come out, by the same work on this machine.
fn truth() -> (tempfile::TempDir, String) {
    let twin = elsewhere();
    repository(twin.path());
    let state = git(STATE, twin.path());
    assert!(state.contains("refs/tags/v1"), "{state}");
    assert!(state.contains("120000"), "links: {state}");
    assert!(state.contains("100755"), "modes: {state}");
    (twin, state)
}

fn a_repository_is_what_it_would_be_elsewhere(place: &mut dyn Place) {
    let (_twin, state) = truth();
    let at = place.path().join("repository");
    repository(&at);
    assert_eq!(git(STATE, &at), state);
    place.remount();
    assert_eq!(git(STATE, &at), state);
    // The work goes on where it was left, with stashes and rebases.
    let on = "
        echo changed >> plain
        git stash -q
        git checkout -q side
        git rebase -q main
        git stash pop -q
        git commit -qam 'after the other mount'
        git reset -q --hard HEAD~1
        git reflog | wc -l
    ";
    git(on, &at);
    place.remount();
    let status = git(
        "git status --porcelain; git fsck --full --no-dangling --no-progress",
        &at,
    );
    assert_eq!(status, "");
    // Nothing that git made on the way is left in the bucket: what another client gets is a repository.
    let stored = place.stored().join("repository");
    let all = "mkdir -p .git/refs .git/objects; git fsck --full --strict --no-dangling --no-progress; \
               git for-each-ref; git log --all --format='%H %T %s'; find .git -type f | sort";
    assert_eq!(git(all, &stored), git(all, &at));
}

fn packing_loses_nothing(place: &mut dyn Place) {
    let (_twin, state) = truth();
    let at = place.path().join("repository");
    repository(&at);
    git("git gc -q --prune=now", &at);
    assert_eq!(git(STATE, &at), state);
    place.remount();
    assert_eq!(git(STATE, &at), state);
    git(
        "git repack -adfq --depth=50 --window=50; git pack-refs --all; git prune",
        &at,
    );
    git("git multi-pack-index write; git commit-graph write", &at);
    place.remount();
    assert_eq!(git(STATE, &at), state);
    let counted = git("git count-objects -v", &at);
    for line in ["count: 0", "packs: 1", "garbage: 0"] {
        assert!(counted.lines().any(|found| found == line), "{counted}");
    }
    git("git verify-pack .git/objects/pack/*.idx", &at);
}

fn clones_go_in_out_and_around(place: &mut dyn Place) {
    let (twin, _) = truth();
    let state = "git log --format='%H %T %s' origin/main origin/side; git ls-files -s; \
                 git status --porcelain; git fsck --full --strict --no-progress";
    let root = place.path().to_owned();
    let back = elsewhere();
    let source = twin.path().display();
    git(&format!("git clone -q '{source}' in"), &root);
    let expected = git(state, &root.join("in"));
    assert!(expected.contains("both"), "{expected}");
    // Within one filesystem git would link the objects, and copies them where it may not.
    git(&format!("git clone -q '{source}' between"), back.path());
    git("git clone -q between between2", back.path());
    assert_eq!(git(state, &back.path().join("between")), expected);
    git("git clone -q in around", &root);
    git("git clone -q --no-local in apart", &root);
    let compare = |at: &Path| {
        let at = git(
            "git log --format='%H %T %s'; git ls-files -s; git status --porcelain; \
             git fsck --full --strict --no-progress",
            at,
        );
        assert!(at.contains("both"), "{at}");
        at
    };
    let plain = compare(&back.path().join("between"));
    assert_eq!(compare(&root.join("around")), plain);
    assert_eq!(compare(&root.join("apart")), plain);
    place.remount();
    assert_eq!(git(state, &root.join("in")), expected);
    assert_eq!(compare(&root.join("around")), plain);
    git(
        &format!("git clone -q '{}' out", root.join("in").display()),
        back.path(),
    );
    assert_eq!(compare(&back.path().join("out")), plain);
}

fn pushes_and_fetches_meet_in_a_bare_repository(place: &mut dyn Place) {
    let (twin, _) = truth();
    let bare = place.path().join("bare.git");
    git("git init -q --bare -b main bare.git", place.path());
    let (ours, theirs) = (twin.path(), elsewhere());
    git(&format!("git remote add mount '{}'", bare.display()), ours);
    git("git push -q mount main side --tags", ours);
    git(
        &format!("git clone -q '{}' clone", bare.display()),
        theirs.path(),
    );
    let theirs = theirs.path().join("clone");
    for round in 1..=3 {
        git(
            "echo ours >> ours; git add ours; git commit -qm ours; git push -q mount main",
            ours,
        );
        git(
            "git fetch -q; git reset -q --hard origin/main; \
             echo theirs >> theirs; git add theirs; git commit -qm theirs; git push -q origin main",
            &theirs,
        );
        git(
            "git fetch -q mount; git merge -q --ff-only mount/main",
            ours,
        );
        place.remount();
        let counted = git("git rev-list --count main -- ours theirs", &bare);
        assert_eq!(counted.trim(), (2 * round).to_string());
    }
    // Behind by a commit: refused, and nothing changed.
    git(
        "git commit -q --allow-empty -m ahead; git push -q mount main",
        ours,
    );
    let refused = try_git(
        "git commit -q --allow-empty -m behind; git push origin main",
        &theirs,
    );
    assert!(both(&refused).contains("[rejected]"), "{}", both(&refused));
    let last = git("git rev-parse main", ours);
    assert_eq!(git("git rev-parse main", &bare), last);
    git("git branch -q -D side; git gc -q --prune=now", &bare);
    place.remount();
    assert_eq!(git("git fsck --full --no-progress", &bare), "");
    assert_eq!(
        git("git for-each-ref --format='%(refname)'", &bare),
        "refs/heads/main\nrefs/tags/v1\n"
    );
    assert_eq!(git("git rev-parse main", &bare), last);
}

fn worktrees_have_their_links_and_modes(place: &mut dyn Place) {
    let (twin, _) = truth();
    let at = place.path().join("repository");
    let look = "cd ../linked; find . -path ./.git -prune -o -printf '%P %y %m %l\\n' | sort; \
                git status --porcelain; git rev-parse --abbrev-ref HEAD";
    let mut found = Vec::new();
    let nest = elsewhere();
    let other = nest.path().join("repository");
    git(
        &format!("cp -a '{}' '{}'", twin.path().display(), other.display()),
        nest.path(),
    );
    git(
        &format!("cp -a '{}' '{}'", twin.path().display(), at.display()),
        place.path(),
    );
    for at in [&other, &at] {
        git(
            "git worktree add -q ../linked side; git worktree lock ../linked",
            at,
        );
        found.push(git(look, at));
    }
    assert_eq!(found[0], found[1]);
    place.remount();
    assert_eq!(git(look, &at), found[0]);
    git(
        "cd ../linked; echo x > x; git add x; git commit -qm 'in the worktree'",
        &at,
    );
    git(
        "git worktree unlock ../linked; git worktree remove ../linked; git log -1 --format=%s side | grep 'in the worktree'",
        &at,
    );
    place.remount();
    assert_eq!(names(place.path()), ["repository"]);
    assert_eq!(git("git worktree list | wc -l", &at).trim(), "1");
}

fn a_lock_file_keeps_others_out(place: &mut dyn Place) {
    let at = place.path();
    git("git init -q -b main .; echo x > x; : > .git/index.lock", at);
    let refused = try_git("git add x", at);
    assert!(!refused.status.success());
    assert!(both(&refused).contains("File exists"), "{}", both(&refused));
    git("rm .git/index.lock; git add x; git commit -qm x", at);
    // The same of the shell: one of many makes the file.
    let line = "
        for i in $(seq 16); do
            (set -C; { echo $i > lock; } 2> /dev/null && echo made) &
        done | grep -c made
        cat lock | wc -l
    ";
    assert_eq!(git(line, at), "1\n1\n");
    place.remount();
    assert_eq!(git("git status --porcelain", place.path()), "?? lock\n");
}

fn commits_at_once_are_all_there_or_refused(place: &mut dyn Place) {
    let at = place.path().join("repository");
    git(
        "git init -q -b main repository; cd repository; git commit -q --allow-empty -m first",
        place.path(),
    );
    // Whoever does not get a lock fails; the history holds as many commits as were told of.
    let line = "
        for process in 1 2 3 4; do
            (for i in 1 2 3 4 5 6; do
                git commit -q --allow-empty -m \"$process $i\" 2> /dev/null && echo made || true
            done) &
        done | grep -c made
    ";
    let made = git(line, &at);
    let made: u32 = made.trim().parse().expect("a number");
    assert!(made >= 1, "nobody got the lock");
    let counted = "git rev-list --count HEAD";
    assert_eq!(git(counted, &at).trim(), (made + 1).to_string());
    place.remount();
    assert_eq!(git(counted, &at).trim(), (made + 1).to_string());
    // Leftovers of the losers are no locks.
    assert_eq!(git("find .git -name '*.lock'", &at), "");
    assert_eq!(git("git fsck --full --no-dangling --no-progress", &at), "");
}

/// Why hash files are not listed unless the configuration says so.
#[test]
fn listed_hash_files_are_branches_and_objects_to_git() {
    let place = Bucket::with("list_hashfiles: true\n");
    let at = place.path();
    git(
        "git init -q -b main .; echo x > x; git add x; git commit -qm x",
        at,
    );
    assert_eq!(git("git status --porcelain", at), "?? x.sha1\n");
    let said = both(&try_git("git fsck --full --no-progress", at));
    assert!(said.contains("refs/heads/main.sha1"), "{said}");
    assert!(said.contains("bad sha1 file: .git/objects/"), "{said}");
}
