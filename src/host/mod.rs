//! The machine under a node, and the only access to clocks, random numbers, files, sockets and threads. `broker` hands a
//! [`Host`] to every part of a node; `tidy.rs` refuses direct use of the system elsewhere. Imports nothing else of this crate.
//!
//! ```text
//! cli, tests ──► broker ──► host ──► clock        wall time, steady time, pauses
//!                             ├────► chance       random bytes
//!                             ├────► descriptors  how many files and connections may be open
//!                             ├────► disk         files and directories
//!                             ├────► network      names, listeners, connections
//!                             └────► threads      tasks, work that blocks, long-lived threads
//! ```
//! In test builds a host may be simulated: its clock follows the paused clock of the runtime, its random numbers come from a
//! seed, and its network is in memory. Several simulated nodes can then share one thread. In all other builds there is one kind
//! of host, and its functions are plain system calls.
//!
//! [`Host`]: crate::host::Host

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

/// Handles to the resources of a machine. Cheap to clone. The default is the machine that the process runs on.
#[derive(Clone, Debug, Default)]
pub struct Host {
    pub clock: Clock,
    pub chance: Chance,
    pub descriptors: Descriptors,
    pub disk: Disk,
    pub network: Network,
    pub threads: Threads,
}

/// File descriptor limit of a simulated host: a common system default.
#[cfg(test)]
const SIMULATED_DESCRIPTORS: usize = 1_024;

#[cfg(test)]
impl Host {
    /// Test-only: a host with a network of its own, whose wall clock starts at `wall_ms` and whose random numbers come from
    /// `seed`.
    pub fn simulated(wall_ms: i64, seed: u64) -> Self {
        Self::simulated_in(&Lan::new(seed), "alone", wall_ms, seed)
    }

    /// Test-only: like [`Self::simulated`], for a host that other hosts of `lan` reach by its name.
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
