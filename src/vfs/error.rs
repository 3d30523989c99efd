//! What a filesystem operation can end with; `fs` turns each into an errno.

use crate::vfs::Prospect;
use crate::{b2, io};

/// An error with the meaning of an errno (`man 3 errno`).
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// ENOENT.
    #[error("no such file or directory")]
    NotFound,
    /// EEXIST.
    #[error("file exists")]
    Exists,
    /// ENOTDIR.
    #[error("not a directory")]
    NotDirectory,
    /// EISDIR.
    #[error("is a directory")]
    IsDirectory,
    /// ENOTEMPTY.
    #[error("directory not empty")]
    NotEmpty,
    /// EINVAL.
    #[error("invalid argument")]
    Invalid,
    /// EILSEQ: B2 holds UTF-8 only.
    #[error("the name is not valid UTF-8")]
    IllegalName,
    /// ENAMETOOLONG.
    #[error("name too long")]
    NameTooLong,
    /// EACCES.
    #[error("permission denied")]
    Access,
    /// EPERM.
    #[error("operation not permitted")]
    NotPermitted,
    /// ETXTBSY.
    #[error("the program is running")]
    Running,
    /// EROFS.
    #[error("read-only file system")]
    ReadOnly,
    /// ENOTSUP.
    #[error("not supported")]
    NotSupported,
    /// EBADF.
    #[error("bad file handle")]
    BadHandle,
    /// ESTALE.
    #[error("the version that was open is gone from the bucket")]
    Stale,
    /// ESTALE at open: a path now leads to another inode, and Linux is to look it up again.
    #[error("the name is another file's now")]
    LookAgain,
    /// ENODATA: no such extended attribute.
    #[error("no such attribute")]
    NoData,
    /// EXDEV.
    #[error("cross-device link")]
    CrossDevice,
    /// EFBIG.
    #[error("file too large")]
    TooLarge,
    /// ENOSPC.
    #[error("no space left: {0}")]
    NoSpace(String),
    /// A call to B2 failed; its kind decides (DESIGN §8).
    #[error(transparent)]
    B2(#[from] b2::Error),
    /// EIO: content whose SHA-1 is not the stored one, also after another try.
    #[error("{0}")]
    Corrupt(String),
    /// EIO.
    #[error("{0}")]
    Io(String),
}

impl Error {
    /// What the same may come to later.
    pub(in crate::vfs) fn prospect(&self) -> Prospect {
        match self {
            Self::Stale => Prospect::Never,
            _ if self.may_pass() => Prospect::Passes,
            _ => Prospect::Depends,
        }
    }

    /// Whether the same may work later although nobody changes anything: names, rights, caps and sizes do not mend
    /// themselves, networks and servers do.
    pub(in crate::vfs) fn may_pass(&self) -> bool {
        use b2::ErrorKind as Kind;
        match self {
            Self::B2(error) => matches!(
                error.kind,
                Kind::Unavailable | Kind::Corrupt | Kind::Protocol | Kind::NotFound
            ),
            Self::Io(_) | Self::Corrupt(_) | Self::NoSpace(_) | Self::Running => true,
            _ => false,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error {
            io::Error::B2(error) => Self::B2(error),
            io::Error::Stale | io::Error::Covered => Self::Stale,
            io::Error::TooLarge => Self::TooLarge,
            io::Error::NoMemory => Self::NoSpace(error.to_string()),
            io::Error::Corrupt(what) => Self::Corrupt(what),
            io::Error::NeedsCommit | io::Error::HasLeft | io::Error::Anew => {
                Self::Io(error.to_string())
            }
            io::Error::Stopped => Self::NotFound,
        }
    }
}
