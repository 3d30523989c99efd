//! The table of options: each is one entry here, and from it come the key of config.yaml, the option, the variables of the
//! environment, the message that lists the keys, the table of `docs/configuration.md` and `config.example.yaml`.
//!
//! How values read themselves is in `values`, rules between them and defaults that depend on others in `config`.

mod entry;

use serde::Deserialize;

pub(crate) use entry::OptionEntry;
use entry::read;

use super::values::{
    Address, Count, DeleteHow, DrainLimit, Endpoint, FilePath, Id, KeyCommand, KeyFile, KeySecret,
    LargeFile, LinkHow, LogFormat, Memory, NamesHow, OverwriteHow, PartSize, Period, Prefix, Quota,
    Rate, RequestRate, RescueDir, Rights, StoreOpen, Switch, Umask, Word, WriteBack, Youth,
};
use super::{Environment, Error};

const ACCOUNT: &str = "Account and bucket";
const VIEW: &str = "What the mount shows";
const TRANSFER: &str = "Memory and transfers";
const MESSAGES: &str = "Messages";

macro_rules! options {
    ($(
        $key:literal: $field:ident: $type:ident, $group:ident
        $(, option($($arg:tt)*))? $(, no_option($skip:tt))?
        $(, variables[$($variable:literal),*])?
        , default $default:literal
        , help $help:literal
        , meaning $meaning:literal
        , example $example:literal;
    )*) => {
        /// What one source says.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, clap::Args)]
        #[serde(default, deny_unknown_fields)]
        pub struct Layer {$(
            #[doc = $help]
            #[serde(rename = $key)]
            $(#[arg(
                help_heading = $group,
                help = match $default {
                    "" => $help,
                    _ => concat!($help, " [default: ", $default, "]"),
                },
                $($arg)*
            )])?
            $(#[arg($skip)])?
            pub $field: Option<$type>,
        )*}

        impl Layer {
            /// All of them, in the order of documents.
            pub(crate) const ENTRIES: &'static [OptionEntry] = &[$(
                OptionEntry {
                    key: $key,
                    group: $group,
                    option: true $(&& stringify!($skip).is_empty())?,
                    variables: &[$($($variable),*)?],
                    default: $default,
                    meaning: $meaning,
                    example: $example,
                },
            )*];

            /// What the environment says.
            pub(super) fn from_environment(environment: &Environment<'_>) -> Result<Self, Error> {
                let mut entries = Self::ENTRIES.iter();
                let mut layer = Self::default();
                $(
                    if let Some(entry) = entries.next() {
                        layer.$field = read(environment, &entry.variable(), entry.variables)?;
                    }
                )*
                Ok(layer)
            }

            /// This layer, and under it another for what this one leaves open.
            pub(crate) fn over(self, mut under: Self) -> Self {
                // Id and name are two ways to say one thing: a bucket named here replaces either there.
                if self.bucket_id.is_some() || self.bucket_name.is_some() {
                    (under.bucket_id, under.bucket_name) = (None, None);
                }
                // So are the three ways to give the key.
                if self.names_a_key() {
                    (under.key, under.key_file, under.key_command) = (None, None, None);
                }
                Self {$( $field: self.$field.or(under.$field), )*}
            }
        }
    };
}

options! {
    "accountId": account_id: Word, ACCOUNT,
        option(long, hide_short_help = true, alias = "account_id", value_name = "ID"), variables["B2_APPLICATION_KEY_ID"],
        default "",
        help "Id of the application key",
        meaning "id of the application key",
        example "\
# The id of an application key (or the account's id with its master key). Best is a key for one bucket.
accountId: 0012a3b4c5d6e7f0000000001
";
    "applicationKey": key: KeySecret, ACCOUNT,
        no_option(skip), variables["B2_APPLICATION_KEY"],
        default "",
        help "The application key",
        meaning "the key itself",
        example "\
# The application key itself. It is never an option, because every user of the machine can read the
# options of a running program.
applicationKey: K001aVeryLongSecretThatB2ShowsOnlyOnce
";
    "applicationKeyFile": key_file: KeyFile, ACCOUNT,
        option(long = "application-key-file", alias = "application_key_file", value_name = "FILE", value_parser = KeyFile::here),
        default "",
        help "Read the application key from this file",
        meaning "a file with nothing but the key, instead of the key: [keys](#keys)",
        example "\
# Instead of the key: a file with nothing but the key, or a command whose first line of output is the key.
# Both are asked again at SIGHUP. A relative path begins at the directory of this file.
#applicationKeyFile: /etc/b2fuse/key
";
    "applicationKeyCommand": key_command: KeyCommand, ACCOUNT,
        option(long = "application-key-command", hide_short_help = true, alias = "application_key_command", value_name = "COMMAND"),
        default "",
        help "Run this command (sh -c), whose first line of output is the application key",
        meaning "a command whose first line of output is the key, run by `sh -c` within 30 seconds: [keys](#keys)",
        example "\
#applicationKeyCommand: pass show backblaze/b2fuse
";
    "bucketId": bucket_id: Word, ACCOUNT,
        option(long, hide_short_help = true, alias = "bucket_id", value_name = "ID"),
        default "",
        help "Id of the bucket",
        meaning "the bucket, by its id; a key that is bound to one bucket needs neither id nor name",
        example "\
# The bucket, by id or by name; a key that is bound to one bucket needs neither.
#bucketId: 4a48fe8875c6214145260818
";
    "bucketName": bucket_name: Word, ACCOUNT,
        option(long, aliases = ["bucket_name", "bucket"], value_name = "NAME"), variables["B2FUSE_BUCKET"],
        default "",
        help "Name of the bucket",
        meaning "the bucket, by its name",
        example "\
#bucketName: my-bucket
";
    "prefix": prefix: Prefix, ACCOUNT,
        option(long, value_name = "DIR"),
        default "",
        help "Mount only this directory of the bucket",
        meaning "mount only this directory of the bucket; a key that is restricted to one mounts that",
        example "\
# Mount only this directory of the bucket. A key that is restricted to a prefix mounts that.
#prefix: backup/home
";
    "endpoint": endpoint: Endpoint, ACCOUNT,
        option(long, value_name = "URL"), variables["B2_ENDPOINT"],
        default "https://api.backblazeb2.com",
        help "Another realm",
        meaning "another realm. Plain http to this machine only",
        example "\
# Another realm. Plain http is accepted for this machine only.
#endpoint: https://api.backblazeb2.com
";
    "enable_hashfiles": enable_hashfiles: Switch, VIEW,
        option(long, hide_short_help = true, alias = "enable_hashfiles", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"),
        default "true",
        help "Serve <file>.sha1 beside every file",
        meaning "serve `<file>.sha1` beside every file",
        example "\
# Serve <file>.sha1 beside every file, with the SHA-1 that B2 has of it.
#enable_hashfiles: true
";
    "list_hashfiles": list_hashfiles: Switch, VIEW,
        option(long, hide_short_help = true, alias = "list_hashfiles", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"),
        default "false",
        help "Show the .sha1 files in listings",
        meaning "show them in listings, too; they can be opened by name in any case",
        example "\
# Show them in listings, too: programs then take them for files, and copy them. They can be opened by name in any case.
#list_hashfiles: false
";
    "metadata_ttl": metadata_ttl: Period, VIEW,
        option(long, alias = "metadata_ttl", value_name = "TIME"),
        default "30s",
        help "How soon changes by others are seen",
        meaning "how soon changes made by others are seen; `0` asks B2 at each open (close-to-open)",
        example "\
# How soon changes made by others are seen. 0 asks B2 at every open.
#metadata_ttl: 30s
";
    "delete": delete: DeleteHow, VIEW,
        option(long, value_name = "HOW"),
        default "hide",
        help "What removal does: hide (older versions stay) or purge",
        meaning "what removing a file does: `hide` keeps its versions, `purge` deletes them all",
        example "\
# What removing a file does: hide keeps older versions under the bucket's lifecycle rules,
# purge removes every version at once.
#delete: hide
";
    "overwrite": overwrite: OverwriteHow, VIEW,
        option(long, value_name = "HOW"),
        default "keep",
        help "What overwriting a file does with its old version: keep, or replace (it is deleted)",
        meaning "what becomes of the version that a new content replaces: `keep`, or `replace`: it is deleted: [versions](versions.md)",
        example "\
# What becomes of the version that a new content replaces. keep: it stays under the bucket's lifecycle rules.
# replace: it is deleted, unless another client came between.
#overwrite: keep
";
    "drop_versions_within": drop_versions_within: Youth, VIEW,
        option(long, hide_short_help = true, alias = "drop_versions_within", value_name = "TIME"),
        default "0",
        help "Delete versions that the mount itself has made and replaces within this time, 5m say",
        meaning "versions that the mount itself has made and replaces within this time, `5m` say, are deleted; `0`: none: [versions](versions.md)",
        example "\
# Versions that this mount has made and replaces within this time, 5m say, are deleted, up to 24h. 0: they stay.
#drop_versions_within: 0
";
    "quota": quota: Quota, VIEW,
        option(long, hide_short_help = true, value_name = "SIZE"),
        default "off",
        help "Size that df shows, 1TB say",
        meaning "the size that `df` shows, `1TB` say, and what is used of it by the files that are known; refuses nothing",
        example "\
# The size that df shows, 1TB say, and what is used of it by the files that are known. It refuses nothing.
#quota: off
";
    "read_only": read_only: Switch, VIEW,
        option(long, alias = "read_only", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"),
        default "false",
        help "Refuse every change",
        meaning "refuse every change",
        example "\
# Refuse every change. A key that may only read is mounted like this anyway.
#read_only: false
";
    "uid": uid: Id, VIEW,
        option(long, hide_short_help = true, value_name = "NUMBER"),
        default "who mounts",
        help "Owner of what has none stored",
        meaning "owner of what has none stored",
        example "\
# Owner and permissions of what has none stored in B2. Defaults: who mounts, and 022.
#uid: 1000
";
    "gid": gid: Id, VIEW,
        option(long, hide_short_help = true, value_name = "NUMBER"),
        default "who mounts",
        help "Group of what has none stored",
        meaning "group of what has none stored",
        example "\
#gid: 1000
";
    "umask": umask: Umask, VIEW,
        option(long, hide_short_help = true, value_name = "OCTAL"),
        default "022",
        help "Permissions withheld from what has none stored",
        meaning "permissions withheld from what has none stored",
        example "\
#umask: \"022\"
";
    "permissions": permissions: Rights, VIEW,
        option(long, hide_short_help = true, value_name = "HOW"),
        default "keep",
        help "Permissions and owners of files: keep, or ignore (all show the defaults)",
        meaning "`ignore`: everything shows the three defaults above, `chmod` and `chown` succeed and change nothing",
        example "\
# keep: each file has a mode, an owner and a group of its own, and chmod and chown change them.
# ignore: everything shows the three defaults above; chmod and chown succeed and change nothing.
#permissions: keep
";
    "hard_links": hard_links: LinkHow, VIEW,
        option(long, hide_short_help = true, alias = "hard_links", value_name = "HOW"),
        default "refuse",
        help "What a hard link is: refuse (an error), or copy (a file of its own)",
        meaning "what a hard link is: `refuse`: an error (`EPERM`); `copy`: a copy that B2 makes: [hard links](recipes.md#hard-links)",
        example "\
# What a hard link is. refuse: an error (EPERM). copy: a copy that B2 makes, a file of its own from then on.
#hard_links: refuse
";
    "names": names: NamesHow, VIEW,
        option(long, hide_short_help = true, value_name = "HOW"),
        default "refuse",
        help "Names that B2 refuses (control characters, no UTF-8): refuse, or encode (as rclone writes them)",
        meaning "names that B2 cannot hold (control characters, bytes that are no UTF-8): `refuse`: an error; `encode`: they are written as rclone's B2 backend does it, and shown as what they stand for: [names](names.md)",
        example "\
# Names that B2 cannot hold (control characters, bytes that are no UTF-8). refuse: an error. encode: they are written as
# rclone writes them to B2, and what is so written, a backslash as U+FF3C too, is shown as what it stands for.
#names: refuse
";
    "allow_other": allow_other: Switch, VIEW,
        option(long, alias = "allow_other", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"),
        default "false",
        help "Let other users in",
        meaning "let other users in (unless root mounts, `/etc/fuse.conf` needs `user_allow_other`)",
        example "\
# Let other users of this machine in. Unless root mounts, /etc/fuse.conf must say user_allow_other.
#allow_other: false
";
    "noexec": noexec: Switch, VIEW,
        option(long, hide_short_help = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"),
        default "false",
        help "Run no program from the mount",
        meaning "let no program be run from the mount",
        example "\
# Let no program be run from the mount.
#noexec: false
";
    "auto_unmount": auto_unmount: Switch, VIEW,
        option(long, hide_short_help = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"),
        default "false",
        help "Unmount even when the process is killed",
        meaning "have `fusermount3` unmount it when b2fuse is gone, however that ended; needs root or `allow_other`",
        example "\
# Have fusermount3 unmount it when b2fuse is gone, however that ended. Needs root, or allow_other.
#auto_unmount: false
";
    "memory": memory: Memory, TRANSFER,
        option(long, value_name = "SIZE"),
        default "512MiB",
        help "Ceiling for cache, read-ahead and unsent bytes",
        meaning "ceiling for cache, read-ahead and unsent bytes together; at least `32MiB`",
        example "\
# Ceiling for cached blocks, read-ahead and bytes not yet sent, together. At least 32MiB.
#memory: 512MiB
";
    "uploads": uploads: Count, TRANSFER,
        option(long, hide_short_help = true, value_name = "COUNT"),
        default "32, of one file 10",
        help "Uploads at once",
        meaning "files and parts that are sent at once, 1 to 256",
        example "\
# How many uploads (files or parts) run at once, 1 to 256. By default 32, of which one large file takes 10;
# a number written here is meant for both.
#uploads: 32
";
    "downloads": downloads: Count, TRANSFER,
        option(long, hide_short_help = true, value_name = "COUNT"),
        default "8",
        help "Downloads of one file at once",
        meaning "how many run at once for one file, 1 to 256; for all files together up to four times as many",
        example "\
# How many downloads run at once for one file, 1 to 256; for all files together up to four times as many. One that somebody
# waits for never stands in line.
#downloads: 8
";
    "large_file": large_file: LargeFile, TRANSFER,
        option(long, hide_short_help = true, alias = "large_file", value_name = "SIZE"),
        default "32MiB",
        help "Larger files are sent in parts",
        meaning "larger files are sent in parts, while they are written *",
        example "\
# A file up to large_file is sent in one call; a larger one in parts, while it is written.
# Defaults: these, or a quarter of memory where that is less.
#large_file: 32MiB
";
    "part_size": part_size: PartSize, TRANSFER,
        option(long, hide_short_help = true, alias = "part_size", value_name = "SIZE"),
        default "16MiB",
        help "Size of a large file's parts",
        meaning "size of these parts *",
        example "\
#part_size: 16MiB
";
    "bandwidth_up": bandwidth_up: Rate, TRANSFER,
        option(long, alias = "bandwidth_up", value_name = "SIZE"),
        default "off",
        help "Send at most this many bytes a second, 2MiB say, or by the clock: \"08:00,512K 19:00,off\"",
        meaning "send at most so many bytes of content a second, all uploads together, `2MiB` say, or by the clock, `08:00,512K 19:00,off`: [limits](#limits)",
        example "\
# At most so many bytes of content a second, all uploads or all downloads together: 2MiB say, or off, or what holds from
# when on: 08:00,512K 19:00,off or Mon-08:00,1M Fri-18:00,off (local time).
#bandwidth_up: off
";
    "bandwidth_down": bandwidth_down: Rate, TRANSFER,
        option(long, alias = "bandwidth_down", value_name = "SIZE"),
        default "off",
        help "Receive at most this many bytes a second, 2MiB say",
        meaning "the same for what is received",
        example "\
#bandwidth_down: off
";
    "requests_per_second": requests_per_second: RequestRate, TRANSFER,
        option(long, hide_short_help = true, alias = "requests_per_second", value_name = "COUNT"),
        default "off",
        help "Begin at most this many calls to B2 a second",
        meaning "begin at most so many calls to B2 a second, of all kinds, 1 to 10000; `off`: as many as B2 does not refuse: [limits](#limits)",
        example "\
# At most so many calls to B2 a second, 1 to 10000. off: as many as B2 does not refuse.
#requests_per_second: off
";
    "verify_reads": verify_reads: Switch, TRANSFER,
        option(long, hide_short_help = true, alias = "verify_reads", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"),
        default "true",
        help "Check whole reads against the stored SHA-1",
        meaning "compare whole sequential reads with the stored SHA-1",
        example "\
# Compare whole sequential reads with the stored SHA-1.
#verify_reads: true
";
    "ca_file": ca_file: FilePath, TRANSFER,
        option(long, hide_short_help = true, value_name = "FILE"),
        default "the system's",
        help "Trust these certificates (PEM) instead of the system's",
        meaning "PEM certificates to trust instead of the system's, of a company's proxy say",
        example "\
# PEM certificates to trust instead of the system's, of a company's proxy say.
#ca_file: /etc/ssl/certs/company.pem
";
    "timeout": timeout: Period, TRANSFER,
        option(long, value_name = "TIME"),
        default "120s",
        help "Give a call up after this long without progress",
        meaning "a call to B2 ends with an error after this long without progress",
        example "\
# A call to B2 ends with an error after this long without any progress.
#timeout: 120s
";
    "write_back": write_back: WriteBack, TRANSFER,
        option(long, alias = "write_back", value_name = "TIME"),
        default "off",
        help "Let close return at once and upload this long after it, 5s say",
        meaning "let `close()` return at once and upload this long after it, `5s` say: [write-back](write-back.md)",
        example "\
# Let close() return at once and upload this long after it, 5s say. What was closed is then lost if the
# machine or b2fuse is killed before; fsync() still waits until B2 has the bytes.
#write_back: off
";
    "store_open": store_open: StoreOpen, TRANSFER,
        option(long, hide_short_help = true, alias = "store_open", value_name = "TIME"),
        default "60s",
        help "Store what was appended to files that stay open after this time, or off",
        meaning "what was appended to a file that stays open (a log) is stored after this time, later each time; `off`: at its close or fsync only: [semantics](semantics.md#durability)",
        example "\
# What was appended to a file that stays open, a log say, is stored after this time, and later each time, up to 15m.
# Never what is changed elsewhere, or grows by a MiB in that time. off: at its close or fsync only.
#store_open: 60s
";
    "drain_timeout": drain_timeout: DrainLimit, TRANSFER,
        option(long, alias = "drain_timeout", value_name = "TIME"),
        default "1h, on a terminal off",
        help "How long the end goes on trying to store what is pending, off for no limit",
        meaning "how long the [end](ending.md) goes on trying to store what is pending; `off`: until a second signal",
        example "\
# How long the end of the mount goes on trying to store what is pending. off: until everything is stored, or a
# second Ctrl-C. Default: off where stderr is a terminal, 1h otherwise.
#drain_timeout: 1h
";
    "rescue": rescue: RescueDir, TRANSFER,
        option(long, value_name = "DIR"),
        default "see meaning",
        help "Where to write what cannot be stored at the end, or off",
        meaning "below which directory is written what cannot be stored at the [end](ending.md), or `off`; by default `$STATE_DIRECTORY/rescue` under systemd, `/var/lib/b2fuse/rescue` for root, else `$XDG_STATE_HOME/b2fuse/rescue` (`~/.local/state/b2fuse/rescue`)",
        example "\
# Where is written what cannot be stored at the end of the mount: DIR/<bucket>/<time>/, which `b2fuse rescue` sends
# later; or off. Default: $STATE_DIRECTORY/rescue under systemd, /var/lib/b2fuse/rescue for root, else
# $XDG_STATE_HOME/b2fuse/rescue or ~/.local/state/b2fuse/rescue.
#rescue: /var/lib/b2fuse/rescue
";
    "log_file": log_file: FilePath, MESSAGES,
        option(long, value_name = "FILE"),
        default "stderr",
        help "Write messages into this file; SIGHUP begins a new one",
        meaning "append messages to this file, which is made for its owner only; SIGHUP begins a new one where it was renamed: [messages](#messages)",
        example "\
# Append messages to this file, which is made for its owner only. After it was renamed, SIGHUP begins a new one.
# Default: stderr; with --background and no file or pipe there, the journal or syslog.
#log_file: /var/log/b2fuse.log
";
    "log_format": log_format: LogFormat, MESSAGES,
        option(long, hide_short_help = true, value_name = "FORMAT"),
        default "text",
        help "Form of messages: text, or json (one object a line)",
        meaning "`json`: one object a line, with `time`, `level`, `target` and `message`",
        example "\
# text, or json: one object a line, with time (RFC 3339, UTC), level, target and message.
#log_format: text
";
    "metrics": metrics: Address, MESSAGES,
        option(long, value_name = "ADDRESS"),
        default "off",
        help "Serve /metrics (Prometheus), /healthz and a page for people at this address, 127.0.0.1:9568 say",
        meaning "serve `/metrics` (Prometheus), `/healthz` and a page for people at this address, `127.0.0.1:9568` say; a port alone is of this machine only: [metrics](metrics.md)",
        example "\
# Serve numbers for Prometheus at http://ADDRESS/metrics, the state at http://ADDRESS/healthz, and a page for people, whose
# address `b2fuse status` prints. A port alone is of this machine only.
#metrics: 127.0.0.1:9568
";
}

#[cfg(test)]
mod tests;
