//! Tools that ask a running broker, as Apache Kafka has them.
//!
//! Options, output and exit statuses are those of Apache Kafka 4.4 for what scripts and health checks use; what is missing
//! is an error, never silence.

pub mod acls;
mod client;
pub mod cluster;
pub mod configs;
pub mod console;
pub mod delete_records;
mod described_group;
pub mod features;
mod group_offsets;
pub mod groups;
pub mod leader_election;
pub mod log_dirs;
mod partition_file;
pub mod perf;
mod quotas;
pub mod reassign;
pub mod reset;
mod security;
pub mod topics;
pub mod transactions;
pub mod waiting;
