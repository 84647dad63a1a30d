//! Delivery of records to share groups (KIP-932) on the leader of a partition: which member holds which record, until when, and
//! how often each record was delivered.
//!
//! ```text
//!   fetch ─▶ session ─▶ machine: next offset ─▶ plan a read ─▶ machine: acquire ─▶ a part of the segment file
//!   acknowledge ─▶ machine ─▶ write to the share coordinator ─▶ machine: settle ─▶ answer
//! ```
//!
//! [`machine`] has the delivery state of one partition for one group, [`session`] the partitions that each member fetches.
//! [`manager`] owns both, reads and writes states, and expires locks. Record bytes go from the page cache to the socket, as
//! with any fetch. Durable state is with the share coordinator: an acknowledgement is answered when the coordinator has written
//! it; locks are only in memory.
//!
//! [`machine`]: crate::share::machine
//! [`session`]: crate::share::session
//! [`manager`]: crate::share::manager

pub mod machine;
pub mod manager;
pub mod plan;
pub mod session;
