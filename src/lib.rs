//! The map: the order of the modules below is the path of a request and the import order; each uses only those under it.
//!
#![doc = include_str!("ARCHITECTURE.md")]

/// Subcommands of the `monedula` program.
pub mod cli;

/// Builds every part of a node, starts and stops it.
pub mod broker;

/// Plain HTTP for whoever operates or tests a node.
pub mod console;

/// Sockets to requests and back.
pub mod server;

/// The Kafka API surface: one table, one dispatcher, one file per API.
pub mod api;

/// Services kept in internal topics: groups and their offsets.
pub mod coordinator;

/// A partition as a replicated thing.
pub mod replica;

/// Cluster metadata: records are the truth, an image is their fold.
pub mod metadata;

/// Requests to other brokers.
pub mod peer;

/// One partition's records on disk.
pub mod log;

/// Who clients are, and how they prove it.
pub mod security;

/// How the bytes of a connection travel: as they are, or through TLS.
pub mod transport;

/// Bytes to messages and back, of every version.
pub mod wire;

/// Settings, each declared once.
pub mod config;

/// What the node says about itself: its log, and what it counts.
pub mod telemetry;

/// Words everybody uses.
pub mod base;

/// The machine under a node: its clocks, its chance.
pub mod host;

/// The Rust example of the README, as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

#[cfg(test)]
mod tidy;
