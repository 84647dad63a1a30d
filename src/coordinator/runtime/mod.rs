//! The engine under every coordinator: decide, append, apply, answer once committed.
//!
//! ```text
//! handle ── request ──▶ task ─▶ shard.handle ─▶ records (applied at once) + answers
//!                         │                        │
//!                         │◀── high watermark ── log.append (one batch per shard and round)
//!                         └─▶ answers whose records are committed
//! ```
//!
//! A shard applies what it decides before the append, so that the next request of the same round sees it; no answer
//! leaves before its records are committed. Should an append fail, the shard is thrown away and loaded again: memory
//! never says what the log does not.

pub mod handle;
pub mod loader;
pub mod log;
pub mod shard;
pub mod task;
pub mod timer;

#[cfg(test)]
mod tests;
