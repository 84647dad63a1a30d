//! The quorum on a broker that is not a member of it: an observer fetches the metadata log from the controllers, and never
//! votes or proposes. Kafka's `KafkaRaftClient` in the observer role.
//!
//! ```text
//!             errands                               requests
//!   member ─────────────────────────────────► task ──────────► controllers
//!     │    ◄─────────────────────────────────      ◄──────────
//!     │       results                               answers
//!     ├── machine   pure: chooses requests, and judges answers
//!     └── files     the metadata log and its snapshots
//! ```
//! There is one errand at a time. Answers are judged and written to disk on the thread that owns the member; the task only
//! transports them. A record is passed on when the leader has confirmed that it is committed.

pub mod machine;
pub mod member;
pub mod task;
#[cfg(test)]
mod tests;
