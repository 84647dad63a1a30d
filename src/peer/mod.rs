//! The outbound side: requests to other brokers, for replication, for the command line.

pub mod channel;
