//! What belongs to the process and is found without a host, because pure code asks for it amidst its work: the memory that all
//! nodes of the process share. Nothing else of this crate but its log is shared by all nodes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::ReentrantMutex;

/// A codec may look back so far in this part of the memory that the process may have.
const PART_OF_LOOK_BACK: u64 = 4;

/// How far a codec may look back, in bytes; see [`look_back_max`].
static LOOK_BACK_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Held by the one who does work that takes much memory (`base/work_pool.rs`).
pub static LARGE_WORK: ReentrantMutex<()> = ReentrantMutex::new(());

/// Bytes of a batch that are unpacked where the codec holds on to all of them: `usize::MAX`, or as many as fit into the memory
/// that the process may have.
pub fn look_back_max() -> usize {
    LOOK_BACK_MAX.load(Ordering::Relaxed)
}

/// From now on the process may have so much memory.
pub fn may_have(bytes: Option<u64>) {
    let part = bytes.and_then(|bytes| usize::try_from(bytes / PART_OF_LOOK_BACK).ok());
    LOOK_BACK_MAX.store(part.unwrap_or(usize::MAX), Ordering::Relaxed);
}

/// Blocks of this size and above are the system's again as soon as they are freed. Smaller ones are most of what clients send,
/// and are used again without asking the system.
const GIVEN_BACK_FROM: i32 = 1 << 20;

/// Keeps the C library's allocator from holding on to large blocks that were freed. Left alone it learns from the first of
/// them to keep all later ones, a heap for each thread: after some large requests, hundreds of megabytes for good.
///
/// For the process of a broker alone: a program that embeds one has settings of its own. Other C libraries do not do this.
#[allow(
    unsafe_code,
    reason = "the C library has no other way, and no crate wraps it"
)]
pub fn give_large_blocks_back() {
    #[cfg(target_env = "gnu")]
    for setting in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: mallopt takes two numbers, locks the allocator, and keeps nothing of the caller's.
        unsafe { libc::mallopt(setting, GIVEN_BACK_FROM) };
    }
}

/// Memory that has come to the process since it gave some back last, in bytes, from which on it is worth while to look for more.
const GROWN: usize = 16 << 20;

/// Gives back what lies free between blocks in use, if the process takes much more memory than `kept`, in bytes: what this gave
/// last, or 0. May take milliseconds, in which threads that want memory wait.
#[allow(unsafe_code, reason = "see above")]
pub fn give_back_free_memory(kept: usize) -> usize {
    let Some(resident) = resident() else {
        return kept;
    };
    if resident <= kept.saturating_add(GROWN) {
        return kept.min(resident);
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number and locks the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
    self::resident().unwrap_or(resident)
}

/// What the process has used of the machine so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time of all its threads.
    pub cpu: Duration,
    /// `None`, here and below, where the system does not say.
    pub resident_bytes: Option<u64>,
    pub open_files: Option<u64>,
    /// When it started, in seconds since 1970.
    pub started_seconds: Option<u64>,
}

/// The usage now: some files of `/proc` are read.
pub fn usage() -> Usage {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu = Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.max(0) as u32);
    let open_files = std::fs::read_dir("/proc/self/fd").ok();
    Usage {
        cpu,
        resident_bytes: resident().map(|bytes| bytes as u64),
        // The one with which they are counted is not counted.
        open_files: open_files.map(|files| (files.count() as u64).saturating_sub(1)),
        started_seconds: started_seconds(),
    }
}

fn started_seconds() -> Option<u64> {
    let text = |path| std::fs::read_to_string(path).ok();
    let stat = text("/proc/self/stat")?;
    // Behind the name of the program, in parentheses, which may contain anything: the 20th field is the start, in ticks.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let machine = text("/proc/stat")?;
    let booted = machine
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?;
    let booted: u64 = booted.trim().parse().ok()?;
    Some(booted + ticks / rustix::param::clock_ticks_per_second())
}

/// Bytes of the process that are in memory; `None` where the system does not say.
fn resident() -> Option<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_only_where_much_has_come() {
        let resident = resident().unwrap();
        assert!(resident > 1 << 20);
        let plenty = resident * 2 + (1 << 30);
        assert!(give_back_free_memory(plenty) < plenty);
        assert!(give_back_free_memory(0) > 0 || resident <= GROWN);
    }
}
