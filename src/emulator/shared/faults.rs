//! Faults on purpose, in words. The syntax is in the head of `src/emulator.rs`.

use parking_lot::Mutex;
use std::time::Duration;

use super::call::Call;
use crate::emulator::encryption::Encryption;
use crate::emulator::error::ApiError;
use crate::emulator::rules;

/// What strikes one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::emulator) enum Fault {
    Status(u16, &'static str, Option<u64>),
    /// The token is expired for good, not only refused once.
    ExpireToken,
    Html(u16),
    Reset,
    ResetMid,
    LostReply,
    Truncate,
    Corrupt,
    Stall(Duration),
    StallMid(Duration),
    Late(Duration),
    Hang,
    ShortPage(usize),
    StaleList(Duration),
}

impl Fault {
    pub(in crate::emulator) fn error(&self) -> Option<ApiError> {
        match self {
            Self::Status(status, code, retry_after) => Some(ApiError {
                retry_after: *retry_after,
                ..ApiError::new(*status, code, "a fault on purpose")
            }),
            Self::ExpireToken => Some(ApiError::new(
                401,
                "expired_auth_token",
                "Authorization token has expired",
            )),
            _ => None,
        }
    }
}

/// Which calls a rule is about.
#[derive(Debug, Clone, Copy)]
enum Calls {
    All,
    /// File and part.
    Uploads,
    /// By id and by name.
    Downloads,
    /// Names and versions.
    Lists,
    One(Call),
}

impl Calls {
    fn cover(self, call: Call) -> bool {
        match self {
            Self::All => true,
            Self::Uploads => matches!(call, Call::UploadFile | Call::UploadPart),
            Self::Downloads => {
                matches!(call, Call::DownloadFileById | Call::DownloadFileByName)
            }
            Self::Lists => matches!(call, Call::ListFileNames | Call::ListFileVersions),
            Self::One(one) => one == call,
        }
    }
}

#[derive(Debug, Clone)]
struct Rule {
    calls: Calls,
    fault: Fault,
    /// Requests that still pass unharmed before the first one is struck.
    skip: u64,
    left: Option<u64>,
    probability: f64,
}

/// Which names the account takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum NameRules {
    Present,
    /// Those of old accounts, which are stricter.
    Former,
}

/// What stands in `nextFileName`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum NextName {
    /// The next row's name.
    Exact,
    /// Any text that is not after it.
    Odd,
}

/// Ways in which the account differs from an ordinary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, and any of them can be on"
)]
pub(in crate::emulator) struct Switches {
    pub(in crate::emulator) md5: bool,
    pub(super) encryption: bool,
    pub(in crate::emulator) names: NameRules,
    pub(in crate::emulator) next: NextName,
    pub(in crate::emulator) custom_timestamps: bool,
    /// A list with a delimiter stops inside a folder after so many of its names.
    pub(in crate::emulator) split_folders: Option<usize>,
    /// An upload URL is dead after any failure but 429.
    pub(in crate::emulator) strict_urls: bool,
    /// A refused upload is answered while its body is still coming.
    pub(in crate::emulator) early_refusals: bool,
    /// A bad name in a JSON call is `bad_json`.
    pub(in crate::emulator) json_names: bool,
    /// A wrong key is `unauthorized`, not `bad_auth_token` (API §2).
    pub(in crate::emulator) unauthorized_keys: bool,
    /// Rows say that the file was replicated.
    pub(in crate::emulator) replicated: bool,
    /// Most keys of file info.
    pub(in crate::emulator) info_keys: usize,
    /// Upload times are multiples of so many milliseconds.
    pub(in crate::emulator) stamp_step: u64,
    pub(in crate::emulator) token_life: Duration,
    pub(in crate::emulator) maximum_copy: u64,
    pub(in crate::emulator) recommended_part: u64,
    pub(in crate::emulator) minimum_part: u64,
    /// Requests that are taken in a second; the others are refused.
    pub(in crate::emulator) rate_limit: Option<usize>,
    /// Requests that are taken at once.
    pub(in crate::emulator) at_once: Option<usize>,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            md5: true,
            encryption: true,
            names: NameRules::Present,
            next: NextName::Exact,
            custom_timestamps: false,
            split_folders: None,
            strict_urls: false,
            early_refusals: false,
            json_names: false,
            unauthorized_keys: false,
            replicated: false,
            info_keys: usize::MAX,
            stamp_step: 1,
            token_life: Duration::from_secs(24 * 3600),
            maximum_copy: rules::MAXIMUM_UPLOAD,
            recommended_part: rules::RECOMMENDED_PART,
            minimum_part: rules::MINIMUM_PART,
            rate_limit: None,
            at_once: None,
        }
    }
}

impl Switches {
    /// That of new buckets: SSE-B2 since September 2026 (API §5.3).
    pub(in crate::emulator) fn default_encryption(self) -> Encryption {
        if self.encryption {
            Encryption::B2
        } else {
            Encryption::None
        }
    }
}

/// The rules in force; replaced as a whole.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Faults {
    rules: Mutex<(Vec<Rule>, Switches)>,
}

impl Faults {
    pub(in crate::emulator) fn parse(words: &[impl AsRef<str>]) -> Result<Self, String> {
        let faults = Self::default();
        faults.set(words)?;
        Ok(faults)
    }

    /// Replaces all rules; on an error the old ones stay.
    pub(in crate::emulator) fn set(&self, words: &[impl AsRef<str>]) -> Result<(), String> {
        let mut rules = Vec::new();
        let mut switches = Switches::default();
        for word in words {
            let word = word.as_ref();
            let known = parse_switch(word, &mut switches)
                .map_err(|error| format!("emulator switch {word:?}: {error}"))?;
            if !known {
                rules.push(
                    parse_rule(word)
                        .map_err(|error| format!("emulator fault {word:?}: {error}"))?,
                );
            }
        }
        *self.rules() = (rules, switches);
        Ok(())
    }

    fn rules(&self) -> parking_lot::MutexGuard<'_, (Vec<Rule>, Switches)> {
        self.rules.lock()
    }

    pub(in crate::emulator) fn switches(&self) -> Switches {
        self.rules().1
    }

    /// Draws what strikes a request: the first rule for its call that lets no more pass, is not used up, and whose dice
    /// fall.
    pub(in crate::emulator) fn draw(&self, call: Call) -> Option<Fault> {
        let rules = &mut self.rules().0;
        let rule = rules.iter_mut().find_map(|rule| {
            if !rule.calls.cover(call) || rule.left == Some(0) {
                return None;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                return None;
            }
            (rule.probability >= 1.0 || fastrand::f64() < rule.probability).then_some(rule)
        })?;
        if let Some(left) = &mut rule.left {
            *left -= 1;
        }
        Some(rule.fault.clone())
    }
}

fn parse_switch(word: &str, switches: &mut Switches) -> Result<bool, String> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    };
    let number = || {
        value
            .and_then(|value| value.parse::<u64>().ok())
            .ok_or_else(|| format!("write {name}=NUMBER"))
    };
    match name {
        "no-md5" => switches.md5 = false,
        "no-encryption" => switches.encryption = false,
        "old-names" => switches.names = NameRules::Former,
        "odd-next" => switches.next = NextName::Odd,
        "custom-timestamps" => switches.custom_timestamps = true,
        "split-folders" => switches.split_folders = Some((number()? as usize).max(1)),
        "strict-urls" => switches.strict_urls = true,
        "early-refusals" => switches.early_refusals = true,
        "json-names" => switches.json_names = true,
        "unauthorized-keys" => switches.unauthorized_keys = true,
        "replicated" => switches.replicated = true,
        "info-keys" => switches.info_keys = number()? as usize,
        "stamp-step" => switches.stamp_step = number()?.max(1),
        "token-life" => switches.token_life = Duration::from_secs(number()?),
        "maximum-copy" => switches.maximum_copy = number()?,
        "recommended-part" => switches.recommended_part = number()?,
        "minimum-part" => switches.minimum_part = number()?,
        "rate-limit" => switches.rate_limit = Some(number()? as usize),
        "at-once" => switches.at_once = Some(number()? as usize),
        _ => return Ok(false),
    }
    Ok(true)
}

fn parse_rule(word: &str) -> Result<Rule, String> {
    let (rest, probability) = match word.rsplit_once('/') {
        None => (word, 1.0),
        Some((rest, chance)) => match chance.parse::<f64>() {
            Ok(chance) if (0.0..=1.0).contains(&chance) => (rest, chance),
            _ => return Err(format!("{chance:?} is no probability between 0 and 1")),
        },
    };
    let (rest, skip) = match rest.rsplit_once('@') {
        None => (rest, 0),
        Some((rest, skip)) => match skip.parse::<u64>() {
            Ok(skip) => (rest, skip),
            Err(_) => return Err(format!("{skip:?} is no number of requests to let pass")),
        },
    };
    let mut fields = rest.split(':');
    let (Some(call), Some(kind), count, None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("write CALL:KIND[=VALUE][:COUNT][@SKIP][/PROBABILITY]".to_owned());
    };
    let left = count
        .map(|count| {
            count
                .parse::<u64>()
                .map_err(|_| format!("{count:?} is no count"))
        })
        .transpose()?;
    Ok(Rule {
        calls: parse_calls(call)?,
        fault: parse_kind(kind)?,
        skip,
        left,
        probability,
    })
}

fn parse_calls(word: &str) -> Result<Calls, String> {
    Ok(match word {
        "*" => Calls::All,
        "upload" => Calls::Uploads,
        "download" => Calls::Downloads,
        "list" => Calls::Lists,
        name => {
            let call = if name.starts_with("b2_") {
                Call::named(name)
            } else {
                Call::named(&format!("b2_{name}"))
            };
            Calls::One(call.ok_or_else(|| {
                format!("{name:?} is no call of B2; use its name, or one of * upload download list")
            })?)
        }
    })
}

fn parse_kind(kind: &str) -> Result<Fault, String> {
    let (name, value) = match kind.split_once('=') {
        Some((name, value)) => (
            name,
            Some(
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{value:?} is no number"))?,
            ),
        ),
        None => (kind, None),
    };
    let seconds = || {
        value
            .map(Duration::from_secs)
            .ok_or_else(|| format!("write {name}=SECONDS"))
    };
    Ok(match name {
        "503" => Fault::Status(503, "service_unavailable", value),
        "429" => Fault::Status(429, "too_many_requests", value),
        "500" => Fault::Status(500, "internal_error", value),
        "408" => Fault::Status(408, "request_timeout", value),
        "401" => Fault::ExpireToken,
        "bad-token" => Fault::Status(401, "bad_auth_token", None),
        "400" => Fault::Status(400, "bad_request", None),
        "403" => Fault::Status(403, "cap_exceeded", None),
        "storage-cap" => Fault::Status(403, "storage_cap_exceeded", None),
        "transaction-cap" => Fault::Status(403, "transaction_cap_exceeded", None),
        "download-cap" => Fault::Status(403, "download_cap_exceeded", None),
        "502" => Fault::Html(502),
        "reset" => Fault::Reset,
        "reset-mid" => Fault::ResetMid,
        "lost-reply" => Fault::LostReply,
        "truncate" => Fault::Truncate,
        "corrupt" => Fault::Corrupt,
        "stall" => Fault::Stall(seconds()?),
        "stall-mid" => Fault::StallMid(seconds()?),
        "late" => Fault::Late(seconds()?),
        "hang" => Fault::Hang,
        "short-page" => Fault::ShortPage(value.unwrap_or(1) as usize),
        "empty-page" => Fault::ShortPage(0),
        "stale-list" => Fault::StaleList(seconds()?),
        _ => {
            return Err(format!(
                "{name:?} is no kind of fault; kinds are 503 429 500 408 502 401 bad-token 403 storage-cap \
                 transaction-cap download-cap reset reset-mid lost-reply truncate corrupt stall stall-mid late hang \
                 short-page empty-page stale-list"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_strikes_as_often_as_it_says() {
        let faults = Faults::parse(&["upload_file:503=3:2", "list:429"]).expect("parses");
        for _ in 0..2 {
            assert_eq!(
                faults.draw(Call::UploadFile),
                Some(Fault::Status(503, "service_unavailable", Some(3)))
            );
        }
        assert_eq!(faults.draw(Call::UploadFile), None);
        assert_eq!(faults.draw(Call::HideFile), None);
        for _ in 0..9 {
            assert!(faults.draw(Call::ListFileNames).is_some());
        }
    }

    #[test]
    fn a_rule_lets_pass_as_many_as_it_says() {
        let faults =
            Faults::parse(&["hide_file:reset:1@2", "*:hang@3", "*:500:1"]).expect("parses");
        let drawn: Vec<_> = (0..6).map(|_| faults.draw(Call::HideFile)).collect();
        let refused = Fault::Status(500, "internal_error", None);
        let expected = [
            Some(refused),
            None,
            Some(Fault::Reset),
            None,
            Some(Fault::Hang),
            Some(Fault::Hang),
        ];
        assert_eq!(
            drawn, expected,
            "what one rule strikes, later ones do not count"
        );
        let faults = Faults::parse(&["upload_file:late=2:1@1/1.0"]).expect("parses");
        assert_eq!(faults.draw(Call::UploadFile), None);
        assert_eq!(
            faults.draw(Call::UploadFile),
            Some(Fault::Late(Duration::from_secs(2)))
        );
        assert_eq!(faults.draw(Call::UploadFile), None);
    }

    #[test]
    fn probabilities_are_between_never_and_always() {
        let faults = Faults::parse(&["*:reset/0.0", "*:500/0.5"]).expect("parses");
        let struck = (0..1000)
            .filter(|_| faults.draw(Call::HideFile).is_some())
            .count();
        assert!((300..700).contains(&struck), "{struck}");
    }

    #[test]
    fn switches_stand_beside_rules() {
        let faults = Faults::parse(&["no-md5", "token-life=2", "*:stall=1:1"]).expect("parses");
        let switches = faults.switches();
        assert!(!switches.md5);
        assert_eq!(switches.token_life, Duration::from_secs(2));
        faults.set(&[""; 0]).expect("parses");
        assert_eq!(faults.switches(), Switches::default());
        assert_eq!(faults.draw(Call::HideFile), None);
    }

    #[test]
    fn errors_name_the_word_and_the_way_out() {
        for (word, part) in [
            ("nonsense", "CALL:KIND"),
            ("nonsense:503", "no call of B2"),
            ("*:504", "kinds are"),
            ("*:503:x", "no count"),
            ("*:503/2", "no probability"),
            ("*:503@x", "let pass"),
            ("list:stale-list", "stale-list=SECONDS"),
            ("*:stall", "stall=SECONDS"),
            ("token-life", "token-life=NUMBER"),
        ] {
            let error = Faults::parse(&[word]).expect_err(word);
            assert!(error.contains(word) && error.contains(part), "{error}");
        }
    }
}
