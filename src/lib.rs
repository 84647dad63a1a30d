//! The order of the modules below is the path of a request and the order of imports: a module imports only modules below it.
//!
#![doc = include_str!("ARCHITECTURE.md")]

/// Subcommands of the `monedula` program.
pub mod cli;

/// Builds, starts and stops all parts of a node.
pub mod broker;

/// HTTP endpoint for operation and tests of a node.
pub mod console;

/// Network server: accepts connections, reads requests, writes answers.
pub mod server;

/// Kafka's API: one table, one dispatcher, one file per API.
pub mod api;

/// Client quotas.
pub mod quota;

/// Delivery of records to share groups.
pub mod share;

/// Coordinators, which keep state in internal topics: groups with their offsets, states of share groups, and transactions.
pub mod coordinator;

/// Partitions as replicas.
pub mod replica;

/// Cluster metadata: records, and the image that results from them.
pub mod metadata;

/// Requests to other brokers.
pub mod peer;

/// Files of a partition's log.
pub mod log;

/// Identities of clients and their authentication.
pub mod security;

/// Transport of a connection's bytes: plain, or through TLS.
pub mod transport;

/// Encoding and decoding of messages in all versions.
pub mod wire;

/// Settings, each declared once.
pub mod config;

/// Log and metrics of the node.
pub mod telemetry;

/// Types and tools that all modules use.
pub mod base;

/// The machine under a node: clocks, random numbers, files, sockets, threads.
pub mod host;

/// Rust example of the README, as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

#[cfg(test)]
mod tidy;
