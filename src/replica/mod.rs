//! Replication of partitions: the role of this node in each, the high watermark, and requests that wait for either.
//!
//! The ISR of a partition with one replica is this node alone: its high watermark follows the log end offset.

pub mod fetch;
pub mod fetch_session;
pub mod fetcher;
pub mod follower;
pub mod isr_changes;
pub mod lane;
pub mod leader;
pub mod making;
pub mod manager;
pub mod moves;
pub mod partition;
pub mod pending;
pub mod produce;
pub mod purgatory;
pub mod throttle;

#[cfg(test)]
mod tests;
