//! Measurements of a process from `/proc`.

use std::fs;

use anyhow::{Context, Result};

/// Clock ticks of `/proc` per second.
const TICKS: f64 = 100.0;

/// Processor time of a process so far, in seconds.
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

/// Resident memory of a process, in bytes, including the pages of its binary.
pub fn resident(pid: u32) -> Result<usize> {
    memory(pid, "VmRSS:")
}

/// Resident memory of a process that is not backed by files, in bytes.
pub fn anonymous(pid: u32) -> Result<usize> {
    memory(pid, "RssAnon:")
}

/// Peak of the resident memory since [`forget_peak`], in bytes.
pub fn peak(pid: u32) -> Result<usize> {
    memory(pid, "VmHWM:")
}

/// Resets [`peak`] to the current resident memory. Not every system supports it.
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
