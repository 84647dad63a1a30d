//! The map: the order of the modules below is the path of a request and the import order; each uses only those under it.

pub mod api;
pub mod base;
pub mod config;
pub mod coordinator;
pub mod log;
pub mod metadata;
pub mod replica;
pub mod telemetry;
pub mod wire;
