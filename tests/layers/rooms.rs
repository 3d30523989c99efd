//! The rooms of a layer import one way, too.
//!
//! An arrow goes from a file to a room: by a path, in whatever form it is written, or by a method. A method belongs to
//! the room that its `impl` block stands in, also where its type is of another one: who calls it uses that room,
//! though no path says so. Methods are known by their names only, so that those which types outside the layer have as
//! well are not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::{sources, without_comments};

/// A layer that is divided into rooms.
struct Layer {
    name: &'static str,
    /// From the top down. Everything else in it, words and locks, knows nothing of them.
    rooms: &'static [&'static str],
    /// Modules that know all rooms.
    free: &'static [&'static str],
    /// Files and the rooms above them that they still use.
    exceptions: &'static [(&'static str, &'static str)],
}

const VFS: Layer = Layer {
    name: "vfs",
    rooms: &["ops", "versions", "ask", "names"],
    // Asks all rooms for their numbers.
    free: &["stats"],
    exceptions: &[],
};

const IO: Layer = Layer {
    name: "io",
    rooms: &["commit", "write", "parts", "read", "memory"],
    // Holds what all contents share, and the contents.
    free: &["engine"],
    exceptions: &[
        // A change of a content sends parts on their way, or breaks off what is under way: by methods that commits
        // have, because a content is one type.
        ("io/write.rs", "commit"),
        ("io/write/lend.rs", "commit"),
        ("io/write/pressure.rs", "commit"),
    ],
};

const EMULATOR: Layer = Layer {
    name: "emulator",
    rooms: &[
        "http", "control", "dispatch", "handlers", "exchange", "shared", "journal", "account",
        "content",
    ],
    free: &[],
    exceptions: &[],
};

/// Names of methods that types outside the layer have as well.
const COMMON: &[&str] = &[
    "append", "copy", "drain", "entry", "find", "list", "send", "store", "within",
];

impl Layer {
    /// Where a module stands, counted from the top: words are below all rooms.
    fn height(&self, module: &str) -> usize {
        let at = self.rooms.iter().position(|room| *room == module);
        at.unwrap_or(self.rooms.len())
    }

    fn files(&self) -> Vec<File> {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut paths = Vec::new();
        sources(&src.join(self.name), &mut paths);
        paths.iter().map(|path| File::read(path, &src)).collect()
    }

    /// Every arrow of a file to a room above its own.
    fn arrows_up(&self, files: &[File]) -> BTreeSet<(String, String)> {
        let methods = methods(files);
        let mut arrows = BTreeSet::new();
        for file in files {
            let own = file.room();
            let named = paths(&file.code, &file.module).into_iter();
            let named = named
                .filter(|path| path.len() > 1 && path[0] == self.name)
                .map(|path| path[1].clone());
            let called = methods
                .iter()
                .filter(|(method, _)| calls(&file.code, method))
                .map(|(_, room)| room.clone());
            for used in named.chain(called) {
                let is_room = self.rooms.contains(&used.as_str());
                if is_room && self.height(&used) < self.height(own) {
                    arrows.insert((file.name.clone(), used));
                }
            }
        }
        arrows
    }

    fn check(&self) {
        let files = self.files();
        for room in self.rooms.iter().chain(self.free) {
            let known = files.iter().any(|file| file.room() == *room);
            assert!(known, "{} has no {room}", self.name);
        }
        let free = |file: &str| {
            let known = files.iter().find(|known| known.name == file);
            known.is_some_and(|known| self.free.contains(&known.room()))
        };
        let mut arrows = self.arrows_up(&files);
        arrows.retain(|(file, _)| !free(file));
        for (file, room) in self.exceptions {
            let found = arrows.remove(&((*file).to_owned(), (*room).to_owned()));
            assert!(found, "{file} uses {room} no more: no exception");
        }
        let wrong: Vec<_> = arrows
            .iter()
            .map(|(file, room)| format!("{file} uses {room}"))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

struct File {
    /// Below `src`.
    name: String,
    /// `src/vfs/ask/look.rs` is `[vfs, ask, look]`.
    module: Vec<String>,
    code: String,
}

impl File {
    fn read(path: &PathBuf, src: &Path) -> Self {
        let name = path.strip_prefix(src).expect("under src");
        let text = fs::read_to_string(path).expect("readable");
        Self::of(&name.to_string_lossy(), &text)
    }

    fn of(name: &str, text: &str) -> Self {
        let stem = name.trim_end_matches(".rs");
        Self {
            name: name.to_owned(),
            module: stem.split('/').map(str::to_owned).collect(),
            code: without_comments(text),
        }
    }

    fn room(&self) -> &str {
        &self.module[1]
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn word(text: &str) -> &str {
    text.split(|c| !is_word(c)).next().unwrap_or_default()
}

/// Every path that begins with `crate`, `self` or `super`, from the crate's root, each branch of a group apart.
fn paths(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    // In the unit tests at a file's end, `super` is the file itself.
    let tests = code.find("\nmod tests {").unwrap_or(code.len());
    for start in ["crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| is_word(c) || c == ':') {
                continue;
            }
            let mut base = module.to_vec();
            if at > tests {
                base.push("tests".to_owned());
            }
            let mut rest = &code[at..];
            loop {
                if let Some(after) = rest.strip_prefix("crate::") {
                    base.clear();
                    rest = after;
                } else if let Some(after) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = after;
                } else if let Some(after) = rest.strip_prefix("self::") {
                    rest = after;
                } else {
                    break;
                }
            }
            branches(rest, base, &mut found);
        }
    }
    found
}

/// Gathers the paths of a tree of imports; returns what follows it.
fn branches<'a>(text: &'a str, mut base: Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let mut text = text.trim_start();
    loop {
        if let Some(mut group) = text.strip_prefix('{') {
            loop {
                group = branches(group, base.clone(), found).trim_start();
                match group.strip_prefix(',') {
                    Some(more) => group = more,
                    None => return group.strip_prefix('}').unwrap_or(group),
                }
            }
        }
        let name = word(text);
        text = &text[name.len()..];
        if !name.is_empty() {
            base.push(name.to_owned());
        }
        match text.strip_prefix("::") {
            Some(more) if !name.is_empty() => text = more,
            _ => {
                found.push(base);
                return match text.trim_start().strip_prefix("as ") {
                    Some(alias) => &alias[word(alias).len()..],
                    None => text,
                };
            }
        }
    }
}

/// The type of an `impl` block's first line, unless the block is for a trait.
fn inherent(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl")?;
    let rest = match rest.strip_prefix('<') {
        Some(generics) => generics.split_once("> ")?.1,
        None => rest.strip_prefix(' ')?,
    };
    (!rest.contains(" for ")).then(|| word(rest))
}

/// The name of what a line defines by one of the keywords, if it does.
fn defined<'a>(line: &'a str, keywords: &[&str]) -> Option<&'a str> {
    let mut rest = line.trim_start();
    if let Some(public) = rest.strip_prefix("pub") {
        let public = match public.strip_prefix('(') {
            Some(scope) => scope.split_once(')')?.1,
            None => public,
        };
        rest = public.trim_start();
    }
    for before in ["const ", "async "] {
        rest = rest.strip_prefix(before).unwrap_or(rest);
    }
    let (keyword, name) = rest.split_once(' ')?;
    keywords.contains(&keyword).then(|| word(name))
}

/// Methods that stand in another room than their type, with that room: those whose name only one room has.
fn methods(files: &[File]) -> BTreeMap<String, String> {
    let mut types: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in files {
        let names = file.code.lines();
        let names = names.filter_map(|line| defined(line, &["struct", "enum"]));
        for name in names {
            types.entry(name).or_default().insert(file.room());
        }
    }
    let mut rooms: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut elsewhere = BTreeSet::new();
    for file in files {
        let mut of = None;
        for line in file.code.lines() {
            if line.starts_with("impl") || line.starts_with('}') {
                of = inherent(line);
            }
            let Some(name) = defined(line, &["fn"]).filter(|_| line.starts_with(' ')) else {
                continue;
            };
            rooms.entry(name).or_default().insert(file.room());
            // A type of the layer itself, such as that in `src/vfs.rs`, has no room.
            let home = of.map(|of| types.get(of));
            if home.is_some_and(|home| home.is_none_or(|home| !home.contains(file.room()))) {
                elsewhere.insert(name);
            }
        }
    }
    elsewhere
        .into_iter()
        .filter(|name| !COMMON.contains(name))
        .filter_map(|name| match Vec::from_iter(&rooms[name])[..] {
            [room] => Some((name.to_owned(), (*room).to_owned())),
            _ => None,
        })
        .collect()
}

fn calls(code: &str, method: &str) -> bool {
    code.match_indices(method).any(|(at, _)| {
        let after = &code[at + method.len()..];
        code[..at].ends_with('.') && (after.starts_with('(') || after.starts_with("::<"))
    })
}

#[test]
fn the_rooms_of_vfs_import_one_way() {
    VFS.check();
}

#[test]
fn the_rooms_of_io_import_one_way() {
    IO.check();
}

#[test]
fn the_rooms_of_the_emulator_import_one_way() {
    EMULATOR.check();
}

#[test]
fn paths_are_seen_in_every_form() {
    let code = "use crate::vfs::ask::fresh;\nuse crate::vfs::{Ino, names::{tree::Tree, Node as N}, ops};\n\
                pub(in crate::vfs) use super::{pages, super::versions::queue};\n\
                fn f() { crate::vfs::versions::queue::x(); super::super::error::y() }\n\
                #[cfg(test)]\nmod tests {\n    use super::*;\n    use super::super::look;\n}\n";
    let module = ["vfs", "ask", "look"].map(str::to_owned);
    let found: BTreeSet<String> = paths(code, &module)
        .iter()
        .map(|path| path.join("::"))
        .collect();
    let expected = [
        "vfs",
        "vfs::Ino",
        "vfs::ask::fresh",
        "vfs::ask::look",
        "vfs::ask::pages",
        "vfs::error::y",
        "vfs::names::Node",
        "vfs::names::tree::Tree",
        "vfs::ops",
        "vfs::versions::queue::x",
    ];
    for path in expected {
        assert!(found.contains(path), "{path} is not in {found:?}");
    }
}

#[test]
fn methods_are_of_the_room_that_they_stand_in() {
    let layer = Layer {
        name: "x",
        rooms: &["top", "low"],
        free: &[],
        exceptions: &[],
    };
    let top = "use crate::x::low::Thing;\n\nimpl Thing {\n    pub fn rise(&self) {}\n}\n\n\
               impl From<u8> for Thing {\n    fn from(_: u8) {}\n}\n";
    let low =
        "pub(in crate::x) struct Thing;\n\nimpl Thing {\n    fn stay(&self) { self.rise() }\n}\n";
    let mut files = vec![File::of("x/top.rs", top), File::of("x/low.rs", low)];
    let arrow = ("x/low.rs".to_owned(), "top".to_owned());
    assert_eq!(layer.arrows_up(&files), BTreeSet::from([arrow]));
    files[1].code = low.replace("self.rise()", "self.stay()");
    assert_eq!(layer.arrows_up(&files), BTreeSet::new());
}
