//! A partition as a replicated thing: who leads it, how far readers may read, who waits for it.
//!
//! On one node every partition has a single replica, this one: what is appended is replicated at once, and the high
//! watermark is the end of the log.

pub mod fetch;
pub mod fetch_session;
pub mod making;
pub mod manager;
pub mod moves;
pub mod partition;
pub mod pending;
pub mod purgatory;
