//! Black box tests: the `monedula` binary with real clients and in comparison with real Apache Kafka. The suites use the broker
//! by its command line and its sockets. Of its library they use the wire format, the log's files and the settings. The suites
//! are in `tests/`, one file per topic; the `#[ignore]` of each test names the programs that it needs.

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
