//! Ferrocket: a NameServer and a Broker that take the place of Apache RocketMQ's, process for
//! process.
//!
//! This page is the map. Modules stand in dependency order: each uses only those above it.
#![deny(unsafe_code)]

pub mod base;
pub mod sys;

pub mod config;
pub mod message;

pub mod protocol;

pub mod net;

pub mod dispatch;

pub mod store;

pub mod replication;

pub mod namesrv;

pub mod broker;

pub mod client;

pub mod admin;

#[cfg(feature = "bench")]
pub mod bench;

pub mod cli;
