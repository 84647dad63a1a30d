//! What the broker says about itself: its log.

mod line;
pub mod logging;
mod outlet;
mod repeats;
