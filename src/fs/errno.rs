//! The one table from errors to errno (DESIGN §8), and the log line that goes with it.

use std::time::Instant;

use fuser::Errno;
use parking_lot::Mutex;

use super::repeats::Repeats;
use crate::b2::ErrorKind;
use crate::vfs::Error;

/// Failed operations that were told lately, so that a dead network does not fill the log.
static SAID: Mutex<Repeats<(String, &str, u16)>> = Mutex::new(Repeats::new());

/// What the caller gets.
fn errno(error: &Error) -> Errno {
    match error {
        Error::NotFound => Errno::ENOENT,
        Error::Exists => Errno::EEXIST,
        Error::NotDirectory => Errno::ENOTDIR,
        Error::IsDirectory => Errno::EISDIR,
        Error::NotEmpty => Errno::ENOTEMPTY,
        Error::Invalid => Errno::EINVAL,
        Error::IllegalName => Errno::EILSEQ,
        Error::NameTooLong => Errno::ENAMETOOLONG,
        Error::Access => Errno::EACCES,
        Error::NotPermitted => Errno::EPERM,
        Error::Running => Errno::ETXTBSY,
        Error::ReadOnly => Errno::EROFS,
        Error::NotSupported => Errno::ENOTSUP,
        Error::BadHandle => Errno::EBADF,
        Error::Stale | Error::LookAgain => Errno::ESTALE,
        Error::CrossDevice => Errno::EXDEV,
        Error::NoData => Errno::ENODATA,
        Error::TooLarge => Errno::EFBIG,
        Error::NoSpace(_) => Errno::ENOSPC,
        Error::Corrupt(_) | Error::Io(_) => Errno::EIO,
        Error::B2(b2) => of_b2(b2.kind),
    }
}

fn of_b2(kind: ErrorKind) -> Errno {
    match kind {
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::AccessDenied | ErrorKind::BadCredentials => Errno::EACCES,
        ErrorKind::Locked => Errno::EPERM,
        ErrorKind::CapExceeded => Errno::EDQUOT,
        ErrorKind::InvalidArgument => Errno::EINVAL,
        ErrorKind::NameTooLong => Errno::ENAMETOOLONG,
        // The bucket vanished under the mount, the network is gone, bytes are wrong, or an answer made
        // no sense: nothing that the caller did.
        ErrorKind::NoSuchBucket
        | ErrorKind::RangeNotSatisfiable
        | ErrorKind::Unavailable
        | ErrorKind::Corrupt
        | ErrorKind::Protocol => Errno::EIO,
    }
}

/// After `ESTALE` Linux looks a path up again and repeats the call by itself (`retry_estale`). The second one would do
/// to another client's version what was refused to be done to it unseen.
fn repeated_by_the_kernel(op: &str) -> bool {
    matches!(op, "unlink" | "rename")
}

/// The errno of a failed operation; what an errno cannot say is logged.
pub(super) fn report(op: &str, error: &Error) -> Errno {
    match error {
        Error::B2(b2) if b2.kind == ErrorKind::NotFound => log::debug!("{op}: {error}"),
        Error::Corrupt(what) => log::error!("{op}: corruption: {what}"),
        Error::B2(_) | Error::Io(_) | Error::NoSpace(_) => {
            let kind = match error {
                Error::B2(b2) => (op.to_owned(), b2.call, b2.status),
                _ => (op.to_owned(), "", 0),
            };
            let level = match error {
                Error::NoSpace(_) => log::Level::Warn,
                _ => log::Level::Error,
            };
            let shown = SAID.lock().say(kind, Instant::now());
            match shown {
                Some(0) => log::log!(level, "{op}: {error}"),
                Some(more) => {
                    log::log!(level, "{op}: {error} ({more} more like it were not shown)");
                }
                None => log::debug!("{op}: {error}"),
            }
        }
        _ => log::trace!("{op}: {error}"),
    }
    match error {
        Error::Stale if repeated_by_the_kernel(op) => Errno::EBUSY,
        error => errno(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn b2(kind: ErrorKind) -> Error {
        Error::B2(crate::b2::Error {
            kind,
            call: "b2_test",
            subject: String::new(),
            status: 0,
            code: String::new(),
            detail: String::new(),
            attempts: 1,
            elapsed: Duration::ZERO,
            lost: None,
        })
    }

    #[test]
    fn what_the_kernel_would_repeat_is_not_stale() {
        for op in ["unlink", "rename"] {
            assert_eq!(i32::from(report(op, &Error::Stale)), libc::EBUSY, "{op}");
        }
        assert_eq!(i32::from(report("fsync", &Error::Stale)), libc::ESTALE);
    }

    #[test]
    fn every_error_has_its_errno() {
        for (error, code) in [
            (Error::NotFound, libc::ENOENT),
            (Error::Exists, libc::EEXIST),
            (Error::NotDirectory, libc::ENOTDIR),
            (Error::IsDirectory, libc::EISDIR),
            (Error::NotEmpty, libc::ENOTEMPTY),
            (Error::Invalid, libc::EINVAL),
            (Error::IllegalName, libc::EILSEQ),
            (Error::NameTooLong, libc::ENAMETOOLONG),
            (Error::Access, libc::EACCES),
            (Error::NotPermitted, libc::EPERM),
            (Error::Running, libc::ETXTBSY),
            (Error::ReadOnly, libc::EROFS),
            (Error::NotSupported, libc::EOPNOTSUPP),
            (Error::BadHandle, libc::EBADF),
            (Error::Stale, libc::ESTALE),
            (Error::CrossDevice, libc::EXDEV),
            (Error::NoData, libc::ENODATA),
            (Error::TooLarge, libc::EFBIG),
            (Error::NoSpace("info".into()), libc::ENOSPC),
            (Error::Io("network".into()), libc::EIO),
            (Error::Corrupt("bad SHA-1".into()), libc::EIO),
            (b2(ErrorKind::NotFound), libc::ENOENT),
            (b2(ErrorKind::AccessDenied), libc::EACCES),
            (b2(ErrorKind::BadCredentials), libc::EACCES),
            (b2(ErrorKind::Locked), libc::EPERM),
            (b2(ErrorKind::CapExceeded), libc::EDQUOT),
            (b2(ErrorKind::InvalidArgument), libc::EINVAL),
            (b2(ErrorKind::NameTooLong), libc::ENAMETOOLONG),
            (b2(ErrorKind::NoSuchBucket), libc::EIO),
            (b2(ErrorKind::RangeNotSatisfiable), libc::EIO),
            (b2(ErrorKind::Unavailable), libc::EIO),
            (b2(ErrorKind::Corrupt), libc::EIO),
            (b2(ErrorKind::Protocol), libc::EIO),
        ] {
            assert_eq!(i32::from(report("test", &error)), code, "{error:?}");
        }
    }
}
