//! The quorum as a broker sees it that is no member: it fetches the metadata log from the controllers, and never votes or
//! proposes. Kafka's `KafkaRaftClient`, as far as it is an observer's.
//!
//! ```text
//!             errands: what to ask whom             requests
//!   member ─────────────────────────────────► task ──────────► controllers
//!     │    ◄─────────────────────────────────      ◄──────────
//!     │       what came of it                       answers
//!     ├── machine   pure: whom to ask in which epoch, and what becomes of an answer
//!     └── files     the metadata log and its snapshots
//! ```
//! There is one errand at a time. Answers are judged, and written to disk, on the thread that owns the member. The task only
//! carries them. A record is given out when the leader has said that it is committed.

pub mod machine;
pub mod member;
pub mod task;
#[cfg(test)]
mod tests;
