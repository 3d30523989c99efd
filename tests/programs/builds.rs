//! Builds that decide by times what to do: nothing twice, and everything that has changed.

use std::path::Path;
use std::process::Command;

use crate::support::place::Place;
use crate::support::tools::{both, finish, program, run, shell};
use crate::support::tree::{names, put};

crate::scenarios! {
    cargo_builds_once,
    make_builds_once,
}

/// The cargo that runs these tests, without what it has told them in the environment.
fn cargo(action: &str, within: &Path) -> Command {
    let mut command = program(env!("CARGO"));
    command.current_dir(within).args([action, "--offline"]);
    let kept = ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let theirs = name.starts_with("CARGO") || name.starts_with("RUST");
        if theirs && !kept.contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command
}

/// The crates that this build compiled anew, by name.
fn compiled(within: &Path) -> Vec<String> {
    let output = finish(&mut cargo("build", within));
    let said = both(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Finished"), "{said}");
    let compiled = |line: &str| {
        let name = line.trim().strip_prefix("Compiling ")?.split(' ').next()?;
        Some(name.to_owned())
    };
    let mut names: Vec<_> = said.lines().filter_map(compiled).collect();
    names.sort();
    names
}

fn cargo_builds_once(place: &mut dyn Place) {
    let at = place.path().join("work");
    for part in ["app/src", "part/src"] {
        std::fs::create_dir_all(at.join(part)).unwrap();
    }
    put(
        &at.join("Cargo.toml"),
        b"[workspace]\nresolver = \"2\"\nmembers = [\"app\", \"part\"]\n",
    );
    let manifest = |name: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n")
    };
    put(&at.join("part/Cargo.toml"), manifest("part").as_bytes());
    let depends = "\n[dependencies]\npart = { path = \"../part\" }\n";
    put(
        &at.join("app/Cargo.toml"),
        (manifest("app") + depends).as_bytes(),
    );
    put(
        &at.join("app/build.rs"),
        b"fn main() {\n    println!(\"cargo:rerun-if-changed=words\");\n    \
          let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
          std::fs::copy(\"words\", format!(\"{out}/words\")).unwrap();\n}\n",
    );
    put(&at.join("app/words"), b"hello");
    put(
        &at.join("app/src/main.rs"),
        b"fn main() {\n    println!(\"{} {}\", include_str!(concat!(env!(\"OUT_DIR\"), \"/words\")), part::answer());\n}\n",
    );
    put(
        &at.join("part/src/lib.rs"),
        b"pub fn answer() -> u32 { 41 }\n",
    );
    let says = || run(&mut program(at.join("target/debug/app")));

    assert_eq!(compiled(&at), ["app", "part"]);
    assert_eq!(says(), "hello 41\n");
    assert_eq!(compiled(&at), [""; 0]);
    put(
        &at.join("part/src/lib.rs"),
        b"pub fn answer() -> u32 { 42 }\n",
    );
    assert_eq!(compiled(&at), ["app", "part"]);
    assert_eq!(says(), "hello 42\n");
    place.remount();
    assert_eq!(compiled(&at), [""; 0]);
    assert_eq!(says(), "hello 42\n");
    shell("touch \"$1\"/app/src/main.rs", [&at]);
    assert_eq!(compiled(&at), ["app"]);
    put(&at.join("app/words"), b"good bye");
    assert_eq!(compiled(&at), ["app"]);
    assert_eq!(says(), "good bye 42\n");
    place.remount();
    assert_eq!(compiled(&at), [""; 0]);
    run(&mut cargo("clean", &at));
    place.remount();
    assert!(!at.join("target").exists());
}

fn make_builds_once(place: &mut dyn Place) {
    let at = place.path().join("work");
    std::fs::create_dir(&at).unwrap();
    put(
        &at.join("Makefile"),
        b"OBJECTS = one.o two.o\n\
          program: $(OBJECTS)\n\tcc -o $@ $(OBJECTS)\n\
          %.o: %.c both.h\n\tcc -c -o $@ $<\n\
          lib.a: lib.a(one.o) lib.a(two.o)\n\
          clean:\n\trm -f program lib.a *.o\n",
    );
    put(&at.join("both.h"), b"int two(void);\n#define ONE 1\n");
    put(
        &at.join("one.c"),
        b"#include <stdio.h>\n#include \"both.h\"\nint main(void) { printf(\"%d\\n\", ONE + two()); return 0; }\n",
    );
    put(
        &at.join("two.c"),
        b"#include \"both.h\"\nint two(void) { return 2; }\n",
    );
    let make = |target: &str| run(program("make").arg(target).current_dir(&at));
    let says = || run(&mut program(at.join("program")));

    assert_eq!(make("program").matches("cc ").count(), 3);
    assert_eq!(says(), "3\n");
    let nothing = "make: 'program' is up to date.\n";
    assert_eq!(make("program"), nothing);
    place.remount();
    assert_eq!(make("program"), nothing);
    assert_eq!(says(), "3\n");
    put(
        &at.join("two.c"),
        b"#include \"both.h\"\nint two(void) { return 20; }\n",
    );
    assert_eq!(
        make("program"),
        "cc -c -o two.o two.c\ncc -o program one.o two.o\n"
    );
    assert_eq!(says(), "21\n");
    shell("touch \"$1\"/both.h", [&at]);
    assert_eq!(make("program").matches("cc ").count(), 3);
    place.remount();
    assert_eq!(make("program"), nothing);
    // Archives of objects are changed in place.
    make("lib.a");
    let members = "cd \"$1\"; ar t lib.a | sort; nm -s lib.a | grep -o 'two in two.o'";
    assert_eq!(shell(members, [&at]), "one.o\ntwo.o\ntwo in two.o\n");
    place.remount();
    assert_eq!(shell(members, [&at]), "one.o\ntwo.o\ntwo in two.o\n");
    make("clean");
    place.remount();
    assert_eq!(names(&at), ["Makefile", "both.h", "one.c", "two.c"]);
}
