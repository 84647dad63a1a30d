//! A partition as a replicated thing: who leads it, how far readers may read, who waits for it.
//!
//! A partition with one replica is one whose ISR is this node: the high watermark follows the end of its log.

pub mod fetch;
pub mod fetch_session;
pub mod fetcher;
pub mod follower;
pub mod isr_changes;
pub mod lane;
pub mod leader;
pub mod making;
pub mod manager;
pub mod moves;
pub mod partition;
pub mod pending;
pub mod produce;
pub mod purgatory;
pub mod throttle;

#[cfg(test)]
mod tests;
