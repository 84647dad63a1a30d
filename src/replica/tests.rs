//! Tests of leaders and followers of one partition, without files, tasks or a network.

mod fetches;
mod following;
mod memory;
mod model;
mod partitions;
mod schedules;
mod stories;
