//! What the broker says about itself: its log, and what it counts.

pub mod histogram;
mod line;
pub mod logging;
pub mod meters;
mod outlet;
mod repeats;
