//! Transactions: who owns a transactional id, what its producer has touched, and how that ends. In `__transaction_state`.
//!
//! ```text
//!   Empty ──▶ Ongoing ──▶ Prepared (commit or abort) ──▶ Complete ──▶ Ongoing …
//!                 partitions      recorded: the outcome stands,     every partition
//!                 are added       whatever happens now              has its marker
//! ```
//!
//! [`machine`] decides about one id, [`shard::TxnShard`] keeps those of one partition, [`handle::TxnHandle`] is what API
//! handlers hold. The outcome of a transaction is committed before the first marker is written, and markers are written
//! until all are there: after a crash the successor begins again, since a second marker does no harm.

pub mod handle;
pub mod machine;
pub mod markers;
pub mod record;
pub mod request;
pub mod shard;

#[cfg(test)]
mod tests;
