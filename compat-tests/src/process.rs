//! What the system says of a process.

use std::fs;

use anyhow::{Context, Result};

/// Clock ticks of /proc per second.
const TICKS: f64 = 100.0;

/// Seconds of processor time so far.
pub fn cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(") ").context("no name")?.1;
    let ticks: u64 = after_name
        .split(' ')
        .skip(11)
        .take(2)
        .map(|number| number.parse::<u64>().unwrap_or_default())
        .sum();
    Ok(ticks as f64 / TICKS)
}

/// Bytes of memory in use, with the pages of the program itself.
pub fn resident(pid: u32) -> Result<usize> {
    memory(pid, "VmRSS:")
}

/// Bytes of memory in use that come from no file.
pub fn anonymous(pid: u32) -> Result<usize> {
    memory(pid, "RssAnon:")
}

/// The most bytes of memory that were in use at once, since [`forget_peak`].
pub fn peak(pid: u32) -> Result<usize> {
    memory(pid, "VmHWM:")
}

/// Lets [`peak`] begin with what is in use now. Not every system does it.
pub fn forget_peak(pid: u32) -> Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

fn memory(pid: u32, kind: &str) -> Result<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix(kind)?.split_whitespace().next())
        .with_context(|| format!("no {kind} of process {pid}"))?;
    Ok(kilobytes.parse::<usize>()? << 10)
}
