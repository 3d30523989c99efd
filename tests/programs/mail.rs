//! A mail reader that looks again only into folders whose times have moved: it finds what came, was read and was
//! removed between two mounts, and reads nothing again.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::bucket::Bucket;
use crate::support::place::Place;
use crate::support::tools::{program, run};

/// A folder of mail in `place`, and notmuch's index of it elsewhere.
struct Mail {
    home: TempDir,
}

fn text(number: u32) -> String {
    format!(
        "From: a@example.org\nTo: b@example.org\nSubject: letter {number}\nMessage-ID: <{number}@example.org>\n\
         Date: Fri, 02 Jan 2026 03:04:{number:02} +0000\n\nThis is letter {number}.\n"
    )
}

/// As a delivery agent does it: complete before it is seen.
fn deliver(folder: &Path, number: u32) -> PathBuf {
    let written = folder.join("tmp").join(format!("{number}.host"));
    fs::write(&written, text(number)).unwrap();
    let there = folder.join("new").join(format!("{number}.host"));
    fs::rename(&written, &there).unwrap();
    there
}

impl Mail {
    fn new(folder: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        for sub in ["cur", "new", "tmp"] {
            fs::create_dir_all(folder.join(sub)).unwrap();
        }
        let config = format!(
            "[database]\npath={}\nmail_root={}\n[user]\nname=b\nprimary_email=b@example.org\n[new]\ntags=new\n\
             [maildir]\nsynchronize_flags=false\n",
            home.path().display(),
            folder.parent().unwrap().display(),
        );
        fs::write(home.path().join("config"), config).unwrap();
        Self { home }
    }

    fn notmuch(&self, arguments: &[&str]) -> String {
        run(program("notmuch")
            .env("NOTMUCH_CONFIG", self.home.path().join("config"))
            .env("HOME", self.home.path())
            .args(arguments))
    }

    /// Looks for changes; the program's last line about them.
    fn look(&self) -> String {
        let said = self.notmuch(&["new"]);
        said.trim().lines().last().unwrap_or_default().to_owned()
    }

    fn count(&self, query: &str) -> String {
        self.notmuch(&["count", query]).trim().to_owned()
    }
}

crate::scenarios! { notmuch_finds_what_came_between_two_mounts }

fn notmuch_finds_what_came_between_two_mounts(place: &mut dyn Place) {
    let folder = place.path().join("mail/inbox");
    let mail = Mail::new(&folder);
    let first = deliver(&folder, 1);
    deliver(&folder, 2);
    assert_eq!(mail.look(), "Added 2 new messages to the database.");
    // It does not trust the time of a folder that has moved in the same second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    mail.look();
    place.remount();
    if let Some(bucket) = place.bucket() {
        bucket.forget_counters();
    }
    assert_eq!(mail.look(), "No new mail.");
    if let Some(bucket) = place.bucket() {
        assert_eq!(bucket.counters().bytes_out, 0);
    }

    deliver(&folder, 3);
    place.remount();
    assert_eq!(mail.look(), "Added 1 new message to the database.");
    fs::rename(&first, folder.join("cur/1.host:2,S")).unwrap();
    place.remount();
    let said = mail.look();
    assert!(said.contains("1 file rename"), "{said}");
    assert_eq!(mail.count("subject:letter"), "3");
    fs::remove_file(folder.join("new/2.host")).unwrap();
    place.remount();
    let said = mail.look();
    assert!(said.contains("Removed 1 message"), "{said}");

    // Another program puts a letter into the bucket.
    if let Some(bucket) = place.bucket() {
        Bucket::open(bucket).upload("mail/inbox/new/4.host", text(4).as_bytes());
    } else {
        deliver(&folder, 4);
    }
    place.remount();
    assert_eq!(mail.look(), "Added 1 new message to the database.");
    assert_eq!(mail.count("subject:letter"), "3");
    let found = mail.notmuch(&["search", "--output=files", "subject:4"]);
    assert!(found.trim().ends_with("mail/inbox/new/4.host"), "{found}");
}
