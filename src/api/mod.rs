//! Kafka's APIs: one table of all of them, one dispatcher, and one file per API.

pub mod answer;
pub mod charges;
pub mod context;
pub mod dispatch;
mod forward;
pub mod handlers;
pub mod rights;
pub mod services;
pub mod table;
