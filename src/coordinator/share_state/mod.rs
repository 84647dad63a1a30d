//! What share groups have done with the records of their partitions (KIP-932), in `__share_group_state`.
//!
//! ```text
//!   initialise ──▶ snapshot ──▶ update ──▶ … ──▶ snapshot ──▶ …      one chain for each group and partition
//! ```
//!
//! The leader of a partition decides what is delivered; here stands, durable, from where on it shall deliver and what of it is done.
//! [`batches`] merges what was written, [`shard::ShareStateShard`] keeps the states of one partition of the topic, and
//! [`handle::ShareStateHandle`] is what the rest of the broker holds. A state has two guards: the epoch of whoever initialised it, and
//! that of the partition's leader; who comes with an older one is refused.

pub mod batches;
pub mod handle;
pub mod record;
pub mod request;
pub mod shard;

#[cfg(test)]
mod tests;
