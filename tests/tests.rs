//! The only test target: a module per subject.

/// Rows, etc/, man/ and the printed lists agree; files load, and bad ones are refused precisely.
mod config;
/// The daemons as an operator sees them: what they print, signals, exit statuses, logs.
mod daemon;
/// The NameServer: all its requests, bad input.
mod namesrv;
/// A connection that speaks raw frames.
mod peer;
/// The house rules of the source: sizes, unsafe places, import directions.
mod tidy;
