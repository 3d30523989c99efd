//! Sending less than everything: for a name that is about to go, and for a file that is cut while it is being sent.
//!
//! ```text
//!        anew               ebb                 stop
//! On ----------> Anew   On ------> Ebbing   On ------> Stopped
//!    (the commit begins    (what has left    (parts under way
//!     anew by itself)       arrives)          are broken off)
//! ```

use std::sync::Arc;

use tokio::sync::MutexGuard;

use crate::b2::NewFile;
use crate::io::commit::Scope;
use crate::io::parts::{Sending, Streaming};
use crate::io::write::content::{Content, State};
use crate::io::write::snapshot::Span;
use crate::io::{Committed, Error};

impl Content {
    /// The name is about to go: nothing more is sent until `go_on`, and a commit under way ends with `Stopped`. Parts
    /// under way are broken off, unless the content is `readable` and parts have left memory: then all are needed, to
    /// make these readable again. Nothing is dropped yet.
    pub fn stop(&self, readable: bool) {
        let needed = readable && self.lock().overlay.has_sent_before(u64::MAX);
        let now = if needed {
            Sending::Ebbing
        } else {
            Sending::Stopped
        };
        self.sending.send_replace(now);
    }

    /// The name stays after all.
    pub fn go_on(&self) {
        self.sending.send_replace(Sending::On);
    }

    /// Why nothing more may be sent, if so.
    pub(in crate::io) fn may_send(&self) -> Result<(), Error> {
        match *self.sending.borrow() {
            Sending::On => Ok(()),
            Sending::Anew => Err(Error::Anew),
            Sending::Ebbing | Sending::Stopped => Err(Error::Stopped),
        }
    }

    /// Returns, with the reason, when parts under way are to be broken off.
    pub(in crate::io) async fn broken_off(&self) -> Error {
        let broken = |now: &Sending| matches!(now, Sending::Anew | Sending::Stopped);
        // The sender lives as long as `self`.
        let _ = self.sending.subscribe().wait_for(broken).await;
        self.may_send().err().unwrap_or(Error::Anew)
    }

    /// Has a commit under way begin anew, and returns when none is under way; none begins while the answer lives.
    pub(in crate::io) async fn interrupt(&self) -> MutexGuard<'_, ()> {
        /// Ends also where nobody waits for the turn any more.
        struct Interruption<'a>(&'a Content);
        impl Drop for Interruption<'_> {
            fn drop(&mut self) {
                self.0.turn_to(Sending::Anew, Sending::On);
            }
        }
        self.turn_to(Sending::On, Sending::Anew);
        let _interruption = Interruption(self);
        // The commit under way waits behind this for its next turn.
        self.turn.lock().await
    }

    fn turn_to(&self, from: Sending, to: Sending) {
        self.sending.send_if_modified(|now| {
            let turns = *now == from;
            if turns {
                *now = to;
            }
            turns
        });
    }

    /// The name is about to go: from now on nothing leaves early. True when parts have left memory, so that only
    /// `commit_sent` makes them readable again; otherwise all is here, and what was begun is given up.
    pub fn hold_parts(&self) -> bool {
        let begun = {
            let mut state = self.lock();
            state.held = true;
            if state.needs_end() {
                return true;
            }
            std::mem::take(&mut state.stream)
        };
        self.give_up(begun);
        false
    }

    /// The name stays after all.
    pub fn release_parts(&self) {
        self.lock().held = false;
    }

    /// Makes what has left memory readable by a version that ends there: parts under way arrive, one more byte is sent,
    /// and B2 finishes the large file. What is behind stays unsent. Where the rest needs the version before, too,
    /// everything is stored. `None` where nothing had left.
    pub async fn commit_sent(
        self: &Arc<Self>,
        target: &NewFile,
    ) -> Result<Option<Committed>, Error> {
        self.commit_in(target, Scope::Sent).await
    }

    /// The name has gone: nothing of it is stored any more. What is still in memory can be read as long as somebody
    /// refers to it; where parts have left, that is dropped, too.
    pub fn abandon(&self) {
        let begun = {
            let mut state = self.lock();
            state.held = true;
            match &state.stream {
                Streaming::Running(stream) if !stream.large.is_unused() => {
                    drop(state);
                    return self.discard();
                }
                _ => std::mem::take(&mut state.stream),
            }
        };
        self.give_up(begun);
    }

    pub(in crate::io) fn give_up(&self, stream: Streaming) {
        if let Streaming::Running(stream) = stream {
            self.engine.cancel_large(stream.large.id().clone());
        }
    }
}

impl State {
    /// Bytes have left memory, or may have become a version.
    pub(in crate::io) fn needs_end(&self) -> bool {
        let asked =
            matches!(&self.stream, Streaming::Running(stream) if stream.large.may_be_finished());
        asked || self.overlay.has_sent_before(u64::MAX)
    }

    /// Up to where a version has to go that makes readable what has left memory, if the rest does without the version
    /// before. `None`: the whole is to be stored.
    pub(in crate::io) fn sent_end(&self, target: &NewFile) -> Option<u64> {
        let Streaming::Running(stream) = &self.stream else {
            return None;
        };
        let end = stream.large.least_size() + 1;
        let growing = stream.large.is_growing() && stream.name == target.name;
        if !growing || end >= self.size || self.misplaced.is_some() {
            return None;
        }
        let rest = self.spans(end..self.size).ok()?;
        (!rest.iter().any(Span::is_stored)).then_some(end)
    }
}
