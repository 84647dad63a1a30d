//! Transactions: the producer of each transactional id, the partitions of its transaction, and how the transaction ends. Stored
//! in `__transaction_state`.
//!
//! ```text
//!   Empty ──▶ Ongoing ──▶ Prepared (commit or abort) ──▶ Complete ──▶ Ongoing …
//!                 partitions      the outcome is recorded      every partition
//!                 are added       and cannot change            has its marker
//! ```
//!
//! [`machine`] decides about one id, [`shard::TxnShard`] keeps the ids of one partition, [`handle::TxnHandle`] is for API
//! handlers. The outcome of a transaction is committed before the first marker is written, and markers are written until all
//! are there. After a crash the next coordinator writes all of them again, since a second marker does no harm.

mod admission;
pub mod handle;
pub mod machine;
pub mod markers;
pub mod record;
pub mod request;
pub mod shard;

#[cfg(test)]
mod tests;
