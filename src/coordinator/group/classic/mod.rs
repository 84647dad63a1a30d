//! Groups of the classic protocol: all members join, the member elected as leader computes the assignment, and the broker only
//! coordinates.
//!
//! ```text
//!            first join                 all joined, or time is up            the leader's SyncGroup
//!   Empty ───────────────▶ Preparing ───────────────────────────▶ Completing ───────────────────▶ Stable
//!     ▲                     ▲   │ nobody left                         │ join, leave, death           │
//!     └─────────────────────┼───┘                                     │                              │
//!                           └─────────────────────────────────────────┴──────────────────────────────┘
//! ```
//!
//! Only two of these states are written to the log: `Stable`, with every member's assignment, and `Empty`. A coordinator that
//! takes over knows nothing of a rebalance that was in progress; the members notice and join again.

pub mod group;
mod pending;
pub mod rebalance;
