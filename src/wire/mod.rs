//! Bytes to messages and back, of every version. No async, no files, no cluster.

pub mod batch;
pub mod codec;
pub mod error_code;
pub mod message;
