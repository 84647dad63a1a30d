//! Groups of the consumer protocol (KIP-848): members send their subscriptions, and the coordinator tells each member its
//! partitions.
//!
//! ```text
//! heartbeat ─▶ the member's profile has changed ─▶ group epoch + 1 ─▶ an assignor makes the target of every member
//!          └─▶ by its own heartbeats, the member first revokes partitions and then gets those that others revoked
//! ```
//!
//! Three epochs show the progress: that of the group (members and topics), that of the target assignment, and that of each
//! member. All of this state is recorded, so a new coordinator continues where the former one stopped. Groups change only by
//! heartbeats and by the removal of members whose time has run out.

pub mod assignment;
mod describe;
pub mod group;
pub mod heartbeat;
pub mod reconcile;
