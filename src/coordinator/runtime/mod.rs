//! Runtime of the coordinators: requests are decided, their records appended and applied, and answers sent once the records are
//! committed.
//!
//! ```text
//! handle ── request ──▶ task ─▶ shard.handle ─▶ records (applied at once) + answers
//!                         │                        │
//!                         │◀── high watermark ── log.append (one batch per shard and round)
//!                         └─▶ answers whose records are committed
//! ```
//!
//! A shard applies its records before the append, so that the next request of the same round sees them; no answer is sent
//! before its records are committed. If an append fails, the shard is dropped and loaded again, so that its state in memory
//! never differs from the log.

pub mod handle;
pub mod loader;
pub mod log;
pub mod shard;
pub mod task;
pub mod timer;

#[cfg(test)]
mod tests;
