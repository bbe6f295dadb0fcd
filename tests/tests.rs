//! The only test target: a module per subject.
