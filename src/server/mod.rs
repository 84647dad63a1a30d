//! The inbound side: sockets to requests and back. One task per connection.

pub mod connection;
mod handshake;
pub mod listener;
pub mod output;
#[cfg(test)]
mod tests;
