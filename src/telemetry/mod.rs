//! Log and metrics of the broker.

pub mod histogram;
mod line;
pub mod logging;
pub mod meters;
mod outlet;
mod repeats;
