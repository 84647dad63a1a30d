//! Encoding and decoding of Kafka's wire protocol, in every version. No async, no files, no cluster state.

pub mod batch;
pub mod codec;
pub mod error_code;
pub mod message;
