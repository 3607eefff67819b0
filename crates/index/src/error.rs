//! What can go wrong under the data folder, in words that say what to do. Refuses to hold: errors of a question or
//! of a caller (those are `sighting::StoreError`, into which these turn at the crate's edge).

use std::io;

use sighting::StoreError;

/// What went wrong with a file of the data folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The operating system refused.
    #[error("{path}: {cause}; check the disk, its free space and the folder's permissions")]
    Io {
        /// The file, relative to the data folder.
        path: String,
        /// What it said. Part of the text, and so no `source` that a chain would print once more.
        cause: io::Error,
    },
    /// Bytes are not what was written.
    #[error("{path} is damaged at byte {offset}: {what}; {}", repair(path))]
    Corrupt {
        /// The file, relative to the data folder.
        path: String,
        /// Where.
        offset: u64,
        /// What was expected and found.
        what: String,
    },
    /// Made by a newer seenby.
    #[error(
        "{path} has format version {found}, this program knows up to {supported}; run the newer seenby that wrote it"
    )]
    Version {
        /// The file, relative to the data folder.
        path: String,
        /// The version found.
        found: u16,
        /// The newest version known.
        supported: u16,
    },
    /// The request is more than the store can hold.
    #[error("{0}")]
    Refused(String),
    /// An earlier write failed, so nothing more is written.
    #[error(
        "the store stopped writing after an earlier failure ({0}); mend the cause, then stop the server (or whatever holds the folder) and start it again: nothing acknowledged is lost"
    )]
    Stopped(String),
}

/// What helps when a file of the folder is damaged or gone. Segments never change, so an old copy of one is as good as
/// new; all other files only make sense together.
fn repair(path: &str) -> &'static str {
    if path.starts_with("segments/") {
        "put back a copy of this file from a backup (segments never change), or restore the whole data folder; without \
         a backup begin a new folder and take the logs in again"
    } else {
        "restore the whole data folder from a backup, and remove no file of it by itself: they only make sense together; \
         without a backup begin a new folder and take the logs in again"
    }
}

impl IndexError {
    /// A file that the manifest names cannot be opened.
    pub(crate) fn absent(path: &str, cause: io::Error) -> IndexError {
        if cause.kind() == io::ErrorKind::NotFound {
            return IndexError::corrupt(path, 0, "the file is not there, and the manifest names it");
        }
        IndexError::Io { path: path.to_owned(), cause }
    }

    pub(crate) fn io(path: &str) -> impl FnOnce(io::Error) -> IndexError {
        move |cause| IndexError::Io { path: path.to_owned(), cause }
    }

    pub(crate) fn corrupt(path: &str, offset: u64, what: impl Into<String>) -> IndexError {
        IndexError::Corrupt { path: path.to_owned(), offset, what: what.into() }
    }
}

impl From<IndexError> for StoreError {
    fn from(error: IndexError) -> StoreError {
        match error {
            IndexError::Corrupt { .. } | IndexError::Version { .. } => StoreError::Corrupt(error.to_string()),
            IndexError::Refused(reason) => StoreError::Refused(reason),
            IndexError::Io { .. } | IndexError::Stopped(_) => StoreError::Unavailable(error.to_string()),
        }
    }
}

/// Why a data folder could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process holds the folder.
    #[error("another seenby process holds {path}")]
    Locked {
        /// The folder.
        path: String,
    },
    /// The folder is not a data folder, and not empty either.
    #[error("{path} is not a seenby data folder and not empty; name another folder")]
    Foreign {
        /// The folder.
        path: String,
    },
    /// A file in it cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The directory of organisations and applications cannot be used.
    #[error("{0}")]
    Directory(String),
}
