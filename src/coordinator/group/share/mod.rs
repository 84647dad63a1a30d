//! Groups of the share protocol (KIP-932): members say what they subscribe to, the coordinator tells each from which partitions to
//! fetch; several may share one. What becomes of single records is up to the leaders of the partitions.
//!
//! ```text
//! heartbeat ─▶ a partition is new ─▶ the share coordinator initialises its state ─▶ it may be assigned
//!          └─▶ group epoch + 1 ─▶ an assignor makes the target of every member ─▶ the member has it with its next heartbeat
//! ```
//!
//! A member gives nothing up before others get it: nobody owns a partition.

mod describe;
pub mod group;
pub mod heartbeat;
