//! A filesystem under test: applies operations and answers like the reference.

use crate::operation::Operation;
use crate::reference::Outcome;

pub(crate) trait Backend {
    /// Carries out any operation but `Compare` (the runner compares by `List`, `Stat`, `Read`).
    fn apply(&mut self, operation: &Operation) -> Outcome;
    /// What the filesystem under test said, for a failing sequence.
    fn messages(&self) -> String {
        String::new()
    }
}
