//! Renames, removals, directories.

use super::*;

#[test]
fn a_file_rename_never_leaves_neither() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            let (a, b) = (root.join("a"), root.join("b"));
            whole_or_absent(&a, b"content");
            whole_or_absent(&b, b"content");
            assert!(a.exists() || b.exists());
            if told {
                assert!(b.exists() && !a.exists());
            }
        };
        Case {
            config,
            prepare: &|root| put(&root.join("a"), b"content"),
            act: &|root| {
                fs::rename(root.join("a"), root.join("b"))?;
                sync(root)
            },
            check: &check,
        }
        .at_every_call();
    }
}

#[test]
fn a_rename_over_a_file_shows_the_old_or_the_new_one() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            let (tmp, f) = (root.join("tmp"), root.join("f"));
            whole_or_absent(&tmp, b"new");
            assert!(is(&f, b"old") || is(&f, b"new"), "{:?}", found(&f));
            assert!(is(&f, b"new") || is(&tmp, b"new"), "{:?}", found(&f));
            if told {
                assert!(is(&f, b"new") && !tmp.exists());
            }
        };
        Case {
            config,
            prepare: &|root| {
                put(&root.join("f"), b"old");
                put(&root.join("tmp"), b"new");
            },
            act: &|root| {
                fs::rename(root.join("tmp"), root.join("f"))?;
                sync(root)
            },
            check: &check,
        }
        .at_every_call();
    }
}

/// As editors do: `f` always has a content, also where nothing is sent before the end.
#[test]
fn a_file_that_is_replaced_by_a_new_one_never_has_no_content() {
    for config in [HIDE, PURGE, LATER] {
        let check = |root: &Path, told: bool| {
            let f = root.join("f");
            assert!(is(&f, b"old") || is(&f, b"new"), "{:?}", found(&f));
            whole_or_absent(&root.join("tmp"), b"new");
            if told {
                assert!(is(&f, b"new"), "{:?}", found(&f));
            }
        };
        Case {
            config,
            prepare: &|root| put(&root.join("f"), b"old"),
            act: &|root| {
                write(&root.join("tmp"), b"new")?;
                fs::rename(root.join("tmp"), root.join("f"))?;
                sync(&root.join("f"))?;
                sync(root)
            },
            check: &check,
        }
        .at_every_call();
    }
}

/// Nothing waits for B2 here but the end of the mount.
#[test]
fn what_was_replaced_outlives_a_second_rename_of_what_replaced_it() {
    let check = |root: &Path, _: bool| {
        let (f, g) = (root.join("f"), root.join("g"));
        let kept = is(&f, b"old") || is(&f, b"new") || is(&g, b"new");
        assert!(kept, "{:?} {:?}", found(&f), found(&g));
    };
    Case {
        config: LATER,
        prepare: &|root| put(&root.join("f"), b"old"),
        act: &|root| {
            write(&root.join("tmp"), b"new")?;
            fs::rename(root.join("tmp"), root.join("f"))?;
            fs::rename(root.join("f"), root.join("g"))
        },
        check: &check,
    }
    .at_every_call();
}

#[test]
fn a_directory_rename_has_every_file_under_one_of_both_names() {
    const FILES: [&str; 4] = ["a", "b", "sub/c", "sub/d"];
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            for name in FILES {
                let (d, e) = (root.join("d").join(name), root.join("e").join(name));
                whole_or_absent(&d, name.as_bytes());
                whole_or_absent(&e, name.as_bytes());
                assert!(d.exists() || e.exists(), "{name}");
            }
            let empty = |top: &str| root.join(top).join("empty").is_dir();
            assert!(empty("d") || empty("e"));
            if told {
                assert_eq!(tree::names(root), ["e"]);
            }
        };
        Case {
            config,
            prepare: &|root| {
                fs::create_dir_all(root.join("d/sub")).unwrap();
                fs::create_dir(root.join("d/empty")).unwrap();
                for name in FILES {
                    put(&root.join("d").join(name), name.as_bytes());
                }
            },
            act: &|root| {
                fs::rename(root.join("d"), root.join("e"))?;
                sync(root)
            },
            check: &check,
        }
        .at_every_call();
    }
}

#[test]
fn a_removal_shows_no_older_version() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            whole_or_absent(&root.join("f"), b"third");
            if told {
                assert!(!root.join("f").exists());
            }
            assert!(is(&root.join("f2"), b"another"));
        };
        Case {
            config,
            prepare: &|root| {
                for content in ["first", "second", "third"] {
                    put(&root.join("f"), content.as_bytes());
                }
                put(&root.join("f2"), b"another");
            },
            act: &|root| {
                fs::remove_file(root.join("f"))?;
                sync(root)
            },
            check: &check,
        }
        .at_every_call();
    }
}

#[test]
fn a_new_directory_is_there_once_it_was_told() {
    let check = |root: &Path, told: bool| {
        let sub = root.join("d/sub");
        assert!(sub.is_dir() || !told);
        assert!(is(&root.join("d/f"), b"content"));
    };
    Case {
        config: HIDE,
        prepare: &|root| {
            fs::create_dir(root.join("d")).unwrap();
            put(&root.join("d/f"), b"content");
        },
        act: &|root| {
            fs::create_dir(root.join("d/sub"))?;
            sync(&root.join("d/sub"))
        },
        check: &check,
    }
    .at_every_call();
}

#[test]
fn a_directory_outlives_its_last_file() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            whole_or_absent(&root.join("d/last"), b"content");
            // Its marker follows the removal, and fsync waits for both.
            if told {
                assert!(root.join("d").is_dir());
                assert!(!root.join("d/last").exists());
            }
        };
        Case {
            config,
            prepare: &|root| {
                fs::create_dir(root.join("d")).unwrap();
                put(&root.join("d/last"), b"content");
            },
            act: &|root| {
                fs::remove_file(root.join("d/last"))?;
                sync(&root.join("d"))
            },
            check: &check,
        }
        .at_every_call();
    }
}

#[test]
fn a_directory_that_was_removed_stays_so() {
    for config in [HIDE, PURGE] {
        let check = |root: &Path, told: bool| {
            if told {
                assert!(!root.join("d").exists());
            }
            assert!(is(&root.join("f"), b"content"));
        };
        Case {
            config,
            prepare: &|root| {
                fs::create_dir(root.join("d")).unwrap();
                put(&root.join("f"), b"content");
            },
            act: &|root| {
                fs::remove_dir(root.join("d"))?;
                sync(root)
            },
            check: &check,
        }
        .at_every_call();
    }
}
