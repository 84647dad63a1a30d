//! One partition's records on disk, and all of them together: Kafka's files, name for name. Blocking code; the log
//! does not know that replicas exist.

pub mod append;
pub mod checkpoint;
pub mod cold;
pub mod compaction;
pub mod dir;
pub mod durability;
pub mod error;
pub mod failure;
pub mod found;
pub mod high_watermark;
pub mod index;
pub mod leader_epoch;
pub mod manager;
pub mod partition_log;
pub mod producer_state;
pub mod recovery;
pub mod segment;
pub mod segments;
pub mod settings;
pub mod verify;

#[cfg(test)]
mod tests;
