//! Cluster metadata: records are the truth, an image is their fold.
//!
//! The controller decides on the newest image, its records are committed through a quorum, and the image that results
//! is shown to publishers in a fixed order. On one node the quorum is this node's own file.

pub mod adoption;
pub mod bootstrap;
pub mod controller;
pub mod features;
pub mod image;
pub mod placement;
pub mod quorum;
pub mod record;
