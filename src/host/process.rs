//! Resources that all nodes of a process share: its memory. They are globals, not parts of a [`Host`](super::Host), because
//! pure code asks for them. Apart from the log, the crate has no other globals of this kind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::ReentrantMutex;

/// Limit on the window of a codec as a fraction (one quarter) of the memory that the process may have.
const PART_OF_LOOK_BACK: u64 = 4;

/// Limit on the window of a codec, in bytes; see [`look_back_max`].
static LOOK_BACK_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Held during work that takes much memory (`base/work_pool.rs`).
pub static LARGE_WORK: ReentrantMutex<()> = ReentrantMutex::new(());

/// Number of bytes to which a batch may unpack if its codec keeps all of them in its window: a part of the memory that the
/// process may have, or `usize::MAX` if no limit is known.
pub fn look_back_max() -> usize {
    LOOK_BACK_MAX.load(Ordering::Relaxed)
}

/// Sets the memory that the process may have.
pub fn may_have(bytes: Option<u64>) {
    let part = bytes.and_then(|bytes| usize::try_from(bytes / PART_OF_LOOK_BACK).ok());
    LOOK_BACK_MAX.store(part.unwrap_or(usize::MAX), Ordering::Relaxed);
}

/// Size in bytes from which freed blocks are returned to the system at once. Most blocks for client data are smaller and are
/// reused without system calls.
const GIVEN_BACK_FROM: i32 = 1 << 20;

/// Makes the C library's allocator return large freed blocks to the system. By default it raises its threshold with the first
/// large block and then keeps later ones, in a heap per thread: after some large requests, hundreds of megabytes would stay
/// allocated.
///
/// To be called only by the broker's own process; a program that embeds a broker has its own settings. Only glibc is concerned.
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

/// Growth of the process, in bytes, from which on it is worthwhile to search for free memory.
const GROWN: usize = 16 << 20;

/// Returns free memory between used blocks to the system, if the process has grown by more than 16 MiB over `kept`. `kept` is
/// the result of the last call, or 0. Gives the size to compare with next time. May take milliseconds, during which other
/// threads wait to allocate.
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

/// Resources that the process uses or has used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time of all threads.
    pub cpu: Duration,
    /// `None`, here and below, if the system does not tell.
    pub resident_bytes: Option<u64>,
    pub open_files: Option<u64>,
    /// Start time in seconds since 1970.
    pub started_seconds: Option<u64>,
}

/// Current usage. Reads some files of `/proc`.
pub fn usage() -> Usage {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu = Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.max(0) as u32);
    let open_files = std::fs::read_dir("/proc/self/fd").ok();
    Usage {
        cpu,
        resident_bytes: resident().map(|bytes| bytes as u64),
        // The descriptor used for counting is not counted.
        open_files: open_files.map(|files| (files.count() as u64).saturating_sub(1)),
        started_seconds: started_seconds(),
    }
}

fn started_seconds() -> Option<u64> {
    let text = |path| std::fs::read_to_string(path).ok();
    let stat = text("/proc/self/stat")?;
    // The name of the program is in parentheses and may contain any character, so fields are counted behind the last
    // parenthesis. Field 20 from there is the start time in clock ticks.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let machine = text("/proc/stat")?;
    let booted = machine
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?;
    let booted: u64 = booted.trim().parse().ok()?;
    Some(booted + ticks / rustix::param::clock_ticks_per_second())
}

/// Resident memory of the process in bytes; `None` if the system does not tell.
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
