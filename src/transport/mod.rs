//! Transport of a connection's bytes: plain, or through TLS.

pub mod client;
mod jks;
pub mod key_store;
mod old_certificate;
mod pkcs12;
mod sealed;
pub mod stream;
pub mod tls;
