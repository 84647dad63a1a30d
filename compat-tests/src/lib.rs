//! Black box: our binary against real clients and real Apache Kafka. Knows the broker only by its command line and its
//! sockets; of its library, the wire format only. The suites are in `tests/`, one file per promise; each names what it
//! needs in its `#[ignore]`.

pub mod admin;
pub mod apache;
pub mod chance;
pub mod client;
pub mod compaction;
pub mod docker;
pub mod exchange;
pub mod java;
pub mod matrix;
pub mod measured;
pub mod node;
pub mod old_apache;
pub mod packages;
pub mod process;
pub mod produced;
pub mod programs;
pub mod suites;
pub mod transactional;
