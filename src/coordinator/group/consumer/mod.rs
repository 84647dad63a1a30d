//! Groups of the consumer protocol (KIP-848): members say what they subscribe to, the coordinator tells each what to read.
//!
//! ```text
//! heartbeat ─▶ the member's profile has changed ─▶ group epoch + 1 ─▶ an assignor makes the target of every member
//!          └─▶ the member moves towards its target, at its own heartbeats: gives up first, is given what others gave up
//! ```
//!
//! Three epochs tell how far things are: the group's (members and topics), the assignment's (targets), and each member's. All of it is
//! recorded, so that a coordinator that takes over goes on in the middle. Nothing happens without a heartbeat, but that members
//! which are silent are removed.

pub mod assignment;
mod describe;
pub mod group;
pub mod heartbeat;
pub mod reconcile;
