//! Event-sourced services that keep their state in internal topics: groups with their offsets, and transactions.
//!
//! A coordinator is a pure [`Shard`](runtime::shard::Shard) per partition of its topic. The [`runtime`] around it appends
//! what the shard decided, answers when the high watermark has passed it, wakes it for its timers, and rebuilds it from
//! the log when this node becomes the partition's leader. **The same `apply` serves a running shard and a loading one.**

pub mod group;
pub mod hash;
#[cfg(test)]
mod recordings;
pub mod runtime;
pub mod topic;
pub mod txn;
