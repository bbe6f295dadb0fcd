//! The errors of the program: one enum, so that a caller can tell what to do from the kind.

use std::{fmt, io};

/// Every fallible function of this crate returns this, unless it is a plain `io::Result`.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, by what the caller can do about it.
#[derive(Debug)]
pub enum Error {
    /// The operating system refused; `what` says which call on which object.
    Io { what: String, source: io::Error },
    /// Bytes on disk are not what they must be; the text names file and offset.
    Corrupt(String),
    /// A configuration value or command line cannot be used; the text names file, line and key.
    Config(String),
    /// Bytes from a peer break the protocol: its connection is closed, nothing is answered.
    Protocol(String),
    /// A request is answered with this response code and remark; the connection lives on.
    /// On the client side: the peer answered so.
    Refused { code: i32, remark: String },
    /// No answer in time.
    Timeout(String),
}

impl Error {
    /// An answer with a response code of `protocol::code::response`.
    pub fn refused(code: i32, remark: impl Into<String>) -> Error {
        Error::Refused { code, remark: remark.into() }
    }
}

/// Adds to an `io::Error` what was being done.
pub trait IoContext<T> {
    fn what(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn what(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { what, source } => write!(f, "{what}: {source}"),
            Error::Corrupt(text)
            | Error::Config(text)
            | Error::Protocol(text)
            | Error::Timeout(text) => f.write_str(text),
            Error::Refused { code, remark } => write!(f, "CODE: {code}  DESC: {remark}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
