//! What is written, and what is changed of attributes.

use super::*;

#[test]
fn a_small_file_is_the_old_one_or_the_new_one() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            let f = root.join("f");
            assert!(is(&f, b"old") || is(&f, b"new"), "{:?}", found(&f));
            whole_or_absent(&root.join("made"), b"made");
            if told {
                assert!(is(&f, b"new") && is(&root.join("made"), b"made"));
            }
        };
        Case {
            config,
            prepare: &|root| put(&root.join("f"), b"old"),
            act: &|root| {
                write_and_sync(&root.join("f"), b"new")?;
                write_and_sync(&root.join("made"), b"made")
            },
            check: &check,
        }
        .at_every_call();
    }
}

#[test]
fn a_large_file_is_the_old_one_or_the_new_one() {
    let (old, new) = (noise(1, 12_000_000), noise(2, 12_000_000));
    let check = |root: &Path, told: bool| {
        let f = root.join("f");
        let good = is(&f, &new) || (is(&f, &old) && !told);
        assert!(good, "{:?} bytes", found(&f).map(|found| found.len()));
    };
    Case {
        config: LARGE,
        prepare: &|root| put(&root.join("f"), &old),
        act: &|root| write_and_sync(&root.join("f"), &new),
        check: &check,
    }
    .at_every_call();
}

#[test]
fn a_large_file_that_is_patched_and_grown_is_the_old_one_or_a_synced_one() {
    let old = noise(3, 12_000_000);
    let mut patched = old.clone();
    patched[6_000_000..6_000_005].copy_from_slice(b"patch");
    let grown = [&patched[..], b"and more"].concat();
    let check = |root: &Path, told: bool| {
        let f = root.join("f");
        let older = is(&f, &old) || is(&f, &patched);
        let good = is(&f, &grown) || (older && !told);
        assert!(good, "{:?} bytes", found(&f).map(|found| found.len()));
    };
    Case {
        config: LARGE,
        prepare: &|root| put(&root.join("f"), &old),
        act: &|root| {
            let keep = "conv=notrunc,fsync";
            dd(&root.join("f"), b"patch", &[keep, "seek=6000000"])?;
            dd(&root.join("f"), b"and more", &[keep, "seek=12000000"])
        },
        check: &check,
    }
    .at_every_call();
}

#[test]
fn a_change_of_attributes_never_costs_the_content() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            let f = root.join("f");
            assert!(is(&f, b"content"), "{:?}", found(&f));
            let mode = fs::metadata(&f).unwrap().permissions().mode() & 0o777;
            assert!(mode == 0o600 || (mode == 0o644 && !told), "{mode:o}");
        };
        Case {
            config,
            prepare: &|root| {
                put(&root.join("f"), b"older");
                put(&root.join("f"), b"content");
            },
            act: &|root| {
                fs::set_permissions(root.join("f"), fs::Permissions::from_mode(0o600))?;
                sync(&root.join("f"))
            },
            check: &check,
        }
        .at_every_call();
    }
}
