//! What the broker says about itself: its log.

pub mod logging;
