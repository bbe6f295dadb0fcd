//! System calls behind `io::Result`, and what the processor compares at once. UNSAFE place 1 of the
//! program: each call is one small function.
#![allow(unsafe_code)]

pub mod faults;
pub mod file;
pub mod host;
pub mod net;
pub mod process;
pub mod signal;
pub mod time;
pub mod timer;
pub mod vector;

use std::io;

/// The result of a call that says −1 for "see errno".
fn cvt(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
