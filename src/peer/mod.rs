//! Outbound requests to other nodes, from the command line and from a node to its cluster.
//!
//! ```text
//! pool      a channel for each node of a listener, and lanes beside them
//!   ├── channel   many requests in flight, shared by whoever asks
//!   └── lane      one request at a time, for who fetches: nobody else's requests stand in front of it
//!        └── connection   a socket, perhaps TLS, perhaps a login; versions negotiated once
//! ```
//! Addresses of nodes come from the metadata ([`connection::AddressBook`]).

pub mod access;
pub mod backoff;
pub mod channel;
pub mod connection;
pub mod lane;
pub mod pool;
