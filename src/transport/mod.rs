//! How the bytes of a connection travel: as they are, or through TLS.

pub mod client;
mod jks;
pub mod key_store;
mod old_certificate;
mod pkcs12;
mod sealed;
pub mod stream;
pub mod tls;
