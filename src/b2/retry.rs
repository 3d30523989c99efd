//! The retry rules (API §12) as a state machine without clock or socket.
//!
//! A [`Ladder`] belongs to one call. It is told each failure and the time, and answers whether to
//! try again, after what wait, and what to renew before. It bounds a call in attempts and in time
//! since its last progress, whatever the server answers; a `Retry-After` is honoured up to
//! [`MAX_RETRY_AFTER`] and only where the call's time allows it.
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

/// The longest `Retry-After` that is believed; a server once asked for hours (API §12).
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);
/// Tries of a call, and of a download since its last byte. With the waits below they outlast the
/// default time limit, so that time decides and this only guards.
const MAX_TRIES: u32 = 10;
/// "Try five upload URLs, then tell the user" (API §12).
const MAX_UPLOAD_URLS: u32 = 5;
/// Times that one upload is sent again because B2 computed another SHA-1.
const MAX_CHECKSUM_RETRIES: u32 = 2;
/// Times that one call renews the account token. B2 needs one; the second is for a token that
/// another call's answer had already replaced with one that died as well.
const MAX_RENEWALS: u32 = 2;
/// First wait after 429 and 5xx, doubling up to the second (API §12).
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(64);

/// Where one call stands.
#[derive(Debug, Clone)]
pub(super) struct Ladder {
    route: Route,
    limit: Duration,
    progress: Duration,
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
            tries: 0,
            urls: 0,
            checksums: 0,
            renewals: 0,
            step: 0,
        }
    }

    /// Bytes moved at `now` (time since the call's start). A download starts to count anew, an
    /// upload has to send everything again and only gains time.
    pub(super) fn progress(&mut self, now: Duration) {
        self.progress = self.progress.max(now);
        if self.route == Route::Download {
            *self = Self {
                progress: self.progress,
                ..Self::new(self.route, self.limit)
            };
        }
    }

    /// Nobody asked for anything before `now`: that time does not count.
    pub(super) fn idle_until(&mut self, now: Duration) {
        self.progress = self.progress.max(now);
    }

    /// The call stood in a queue for so long: that time does not count either.
    pub(super) fn queued(&mut self, time: Duration) {
        self.progress += time;
    }

    /// Time that is left at `now`.
    pub(super) fn remaining(&self, now: Duration) -> Duration {
        self.limit.saturating_sub(now.saturating_sub(self.progress))
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
        let wait = match wait {
            Wait::Exactly(wait) => wait,
            Wait::About(wait) => wait.mul_f64(0.75 + 0.5 * random.clamp(0.0, 1.0)),
        };
        if wait >= self.remaining(now) {
            return Decision::GiveUp;
        }
        Decision::Retry { wait, renew }
    }

    fn wait(&mut self, failure: &FailedTry, renew: bool) -> Option<Wait> {
        if renew {
            self.renewals += 1;
            return match self.renewals {
                1 => Some(Wait::Exactly(Duration::ZERO)),
                n if n <= MAX_RENEWALS => Some(self.backoff(1.0)),
                _ => None,
            };
        }
        let refusal = match failure {
            FailedTry::Network { .. } | FailedTry::Garbled(_) => {
                return if self.route == Route::Upload {
                    self.next_url()
                } else {
                    // A lost connection is no sign of an overloaded server.
                    Some(self.backoff(0.125))
                };
            }
            FailedTry::Mismatch(_) | FailedTry::Nonsense(_) => return None,
            FailedTry::Refused(refusal) => refusal,
        };
        match refusal.status {
            401 if self.route == Route::Upload && token_is_dead(failure) => self.next_url(),
            400 if self.route == Route::Upload && refusal.code == "auth_token_limit" => {
                self.next_url()
            }
            400 if self.route == Route::Upload && refusal.is_checksum() => {
                self.checksums += 1;
                (self.checksums <= MAX_CHECKSUM_RETRIES)
                    .then(|| self.next_url())
                    .flatten()
            }
            408 | 500.. if self.route == Route::Upload => self.next_url(),
            408 | 429 | 500.. => Some(self.throttled(refusal)),
            _ => None,
        }
    }

    /// The next upload URL: at once the first time, since full pods are normal operation.
    fn next_url(&mut self) -> Option<Wait> {
        self.urls += 1;
        match self.urls {
            1 => Some(Wait::Exactly(Duration::ZERO)),
            n if n < MAX_UPLOAD_URLS => Some(self.backoff(0.25)),
            _ => None,
        }
    }

    /// What the server asked for, after which the ladder starts anew (API §12); else its next step.
    fn throttled(&mut self, refusal: &Refusal) -> Wait {
        match refusal.retry_after {
            Some(asked) => {
                self.step = 0;
                Wait::Exactly(asked.min(MAX_RETRY_AFTER))
            }
            None => self.backoff(1.0),
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
    Exactly(Duration),
    About(Duration),
}

/// 401 that says so, or a 401 without a code (API §12: as HEAD answers).
fn token_is_dead(failure: &FailedTry) -> bool {
    matches!(failure, FailedTry::Refused(refusal) if refusal.status == 401
        && matches!(refusal.code.as_str(), "bad_auth_token" | "expired_auth_token" | ""))
}

#[cfg(test)]
mod tests;
