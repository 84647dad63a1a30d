//! Groups of the share protocol (KIP-932): members send their subscriptions, and the coordinator tells each member from which
//! partitions to fetch. Members may share a partition. The state of single records is kept by the leaders of the partitions.
//!
//! ```text
//! heartbeat ─▶ a partition is new ─▶ the share coordinator initialises its state ─▶ it may be assigned
//!          └─▶ group epoch + 1 ─▶ an assignor makes the target of every member ─▶ the member has it with its next heartbeat
//! ```
//!
//! A new assignment does not wait for members to revoke partitions, since a partition has no single owner.

mod describe;
pub mod group;
pub mod heartbeat;
