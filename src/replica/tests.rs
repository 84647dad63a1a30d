//! Leaders and followers of one partition, without files, tasks and network.

mod fetches;
mod following;
mod memory;
mod model;
mod partitions;
mod schedules;
mod stories;
