//! How the bytes of a connection travel: as they are, or through TLS.

pub mod client;
mod der;
mod jks;
pub mod key_store;
mod old_certificate;
pub mod stream;
pub mod tls;
