//! Identities of clients and their authentication: certificates, SASL, access control entries. Opens no sockets.

pub mod acl;
pub mod distinguished_name;
pub mod listeners;
pub mod mapping_rules;
pub mod principal;
pub mod sasl;
pub mod scram;
