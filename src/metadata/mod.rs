//! Cluster metadata. The records in the metadata log are authoritative; an image is the result of applying them.
//!
//! The controller decides about requests, its records are committed through a quorum, and the loader shows the resulting image
//! to publishers in a fixed order. On one node the quorum is this node's own file.

pub mod addresses;
pub mod adoption;
pub mod authorizer;
pub mod batches;
pub mod bootstrap;
pub mod controller;
pub mod features;
pub mod image;
pub mod loader;
pub mod metadata_log;
pub mod placement;
pub mod quorum;
pub mod record;
pub mod remote;
pub mod snapshots;
