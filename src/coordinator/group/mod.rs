//! Groups of all types and their committed offsets, which are kept in `__consumer_offsets`.
//!
//! [`shard::GroupShard`] owns one partition of that topic with its groups and [`offsets`]. The id of a group is hashed to a
//! partition; the leader of the partition is the coordinator of the group. API handlers use [`handle::GroupHandle`].

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
