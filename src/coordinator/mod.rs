//! Coordinators: services that keep their state in internal topics, as sequences of records. There are three: groups with their
//! offsets, states of share groups in partitions, and transactions.
//!
//! A coordinator is a pure [`Shard`] per partition of its topic. The [`runtime`] appends the records that a shard decides on,
//! sends answers once the high watermark has passed the records, wakes the shard for its timers, and rebuilds it from the log
//! when this node becomes the partition's leader. **A running shard and a loading one use the same `apply`.**
//!
//! [`Shard`]: crate::coordinator::runtime::shard::Shard
//! [`runtime`]: crate::coordinator::runtime

pub mod elsewhere;
pub mod group;
pub mod hash;
#[cfg(test)]
mod recordings;
pub mod runtime;
pub mod share_state;
pub mod topic;
pub mod txn;
