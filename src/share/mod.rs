//! Delivery of records to share groups (KIP-932), by the leader of a partition: who has which record, for how long, and for the
//! how-manieth time.
//!
//! ```text
//!   fetch ─▶ session ─▶ machine: what is next? ─▶ plan a read ─▶ machine: acquire ─▶ a stretch of the segment file
//!   acknowledge ─▶ machine ─▶ write to the share coordinator ─▶ machine: settled ─▶ answer
//! ```
//!
//! [`machine`] has the records of one partition that are on their way to one group, [`session`] what each member fetches, and
//! [`manager`] keeps both, reads and writes states, and ends locks. Record bytes go from the page cache to the socket, as with any
//! fetch. What is durable stands with the share coordinator: acknowledgements are answered when it has them, locks are in memory alone.

pub mod machine;
pub mod manager;
pub mod plan;
pub mod session;
