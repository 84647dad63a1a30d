//! Tools that work on a running broker, like those of Apache Kafka.
//!
//! Options, output and exit statuses are those of Apache Kafka 4.4, as far as scripts and health checks use them. Options that
//! are not supported are errors and never ignored silently.

pub mod acls;
mod client;
pub mod cluster;
pub mod configs;
pub mod console;
pub mod delete_records;
mod described_group;
pub mod features;
mod group_command;
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
pub mod share_groups;
mod table;
pub mod topics;
pub mod transactions;
pub mod waiting;

/// Test-only: number of brokers that a client with the settings of a file finds.
#[cfg(test)]
pub(super) async fn nodes(server: &str, file: &std::path::Path) -> Result<usize, String> {
    let told = |client::Failure(text)| text;
    let access = security::access(file).map_err(told)?;
    let cluster = client::Cluster::at(server, &access, std::time::Duration::ZERO);
    let found = cluster.await.map_err(told)?.brokers(None).await;
    Ok(found.map_err(told)?.len())
}
