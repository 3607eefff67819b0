//! How the program ends: its exit codes, and a failure as the code to end with and the chain of causes to print.
//! Refuses to hold: printing (main does it once) and the words of any one failure.

use std::fmt;
use std::io;
use std::process::ExitCode;

use sighting::{ChangeError, DirectoryError, StoreError};

/// The exit codes that scripts rely on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Seen, or done.
    Done = 0,
    /// Asked, and not seen.
    NotSeen = 1,
    /// The command line makes no sense; the message says what to type.
    WrongCommandLine = 2,
    /// The store or its server cannot be used.
    Unavailable = 3,
    /// Input was refused.
    InputRefused = 4,
    /// Not allowed, or not confirmed.
    NotAllowed = 5,
    /// Stopped by an interrupt: 128 + SIGINT, as shells report it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// What a command gives back.
pub(crate) type Outcome = Result<Exit, Failure>;

/// Why a command could not do its work, and the code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code to end with.
    pub(crate) exit: Exit,
    /// The chain to print, outermost first.
    pub(crate) cause: anyhow::Error,
}

impl Failure {
    /// A command line that makes no sense.
    pub(crate) fn usage(message: impl fmt::Display) -> Failure {
        Failure { exit: Exit::WrongCommandLine, cause: anyhow::anyhow!("{message}") }
    }

    /// A store or server that cannot be used.
    pub(crate) fn unavailable(message: impl fmt::Display) -> Failure {
        Failure { exit: Exit::Unavailable, cause: anyhow::anyhow!("{message}") }
    }

    /// Something that this caller may not do, or did not confirm.
    pub(crate) fn not_allowed(message: impl fmt::Display) -> Failure {
        Failure { exit: Exit::NotAllowed, cause: anyhow::anyhow!("{message}") }
    }

    /// Whether it is only that nobody reads our output any more (`seenby … | head`).
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.cause
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(cause: anyhow::Error) -> Failure {
        Failure { exit: Exit::Unavailable, cause }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure { exit: Exit::Unavailable, cause: error.into() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let exit = match error {
            StoreError::Refused(_) => Exit::WrongCommandLine,
            _ => Exit::Unavailable,
        };
        Failure { exit, cause: error.into() }
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Failure {
        Failure { exit: Exit::WrongCommandLine, cause: error.into() }
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Failure {
        let exit = match error {
            DirectoryError::Change(_) => Exit::WrongCommandLine,
            _ => Exit::Unavailable,
        };
        Failure { exit, cause: error.into() }
    }
}

/// Gives an error the exit code that it deserves at the place where that is known.
pub(crate) trait ExitWith<T> {
    /// The error ends the program with this code.
    fn exit_with(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> ExitWith<T> for Result<T, E> {
    fn exit_with(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure { exit, cause: error.into() })
    }
}
