//! The ext fields of requests and replies, by subject. Declarations only.

pub mod admin;
pub mod client;
pub mod consumer;
pub mod namesrv;
pub mod pull;
pub mod send;
pub mod topic;
pub mod txn;
