//! Modes, owners, times and links, by the programs that set and show them.

use crate::support::place::Place;
use crate::support::tools::shell;

crate::scenarios! {
    a_shared_directory_hands_its_group_down,
    times_are_set_one_by_one,
    directories_count_the_directories_in_them,
    a_new_owner_or_new_content_takes_set_id_bits_away,
    the_umask_is_kept_to,
}

/// Runs a line in the place, and fails unless it prints this.
#[track_caller]
fn prints(place: &dyn Place, line: &str, expected: &str) {
    let found = shell(&format!("cd \"$1\"; {line}"), [place.path()]);
    assert_eq!(found.trim_end(), expected, "what `{line}` prints");
}

fn a_shared_directory_hands_its_group_down(place: &mut dyn Place) {
    prints(
        place,
        "mkdir team && chgrp 77 team && chmod 2775 team && mkdir -p team/a/b && echo x > team/a/f \
         && ln -s f team/a/l && mkfifo team/a/p && stat -c '%n %g %a' team/a team/a/b team/a/f team/a/l team/a/p",
        "team/a 77 2755\nteam/a/b 77 2755\nteam/a/f 77 644\nteam/a/l 77 777\nteam/a/p 77 644",
    );
    place.remount();
    prints(
        place,
        "echo y > team/a/b/g && stat -c '%n %g %a' team team/a team/a/b team/a/b/g",
        "team 77 2775\nteam/a 77 2755\nteam/a/b 77 2755\nteam/a/b/g 77 644",
    );
}

fn times_are_set_one_by_one(place: &mut dyn Place) {
    prints(
        place,
        "touch -d @1000 f && touch -a -d @2000 f && stat -c '%X %Y' f && touch -m -d @3000 f && stat -c '%X %Y' f \
         && touch -r f g && stat -c '%X %Y' g && ln -s f l && touch -h -d @4000 l && stat -c '%X %Y' l f",
        "2000 1000\n2000 3000\n2000 3000\n4000 4000\n2000 3000",
    );
    prints(
        place,
        "before=$(stat -c %z f); touch -d @3000 f; test \"$before\" != \"$(stat -c %z f)\" && mkdir d \
         && touch -a -d @5000 d && touch -m -d @6000 d && stat -c '%X %Y' d",
        "5000 6000",
    );
}

fn directories_count_the_directories_in_them(place: &mut dyn Place) {
    prints(
        place,
        "mkdir -p d/a d/b e && touch d/f && stat -c '%n %h' d d/a e d/f && mv d/b e/ && stat -c '%n %h' d e \
         && rmdir d/a && stat -c '%n %h' d",
        "d 4\nd/a 2\ne 2\nd/f 1\nd 3\ne 3\nd 2",
    );
    place.remount();
    prints(
        place,
        "ls d e > list && cat list && stat -c '%n %h' d e",
        "d:\nf\n\ne:\nb\nd 2\ne 3",
    );
}

fn a_new_owner_or_new_content_takes_set_id_bits_away(place: &mut dyn Place) {
    prints(
        place,
        "echo x > f && chown 65534:65534 f && chmod 6755 f && stat -c %a f && chown 65534:1 f && stat -c %a f",
        "6755\n755",
    );
    prints(
        place,
        "mkdir d && chmod 6755 d && chown 1:1 d && stat -c %a d",
        "6755",
    );
}

fn the_umask_is_kept_to(place: &mut dyn Place) {
    prints(
        place,
        "umask 027; echo x > f; mkdir d; mkfifo p; umask 777; echo y > g; stat -c '%n %a' f d p g",
        "f 640\nd 750\np 640\ng 0",
    );
}
