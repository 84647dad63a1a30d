//! Delivery states of share groups (KIP-932), which are kept in `__share_group_state`.
//!
//! ```text
//!   initialise ──▶ snapshot ──▶ update ──▶ … ──▶ snapshot ──▶ …      one chain for each group and partition
//! ```
//!
//! The leader of a partition decides which records are delivered. The share coordinator keeps, durably, the start offset of
//! each group in the partition and the delivery states after that offset. [`batches`] merges the written states,
//! [`shard::ShareStateShard`] keeps the states of one partition of the topic, and the rest of the broker uses
//! [`handle::ShareStateHandle`]. Two epochs guard a state: the state epoch of its last initialisation, and the epoch of the
//! partition's leader. Requests with an older epoch are refused.

pub mod batches;
pub mod handle;
pub mod record;
mod remote;
pub mod request;
pub mod shard;

#[cfg(test)]
mod tests;
