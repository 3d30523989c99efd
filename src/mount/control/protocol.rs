//! The words of the control socket: one JSON object a line each way, described in docs/control.md.
//!
//! Fields are added now and then, and none changes its meaning; another version number stands for anything else. What comes
//! from outside is checked here, and never trusted.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the protocol.
pub(super) const VERSION: u32 = 1;
/// Bytes of a line with a request, its end included.
pub(super) const LINE_MAX: usize = 64 << 10;

/// What is asked for. Paths are relative to the mountpoint; the empty one is the mountpoint itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// How the mount is: [`Status`].
    Status {
        /// How many files on their way are named at most.
        #[serde(default)]
        files: usize,
    },
    /// To store everything below a path: [`Flushed`].
    Flush {
        /// Where.
        #[serde(default)]
        path: String,
    },
    /// To ask B2 anew for what is known below a path: [`Refreshed`].
    Refresh {
        /// Where.
        #[serde(default)]
        path: String,
    },
    /// To fetch what is below a path: [`Warmed`].
    Warm {
        /// Where.
        #[serde(default)]
        path: String,
        /// Names only, no contents.
        #[serde(default)]
        names: bool,
    },
    /// Other limits of bytes a second, where they are given; what holds from then on comes back: [`Width`].
    Limit(Limits),
    /// To read the configuration again, as SIGHUP does: a text.
    Reload {},
    /// What the log says from now on: a text.
    Log {
        /// `error`, `warn`, `info` or `debug`.
        level: String,
    },
}

/// Limits to be changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of what is sent; absent: stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<Bandwidth>,
    /// Of what is received; absent: stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<Bandwidth>,
}

/// The limits that hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Width {
    /// Of what is sent.
    pub up: Bandwidth,
    /// Of what is received.
    pub down: Bandwidth,
}

/// Bytes a second: a number, or `"off"` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Bandwidth {
    /// So many.
    Bytes(NonZeroU64),
    /// As many as the line carries.
    Unlimited(Cap),
}

/// The word for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cap {
    /// No limit.
    #[serde(rename = "off")]
    Off,
}

impl Bandwidth {
    /// The limit, if there is one.
    pub fn bytes(self) -> Option<NonZeroU64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Unlimited(_) => None,
        }
    }
}

impl From<Option<NonZeroU64>> for Bandwidth {
    fn from(bytes: Option<NonZeroU64>) -> Self {
        bytes.map_or(Self::Unlimited(Cap::Off), Self::Bytes)
    }
}

/// Whether the kernel has the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Programs can use it.
    Mounted,
    /// It is unmounted, or about to be, and stores what is pending.
    Storing,
}

/// How a mount is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The version of b2fuse.
    pub b2fuse: String,
    /// The bucket's name.
    pub bucket: String,
    /// What the root stands for in the bucket: empty, or ends with `/`.
    pub prefix: String,
    /// Where it is mounted.
    pub mountpoint: String,
    /// Whether it refuses every change.
    pub read_only: bool,
    /// Where a browser sees all this, if `metrics` is set; its token opens it, so it is for the owner alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// The process.
    pub pid: u32,
    /// Seconds since it was mounted.
    pub uptime: u64,
    /// Whether the kernel has it.
    pub state: State,
    /// What waits to be stored, or is being stored.
    pub to_store: ToStore,
    /// Some of it, what is being sent first.
    pub files: Vec<FileStatus>,
    /// The limits that hold.
    pub limits: Width,
    /// The numbers of `user.b2fuse.stats`.
    pub stats: Value,
}

/// What is not in B2 yet, in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToStore {
    /// Files, directories and changes of attributes.
    pub files: usize,
    /// Bytes that have not left.
    pub bytes: u64,
    /// Names that B2 is being asked to remove.
    pub removals: usize,
    /// Bytes a second that leave now.
    pub rate: u64,
    /// Seconds that the rest takes at this rate; absent where nothing leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// How many failed for a reason that does not pass by waiting alone.
    #[serde(default)]
    pub hopeless: usize,
    /// The last failure of any of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A file on its way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// Relative to the mountpoint; a directory's ends with `/`.
    pub path: String,
    /// Bytes that have left.
    pub sent: u64,
    /// Bytes to be sent in all; 0 where only attributes wait.
    pub total: u64,
    /// Whether it is being sent now.
    pub sending: bool,
    /// Bytes a second.
    #[serde(default)]
    pub rate: u64,
    /// Seconds that the rest takes at this rate; absent where nothing leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// What the last try ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What `flush` came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flushed {
    /// What is not stored; it is tried again later.
    pub not_stored: Vec<Undone>,
}

/// Something that B2 has not got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undone {
    /// Relative to the mountpoint.
    pub path: String,
    /// Why the last try failed.
    pub error: String,
}

/// What `refresh` came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refreshed {
    /// Names that B2 is asked for anew, each when it is used next.
    pub names: usize,
}

/// What `warm` came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warmed {
    /// Names seen.
    pub names: usize,
    /// Files whose whole content is in memory.
    pub files: usize,
    /// Bytes of contents read.
    pub bytes: u64,
    /// What could not be read.
    pub failed: usize,
    /// Memory holds no more, and something was left out.
    pub full: bool,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is no request of this version.
    Request,
    /// Whoever asks may not.
    Access,
    /// Too many ask at once.
    Busy,
    /// It was tried and failed.
    Failed,
}

/// A kind, and words for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Asked {
    version: u32,
    #[serde(flatten)]
    request: Request,
}

#[derive(Serialize, Deserialize)]
struct Answered {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ok: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Fault>,
}

/// A line with a request, its end included.
pub(super) fn request_line(request: &Request) -> serde_json::Result<Vec<u8>> {
    line(&Asked {
        version: VERSION,
        request: request.clone(),
    })
}

/// The request in a line.
pub(super) fn request_of(line: &[u8]) -> Result<Request, Fault> {
    #[derive(Deserialize)]
    struct Spoken {
        version: u32,
    }
    let wrong = |error: serde_json::Error| {
        Fault::new(Kind::Request, format!("this is no request: {error}"))
    };
    // A later version may mean other things by the same words.
    let Spoken { version } = serde_json::from_slice(line).map_err(wrong)?;
    if version != VERSION {
        return Err(Fault::new(
            Kind::Request,
            format!("this b2fuse speaks version {VERSION} of the protocol, not {version}"),
        ));
    }
    let Asked { request, .. } = serde_json::from_slice(line).map_err(wrong)?;
    Ok(request)
}

/// A line with an answer.
pub(super) fn answer_line(answer: Result<Value, Fault>) -> Vec<u8> {
    let (ok, error) = match answer {
        Ok(value) => (Some(value), None),
        Err(fault) => (None, Some(fault)),
    };
    let version = VERSION;
    line(&Answered { version, ok, error }).unwrap_or_default()
}

/// The answer in a line: what was asked for, a fault, or that it is neither.
pub(super) fn answer_of<T: DeserializeOwned>(
    line: &[u8],
) -> Result<Result<T, Fault>, serde_json::Error> {
    let Answered { ok, error, .. } = serde_json::from_slice(line)?;
    Ok(match error {
        Some(fault) => Err(fault),
        None => Ok(serde_json::from_value(ok.unwrap_or_default())?),
    })
}

fn line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// The sum of failed tries by kind, out of [`Status::stats`].
pub(super) fn numbers(stats: &Value, pointer: &str) -> BTreeMap<String, u64> {
    let all = stats.pointer(pointer).and_then(Value::as_object);
    all.into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)))
        .collect()
}

impl Status {
    /// A number out of the statistics, `/memory/used` say; 0 where there is none of that name.
    pub fn number(&self, pointer: &str) -> u64 {
        self.stats
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or(0)
    }

    /// The numbers below a name, `/b2/calls` say.
    pub fn numbers(&self, pointer: &str) -> BTreeMap<String, u64> {
        numbers(&self.stats, pointer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(line: &str) -> String {
        let fault = request_of(line.as_bytes()).expect_err(line);
        assert_eq!(fault.kind, Kind::Request);
        fault.message
    }

    #[test]
    fn requests_are_what_the_documentation_says() {
        for (line, request) in [
            (
                r#"{"version":1,"command":"status","files":20}"#,
                Request::Status { files: 20 },
            ),
            (
                r#"{"version":1,"command":"flush","path":"a b/c"}"#,
                Request::Flush {
                    path: "a b/c".into(),
                },
            ),
            (
                r#"{"version":1,"command":"warm","path":"a","names":true}"#,
                Request::Warm {
                    path: "a".into(),
                    names: true,
                },
            ),
            (
                r#"{"version":1,"command":"limit","up":2048,"down":"off"}"#,
                Request::Limit(Limits {
                    up: Some(NonZeroU64::new(2048).into()),
                    down: Some(None.into()),
                }),
            ),
            (r#"{"version":1,"command":"reload"}"#, Request::Reload {}),
            (
                r#"{"version":1,"command":"log","level":"debug"}"#,
                Request::Log {
                    level: "debug".into(),
                },
            ),
        ] {
            assert_eq!(request_of(line.as_bytes()).expect(line), request);
            let made = request_line(&request).expect("a line");
            assert_eq!(request_of(&made).expect("a request"), request);
            assert_eq!(
                made.iter().position(|byte| *byte == b'\n'),
                Some(made.len() - 1)
            );
        }
        let short = br#"{"version":1,"command":"status"}"#;
        assert_eq!(
            request_of(short).expect("enough"),
            Request::Status { files: 0 }
        );
    }

    #[test]
    fn what_is_no_request_is_refused_with_a_reason() {
        assert!(refused("").contains("no request"));
        assert!(refused(r#"{"command":"status"}"#).contains("version"));
        assert!(refused(r#"{"version":1}"#).contains("command"));
        assert!(refused(r#"{"version":1,"command":"format"}"#).contains("format"));
        assert!(refused(r#"{"version":2,"command":"status"}"#).contains("speaks version 1 of the"));
        // A limit of nothing would stop everything for ever.
        refused(r#"{"version":1,"command":"limit","up":0}"#);
        refused(r#"{"version":1,"command":"limit","up":"none"}"#);
        refused(r#"{"version":1,"command":"status","files":-1}"#);
    }

    #[test]
    fn answers_carry_what_was_asked_for_or_a_fault() {
        let value = serde_json::json!({"names": 3});
        let line = answer_line(Ok(value));
        let answer = answer_of::<Refreshed>(&line).expect("an answer");
        assert_eq!(answer, Ok(Refreshed { names: 3 }));
        let fault = Fault::new(Kind::Failed, "no such path");
        let line = answer_line(Err(fault.clone()));
        let answer = answer_of::<Refreshed>(&line).expect("an answer");
        assert_eq!(answer, Err(fault));
        answer_of::<Refreshed>(b"nonsense\n").expect_err("no answer");
    }

    proptest! {
        #[test]
        fn no_line_from_outside_does_harm(line: Vec<u8>) {
            let _ = request_of(&line);
            let _ = answer_of::<Status>(&line);
        }

        #[test]
        fn any_path_survives_the_line(path: String) {
            let request = Request::Flush { path };
            let line = request_line(&request).expect("a line");
            prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
            prop_assert_eq!(request_of(&line).expect("a request"), request);
        }
    }
}
