//! Black box: the `monedula` binary against real clients and real Apache Kafka. The suites know the broker by its command
//! line and its sockets; of its library they use the wire format, the log's files and the settings. They are in `tests/`,
//! one file per promise; each test names what it needs in its `#[ignore]`.

pub mod admin;
pub mod answers;
pub mod apache;
pub mod cgroup;
pub mod chance;
pub mod client;
pub mod compaction;
pub mod docker;
pub mod exchange;
pub mod generator;
pub mod java;
pub mod matrix;
pub mod measured;
pub mod needs;
pub mod node;
pub mod old_apache;
pub mod packages;
pub mod process;
pub mod produced;
pub mod programs;
pub mod snippets;
pub mod suites;
pub mod transactional;
