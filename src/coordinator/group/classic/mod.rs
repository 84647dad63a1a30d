//! Groups of the classic protocol: members meet at a barrier, a leader among them assigns, the broker only referees.
//!
//! ```text
//!            first join                 all joined, or time is up            the leader's SyncGroup
//!   Empty ───────────────▶ Preparing ───────────────────────────▶ Completing ───────────────────▶ Stable
//!     ▲                     ▲   │ nobody left                         │ join, leave, death           │
//!     └─────────────────────┼───┘                                     │                              │
//!                           └─────────────────────────────────────────┴──────────────────────────────┘
//! ```
//!
//! Only two of these states are ever written: Stable, with every member's assignment, and Empty. What happens in between
//! is gone with the coordinator, and members find out by joining again.

pub mod group;
mod pending;
pub mod rebalance;
