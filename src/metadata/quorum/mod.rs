//! How proposed records become committed. A single node writes its own file: written and synced is committed.

pub mod single;
pub mod upkeep;

#[cfg(test)]
mod tests;
