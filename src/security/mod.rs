//! Who clients are, and how they prove it. Below everything that asks, above what travels: nothing here opens a socket.

pub mod acl;
pub mod distinguished_name;
pub mod listeners;
pub mod mapping_rules;
pub mod principal;
pub mod sasl;
pub mod scram;
