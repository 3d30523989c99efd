//! The retry rules (API §12) as a state machine without clock or socket.
//!
//! A [`Ladder`] belongs to one call. It is told each failure and the time, and answers whether to
//! try again, after what wait, and what to renew before. Time since the last progress decides when
//! a call ends, whatever the server answers; tries only guard. A `Retry-After` up to the call's
//! limit is honoured, for which a call may last up to twice its limit.
//!
//! Callers: `calls` drives it with the real clock.

use std::time::Duration;

/// What went wrong with one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FailedTry {
    /// No answer. `sent`: B2 may have received the whole request and acted on it.
    Network {
        /// False where nothing, or not all of it, can have arrived.
        sent: bool,
        /// What the network said.
        detail: String,
    },
    /// An answer other than success.
    Refused(Refusal),
    /// An answer of success that could not be read.
    Garbled(String),
    /// B2 has stored, or is sending, bytes other than those meant.
    Mismatch(String),
    /// The answer contradicts the question; asking again would not help.
    Nonsense(String),
}

/// An error answer of B2, or of something on the way to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    /// HTTP status.
    pub(super) status: u16,
    /// B2's code; empty where the body was not B2's JSON.
    pub(super) code: String,
    /// B2's English text; not stable, may be empty.
    pub(super) message: String,
    /// `Retry-After` in seconds.
    pub(super) retry_after: Option<Duration>,
}

impl FailedTry {
    /// Whether B2 may have done what was asked although no proper answer came: the reply was
    /// cut, something between B2 and us answered in its place (an error without a code), or B2
    /// broke down over it.
    pub(super) fn ambiguous(&self) -> bool {
        match self {
            Self::Network { sent, .. } => *sent,
            Self::Refused(refusal) => {
                refusal.status == 500 || (refusal.status > 500 && refusal.code.is_empty())
            }
            Self::Garbled(_) => true,
            Self::Mismatch(_) | Self::Nonsense(_) => false,
        }
    }

    /// Whether B2 may hold a version that this try has made, right or damaged.
    pub(super) fn may_have_worked(&self) -> bool {
        self.ambiguous() || matches!(self, Self::Mismatch(_))
    }

    /// Whether the upload URL of this try may be used again: after 429 only (API §12).
    pub(super) fn keeps_upload_url(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 429)
    }

    /// The HTTP status, 0 without an answer.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Refused(refusal) => refusal.status,
            _ => 0,
        }
    }

    /// What to do about a failure that is a mistake of the configuration rather than a fault, as far
    /// as it looks so: a host that does not exist, a certificate that is not trusted.
    pub(super) fn hopeless(&self) -> Option<&'static str> {
        let Self::Network {
            sent: false,
            detail,
        } = self
        else {
            return None;
        };
        let detail = detail.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| detail.contains(word));
        // The libraries tell these by their texts only (glibc, musl, rustls).
        if says(&["certificate"]) {
            Some("check the endpoint, the clock, and the certificates of this machine")
        } else if says(&[
            "name or service not known",
            "name does not resolve",
            "no address associated with",
        ]) {
            Some("check the endpoint's name, and that this machine is online")
        } else {
            None
        }
    }

    /// This failure, where it is known that not all of the request has left.
    pub(super) fn unsent(self) -> Self {
        match self {
            Self::Network { detail, .. } => Self::Network {
                sent: false,
                detail,
            },
            other => other,
        }
    }
}

impl Refusal {
    /// B2 refuses a name; in JSON calls its code says only that the JSON is bad.
    pub(super) fn speaks_of_a_name(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        message.contains("file name") || message.contains("filename")
    }

    /// A name, or a segment of it, has too many bytes.
    pub(super) fn name_too_long(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        self.speaks_of_a_name()
            && ["no more than", "longer than", "too long", "at most"]
                .iter()
                .any(|words| message.contains(words))
    }

    /// B2 does not read a version that is encrypted with a customer's key; told by its text only (API §7).
    pub(super) fn lacks_a_customer_key(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        self.status == 400 && message.contains("server side encryption")
    }

    /// B2 received other bytes than their SHA-1 says; told by its text only (API §5.2).
    pub(super) fn is_checksum(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        self.status == 400 && (message.contains("sha1") || message.contains("checksum"))
    }
}

/// Which column of the table counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// JSON calls with the account token.
    Api,
    /// `b2_authorize_account`: a 401 is final.
    Authorize,
    /// `b2_upload_file` and `b2_upload_part`, whose URL and token are made for them.
    Upload,
    /// Downloads, which go on where they broke.
    Download,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Tell the caller.
    GiveUp,
    /// Try again after the wait.
    Retry {
        /// How long to wait before.
        wait: Duration,
        /// Whether the account token is dead and must be renewed before.
        renew: bool,
    },
}

/// Tries of a call, and of a download since its last byte: with the waits below time decides, and
/// this only guards.
const MAX_TRIES: u32 = 1000;
/// "Try five upload URLs, then tell the user" (API §12): where it is no matter of time.
const MAX_UPLOAD_URLS: u32 = 5;
/// Times that one upload is sent again because B2 computed another SHA-1.
const MAX_CHECKSUM_RETRIES: u32 = 2;
/// Times that one call renews the account token. B2 needs one; the second is for a token that
/// another call's answer had already replaced with one that died as well.
const MAX_RENEWALS: u32 = 2;
/// First wait after 429 and 5xx, doubling up to the second (API §12).
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(64);
/// The longest wait after a lost connection: the network may be back at any moment.
const LONGEST_BREAK: Duration = Duration::from_secs(10);
/// A `Retry-After` is exceeded by up to this part of it, so that many who were told the same do
/// not come back at once.
const SPREAD: f64 = 0.1;

/// Where one call stands.
#[derive(Debug, Clone)]
pub(super) struct Ladder {
    route: Route,
    limit: Duration,
    progress: Duration,
    /// Time that the server has asked for beyond the limit; at most another limit.
    granted: Duration,
    tries: u32,
    urls: u32,
    checksums: u32,
    renewals: u32,
    step: u32,
}

impl Ladder {
    /// A call that ends at most `limit` after its last progress.
    pub(super) fn new(route: Route, limit: Duration) -> Self {
        Self {
            route,
            limit,
            progress: Duration::ZERO,
            granted: Duration::ZERO,
            tries: 0,
            urls: 0,
            checksums: 0,
            renewals: 0,
            step: 0,
        }
    }

    /// Bytes of a download came at `now` (time since the call's start): it starts to count anew.
    pub(super) fn progress(&mut self, now: Duration) {
        *self = Self {
            progress: self.progress.max(now),
            ..Self::new(self.route, self.limit)
        };
    }

    /// A try has sent for so long. That time does not count; but a failed upload has to send
    /// everything again, so that what it has sent does not give it its time back.
    pub(super) fn sent_for(&mut self, time: Duration) {
        self.progress += time;
    }

    /// The call stood in a queue, or nobody asked for anything, for so long: that time does not count.
    pub(super) fn queued(&mut self, time: Duration) {
        self.progress += time;
    }

    /// Time that is left at `now`.
    pub(super) fn remaining(&self, now: Duration) -> Duration {
        (self.limit + self.granted).saturating_sub(now.saturating_sub(self.progress))
    }

    /// The verdict on a failure at `now`; `random` in 0..1 spreads the waits of many callers.
    pub(super) fn decide(&mut self, failure: &FailedTry, now: Duration, random: f64) -> Decision {
        self.tries += 1;
        if self.tries >= MAX_TRIES {
            return Decision::GiveUp;
        }
        let renew =
            self.route != Route::Authorize && self.route != Route::Upload && token_is_dead(failure);
        let Some(wait) = self.wait(failure, renew) else {
            return Decision::GiveUp;
        };
        let random = random.clamp(0.0, 1.0);
        let left = self.remaining(now);
        let wait = match wait {
            Wait::None => Duration::ZERO,
            Wait::About(wait) => {
                let wait = wait.mul_f64(0.75 + 0.5 * random);
                // The last try comes shortly before the end.
                if wait >= left {
                    left.mul_f64(0.8)
                } else {
                    wait
                }
            }
            Wait::Asked(asked) => {
                let wait = asked.mul_f64(1.0 + SPREAD * random);
                self.grant(wait, left);
                wait
            }
        };
        let left = self.remaining(now);
        if wait >= left || left < self.shortest() {
            return Decision::GiveUp;
        }
        Decision::Retry { wait, renew }
    }

    /// Time for a wait that the server asks for, and a try after it.
    fn grant(&mut self, wait: Duration, left: Duration) {
        let more = (wait + self.limit / 10).saturating_sub(left);
        if self.granted + more <= self.limit {
            self.granted += more;
        }
    }

    /// With less time than this no try is begun.
    fn shortest(&self) -> Duration {
        FIRST_WAIT.min(self.limit / 60)
    }

    fn wait(&mut self, failure: &FailedTry, renew: bool) -> Option<Wait> {
        if renew {
            self.renewals += 1;
            return match self.renewals {
                1 => Some(Wait::None),
                n if n <= MAX_RENEWALS => Some(self.backoff(1.0)),
                _ => None,
            };
        }
        let upload = self.route == Route::Upload;
        let refusal = match failure {
            FailedTry::Network { .. } if upload => return Some(self.next_url()),
            FailedTry::Garbled(_) if upload => return self.one_of_five(),
            // A lost connection is no sign of an overloaded server.
            FailedTry::Network { .. } | FailedTry::Garbled(_) => return Some(self.broken()),
            FailedTry::Mismatch(_) | FailedTry::Nonsense(_) => return None,
            FailedTry::Refused(refusal) => refusal,
        };
        match refusal.status {
            401 if upload && token_is_dead(failure) => self.one_of_five(),
            400 if upload && refusal.code == "auth_token_limit" => self.one_of_five(),
            400 if upload && refusal.is_checksum() => {
                self.checksums += 1;
                (self.checksums <= MAX_CHECKSUM_RETRIES)
                    .then(|| self.one_of_five())
                    .flatten()
            }
            408 | 500.. if upload => Some(self.next_url()),
            408 | 429 | 500.. => self.throttled(refusal),
            _ => None,
        }
    }

    /// The next upload URL: at once the first time, since full pods are normal operation.
    fn next_url(&mut self) -> Wait {
        self.urls += 1;
        match self.urls {
            1 => Wait::None,
            _ => self.backoff(0.25),
        }
    }

    /// The next upload URL after what no amount of time would mend.
    fn one_of_five(&mut self) -> Option<Wait> {
        (self.urls + 1 < MAX_UPLOAD_URLS).then(|| self.next_url())
    }

    /// What the server asks for, after which the ladder starts anew (API §12), but never less than
    /// its next step; `None` where it asks for more than a call may last.
    fn throttled(&mut self, refusal: &Refusal) -> Option<Wait> {
        let own = self.backoff(1.0);
        match (refusal.retry_after, &own) {
            (Some(asked), _) if asked > self.limit => None,
            (Some(asked), Wait::About(least)) if asked >= *least => {
                self.step = 0;
                Some(Wait::Asked(asked))
            }
            _ => Some(own),
        }
    }

    fn broken(&mut self) -> Wait {
        match self.backoff(0.125) {
            Wait::About(wait) => Wait::About(wait.min(LONGEST_BREAK)),
            other => other,
        }
    }

    /// Doubles from the first wait. A short time limit shortens the steps, so that it still
    /// leaves room for several tries.
    fn backoff(&mut self, part: f64) -> Wait {
        let first = FIRST_WAIT.min(self.limit / 60).mul_f64(part);
        let wait = first.saturating_mul(1 << self.step.min(16));
        self.step += 1;
        Wait::About(wait.min(LONGEST_WAIT).min(self.limit / 4))
    }
}

enum Wait {
    None,
    /// Our own choice.
    About(Duration),
    /// The server's.
    Asked(Duration),
}

/// 401 that says so, or a 401 without a code (API §12: as HEAD answers).
fn token_is_dead(failure: &FailedTry) -> bool {
    matches!(failure, FailedTry::Refused(refusal) if refusal.status == 401
        && matches!(refusal.code.as_str(), "bad_auth_token" | "expired_auth_token" | ""))
}

#[cfg(test)]
mod tests;
