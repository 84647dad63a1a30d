//! The outbound side: requests to a broker, from the command line and from the start of a node.

pub mod channel;
