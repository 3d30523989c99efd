//! What becomes of nodes, and what is known of names then.

use std::collections::HashSet;

use super::*;
use crate::vfs::FileKind;
use crate::vfs::state::FileState;

fn tree() -> Tree {
    let settings = crate::vfs::tests::settings();
    let root = Meta::default_for(FileKind::Directory, &settings, 0);
    Tree::new(root, Numbers::new("bucket", ""))
}

fn add(tree: &mut Tree, parent: Ino, name: &str, directory: bool) -> Ino {
    let settings = crate::vfs::tests::settings();
    let (kind, body) = if directory {
        (FileKind::Directory, Body::Dir(Box::default()))
    } else {
        (
            FileKind::File,
            Body::Object(Object::new(FileState::made(0), None)),
        )
    };
    let meta = Meta::default_for(kind, &settings, 0);
    tree.insert(parent, Arc::from(name), meta, body)
        .expect("the parent is a directory")
}

#[test]
fn renaming_a_directory_renames_what_is_below_it() {
    let mut tree = tree();
    let a = add(&mut tree, Ino::ROOT, "a", true);
    let b = add(&mut tree, a, "b", true);
    let c = add(&mut tree, b, "c", false);
    assert_eq!(tree.path(c).as_deref(), Some("a/b/c"));
    tree.relocate(a, Ino::ROOT, Arc::from("x")).expect("moves");
    assert_eq!(tree.path(c).as_deref(), Some("x/b/c"));
    assert_eq!(tree.path(b).as_deref(), Some("x/b/"));
    assert_eq!(tree.path(Ino::ROOT).as_deref(), Some(""));
    assert_eq!(tree.child(Ino::ROOT, "a"), None);
    assert!(tree.is_below(c, a) && !tree.is_below(a, c));
}

#[test]
fn what_is_removed_lives_until_nobody_uses_it() {
    let mut tree = tree();
    let d = add(&mut tree, Ino::ROOT, "d", true);
    let f = add(&mut tree, d, "f", false);
    tree.get_mut(f).expect("there").opens = 1;
    tree.detach(d);
    assert!(tree.get(d).is_err());
    assert_eq!(tree.path(f), None);
    assert_eq!(tree.attr(f).expect("still open").nlink, 0);
    tree.get_mut(f).expect("there").opens = 0;
    tree.free_if_unused(f);
    assert!(tree.get(f).is_err());
}

#[test]
fn a_rename_detaches_what_had_the_name() {
    let mut tree = tree();
    let a = add(&mut tree, Ino::ROOT, "a", false);
    let b = add(&mut tree, Ino::ROOT, "b", false);
    tree.get_mut(b).expect("there").lookups = 1;
    tree.relocate(a, Ino::ROOT, Arc::from("b")).expect("moves");
    assert_eq!(tree.child(Ino::ROOT, "b"), Some(a));
    assert_eq!(tree.path(b), None);
    assert_eq!(tree.path(a).as_deref(), Some("b"));
}

#[test]
fn a_change_deep_below_protects_the_directories_above_it() {
    let mut tree = tree();
    let d = add(&mut tree, Ino::ROOT, "d", true);
    let e = add(&mut tree, d, "e", true);
    let began = tree.tick();
    assert!(!tree.newer_than(d, began));
    let f = add(&mut tree, e, "f", false);
    tree.touch(f);
    assert!(tree.newer_than(d, began));
}

#[test]
fn removals_during_a_listing_are_remembered_for_it() {
    let mut tree = tree();
    let f = add(&mut tree, Ino::ROOT, "f", false);
    let g = add(&mut tree, Ino::ROOT, "g", false);
    let h = add(&mut tree, Ino::ROOT, "h", false);
    let before = tree.begin_flight();
    tree.detach(f);
    let after = tree.begin_flight();
    tree.relocate(g, Ino::ROOT, Arc::from("moved"))
        .expect("moves");
    tree.forget_name(h);
    let removed = |tree: &Tree, name, began| tree.removed_since(Ino::ROOT, name, began);
    assert!(removed(&tree, "f", before) && removed(&tree, "g", before));
    assert!(!removed(&tree, "f", after) && removed(&tree, "g", after));
    assert!(!removed(&tree, "h", before), "B2 removed it");
    tree.end_flight();
    assert!(removed(&tree, "f", before));
    tree.end_flight();
    assert!(!removed(&tree, "f", before), "nothing is under way");
}

#[test]
fn directories_that_hold_something_and_are_used_weigh_more() {
    let mut tree = tree();
    assert_eq!(tree.weight(), 1);
    let d = add(&mut tree, Ino::ROOT, "d", true);
    let f = add(&mut tree, d, "f", false);
    let g = add(&mut tree, d, "g", false);
    tree.usage_mut(d).expect("a directory");
    tree.usage_mut(d).expect("a directory");
    assert_eq!(tree.weight(), 4 + 2 + 1);
    tree.drop_name(f);
    tree.relocate(g, Ino::ROOT, Arc::from("g")).expect("moves");
    assert_eq!(tree.weight(), 3 + 1 + 1);
    tree.put_away(d);
    assert_eq!(tree.weight(), 3 + 1);
    tree.usage_mut(d).expect("a directory");
    tree.detach(d);
    tree.detach(g);
    assert_eq!(tree.weight(), 1);
}

#[test]
fn what_is_known_of_a_name() {
    use crate::vfs::names::known::{Known, Since};
    let mut tree = tree();
    let d = add(&mut tree, Ino::ROOT, "d", true);
    let f = add(&mut tree, d, "f", false);
    let at = Instant::now();
    let since = |tree: &Tree, name| tree.known(d, name).since();
    // Made here, and not stored yet.
    assert_eq!(since(&tree, "f"), Since::Always);
    assert_eq!(tree.known(d, "f").ino(), Some(f));
    assert_eq!(tree.known(d, "g"), Known::Unknown);
    // Asked for one by one.
    tree.usage_mut(d).expect("a directory");
    tree.dir_mut(d).expect("one").remember_absent("g", at);
    assert_eq!(
        tree.known(d, "g"),
        Known::Absent {
            since: Since::At(at)
        }
    );
    assert_eq!(tree.known_all(d), Since::Never);
    let e = add(&mut tree, d, "e", true);
    assert_eq!(since(&tree, "e"), Since::Never);
    tree.get_mut(e).expect("there").check(at, true);
    assert!(matches!(since(&tree, "e"), Since::At(_)));
    tree.get_mut(e).expect("there").check(at, false);
    assert_eq!(since(&tree, "e"), Since::Never, "it may be something else");
    tree.dir_mut(d).expect("one").note_listing(at);
    assert!(matches!(since(&tree, "e"), Since::At(_)), "listed");
    assert!(matches!(since(&tree, "h"), Since::At(_)));
    // Removed while somebody lists.
    let began = tree.begin_flight();
    assert!(!tree.known(d, "f").overrules(began));
    tree.detach(f);
    assert!(matches!(tree.known(d, "f"), Known::Removed { .. }));
    assert!(tree.known(d, "f").overrules(began));
    let later = tree.begin_flight();
    assert!(!tree.known(d, "f").overrules(later));
    tree.touch(e);
    assert!(tree.known(d, "e").overrules(later));
    // In a directory that was removed itself, memory is right.
    tree.get_mut(d).expect("there").lookups = 1;
    tree.detach(d);
    assert_eq!(since(&tree, "anything"), Since::Always);
}

#[test]
fn the_number_of_what_was_removed_is_not_given_out_again() {
    let mut tree = tree();
    let first = add(&mut tree, Ino::ROOT, "f", false);
    tree.drop_name(first);
    let again = add(&mut tree, Ino::ROOT, "f", false);
    assert_eq!(first, again, "forgotten, not removed");
    let mut seen = HashSet::from([first]);
    for _ in 0..1000 {
        let ino = tree.child(Ino::ROOT, "f").expect("there");
        tree.detach(ino);
        tree.tick();
        assert!(seen.insert(add(&mut tree, Ino::ROOT, "f", false)));
    }
    assert_eq!(tree.len(), 2);
}

#[test]
fn a_file_has_the_number_that_its_version_says_where_that_is_free() {
    let mut tree = tree();
    let f = add(&mut tree, Ino::ROOT, "f", false);
    assert_eq!(tree.number_to_store(f, "f"), None);
    tree.relocate(f, Ino::ROOT, Arc::from("g")).expect("moves");
    assert_eq!(tree.number_to_store(f, "g"), Some(f.0));
    assert_eq!(tree.number_after_move(None, "f", "g"), Some(f.0));
    assert_eq!(tree.number_after_move(Some(f.0), "g", "f"), None);
    let meta = tree.get(f).expect("there").meta;
    let mut insert = |name: &str, number| {
        let body = Body::Object(Object::new(FileState::made(0), None));
        let made = tree.insert_as(Ino::ROOT, Arc::from(name), meta, body, Some(number));
        made.expect("the root is a directory")
    };
    let free = Ino(12_345);
    assert_eq!(insert("h", free), free);
    assert_ne!(insert("i", free), free, "in use");
    assert_ne!(insert("j", f), f, "in use");
}

/// The table of inodes against a plain map: through holes in its pages, pages that go, and growth and shrinking.
#[test]
fn every_inode_is_found_by_its_number_and_no_other_is() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut tree = tree();
    let mut known: Vec<(Ino, String)> = Vec::new();
    for round in 0..20_000 {
        // Many come, then most go, twice.
        let grows = round % 10_000 < 6000;
        if known.is_empty() || random.u8(..10) < if grows { 8 } else { 1 } {
            let name = round.to_string();
            known.push((add(&mut tree, Ino::ROOT, &name, false), name));
        } else {
            let (gone, _) = known.swap_remove(random.usize(..known.len()));
            tree.drop_name(gone);
            assert!(tree.get(gone).is_err());
        }
        assert_eq!(tree.len(), known.len() + 1);
        if round % 1000 == 0 {
            for (ino, name) in &known {
                assert_eq!(*tree.get(*ino).expect("there").name, **name);
            }
            let mut all: Vec<Ino> = tree.all().map(|(ino, _)| ino).collect();
            let mut want: Vec<Ino> = known.iter().map(|(ino, _)| *ino).collect();
            want.push(Ino::ROOT);
            all.sort_unstable();
            want.sort_unstable();
            assert_eq!(all, want);
        }
    }
}
