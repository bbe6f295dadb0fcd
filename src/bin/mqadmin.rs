//! The administration tool.

fn main() {}
