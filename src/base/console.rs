//! Lines for whoever started the program. A reader that went away, as `mqbroker -p | head` does, is
//! no reason to panic, which `println!` does.

use std::fmt::Display;
use std::io::{self, Write};

/// A line on standard output.
pub fn print(text: impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// A line on standard error.
pub fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
