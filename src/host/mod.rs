//! The machine under a node: what the rest of the crate must not ask the system for itself. `broker` hands a [`Host`] down to
//! every part of a node; `tidy.rs` refuses the system's own clocks, random source, files and sockets anywhere else. Uses nothing else of this
//! crate.
//!
//! ```text
//! cli, tests ──► broker ──► host ──► clock        wall time, steady time, pauses
//!                             ├────► chance       random bytes
//!                             ├────► descriptors  how many files and connections may be open
//!                             ├────► disk         files and directories
//!                             ├────► network      names, listeners, connections
//!                             └────► threads      tasks, work that blocks, long-lived threads
//! ```
//! In a build for tests a host may be simulated: its clock follows the paused clock of the runtime, its chance comes from a
//! seed, its network is in memory. So several nodes can live on one thread, each with its own host. In any other build there is one kind of host, and a
//! question to it is the call of the system and nothing else.

pub mod chance;
pub mod clock;
pub mod container;
pub mod descriptors;
pub mod disk;
pub mod file;
pub mod file_time;
pub mod given;
pub mod inbox;
pub mod known_files;
#[cfg(test)]
pub mod lan;
pub mod machine;
pub mod network;
pub mod process;
pub mod socket;
pub mod task;
pub mod threads;

use chance::Chance;
use clock::Clock;
use descriptors::Descriptors;
use disk::Disk;
#[cfg(test)]
use lan::Lan;
use network::Network;
use threads::Threads;

/// See the module. Cheap to clone. The default is the machine that the process runs on.
#[derive(Clone, Debug, Default)]
pub struct Host {
    pub clock: Clock,
    pub chance: Chance,
    pub descriptors: Descriptors,
    pub disk: Disk,
    pub network: Network,
    pub threads: Threads,
}

/// What many systems give a process.
#[cfg(test)]
const SIMULATED_DESCRIPTORS: usize = 1_024;

#[cfg(test)]
impl Host {
    /// Test-only: a host alone, whose wall clock begins at `wall_ms`, and whose chance comes from `seed`.
    pub fn simulated(wall_ms: i64, seed: u64) -> Self {
        Self::simulated_in(&Lan::new(seed), "alone", wall_ms, seed)
    }

    /// Test-only: the same of one that others know by its name.
    pub fn simulated_in(lan: &Lan, name: &str, wall_ms: i64, seed: u64) -> Self {
        let (clock, descriptors) = (
            Clock::simulated(wall_ms),
            Descriptors::of(SIMULATED_DESCRIPTORS),
        );
        Self {
            clock: clock.clone(),
            chance: Chance::seeded(seed),
            disk: Disk::simulated(&descriptors, std::sync::Arc::new(disk::Sound(clock))),
            descriptors,
            network: lan.join(name),
            threads: Threads::one(),
        }
    }
}
