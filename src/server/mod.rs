//! Network server: accepts connections, reads requests, hands them to the API and writes the answers. One task per connection.

pub mod connection;
mod handshake;
pub mod listener;
pub mod output;
#[cfg(test)]
mod tests;
