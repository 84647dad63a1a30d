//! Groups and their committed offsets, in `__consumer_offsets`.
//!
//! [`shard::GroupShard`] owns one partition of that topic: its [`classic`] groups and its [`offsets`]. A group is served
//! by the leader of the partition that its id hashes to. [`handle::GroupHandle`] is what API handlers hold.

mod admin;
pub mod any;
pub mod assignor;
pub mod classic;
mod commit;
pub mod consumer;
pub mod expression;
pub mod handle;
mod metadata_hash;
pub mod migrate;
pub mod offsets;
pub mod record;
pub mod request;
pub mod settings;
pub mod shard;
pub mod share;
mod share_admin;

#[cfg(test)]
mod tests;
