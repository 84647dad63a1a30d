//! Outbound requests to other nodes, from the command line and from a node to its cluster.
//!
//! ```text
//! pool      a channel for each node of a listener, and lanes beside them
//!   ├── channel   many requests in flight, shared by all callers
//!   └── lane      one request at a time, for fetching: it does not wait for requests of other callers
//!        └── connection   a socket, optionally with TLS and SASL; versions negotiated once
//! ```
//! Addresses of nodes come from the metadata ([`AddressBook`]).
//!
//! [`AddressBook`]: crate::peer::connection::AddressBook

pub mod access;
pub mod backoff;
pub mod channel;
pub mod connection;
pub mod lane;
pub mod pool;
