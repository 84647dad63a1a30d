//! What partitions cost while nobody uses them: memory, open files and maps, the processor's time for a second of waiting,
//! and the starts after a clean stop and after kill -9. Prints a table; asserts nothing about time.
//!
//! `SCALE=1,1000,10000,100000 cargo test -p compat-tests --release --test scale_bench -- --ignored --nocapture`

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use compat_tests::admin;
use compat_tests::exchange::Connection;
use compat_tests::node::Node;
use compat_tests::process::anonymous;

/// No request may make more than 10,000.
const PARTITIONS_OF_TOPIC: usize = 1_000;
/// How long the node is left alone.
const QUIET: Duration = Duration::from_secs(30);
/// Nanoseconds of `schedstat`.
const NANOSECONDS: f64 = 1e9;

#[test]
#[ignore = "needs an idle machine"]
fn how_fast_with_many_partitions() -> Result<()> {
    let scale = std::env::var("SCALE").unwrap_or_else(|_| "1,1000,10000".to_owned());
    println!(
        "| partitions | made in, s | memory, KB | open files | maps | CPU per idle second, ms | clean stop, s | start, s | start after kill -9, s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for partitions in scale.split(',') {
        measure(partitions.parse()?)?;
    }
    Ok(())
}

fn measure(partitions: usize) -> Result<()> {
    let mut node = Node::start()?;
    let began = Instant::now();
    create(&node, partitions)?;
    let made = began.elapsed();
    let pid = node.pid().context("the node is not running")?;
    let proc = |what: &str| format!("/proc/{pid}/{what}");
    let memory = anonymous(pid)? >> 10;
    let files = fs::read_dir(proc("fd"))?.count();
    let maps = fs::read_to_string(proc("maps"))?.lines().count();
    let before = processor(pid)?;
    thread::sleep(QUIET);
    let idle = (processor(pid)? - before) / QUIET.as_secs_f64() * 1e3;
    let began = Instant::now();
    node.stop()?;
    let stopped = began.elapsed();
    let began = Instant::now();
    node.resume()?;
    let clean = began.elapsed();
    node.kill()?;
    let began = Instant::now();
    node.resume()?;
    let killed = began.elapsed();
    println!(
        "| {partitions} | {:.2} | {memory} | {files} | {maps} | {idle:.2} | {:.2} | {:.3} | {:.3} |",
        made.as_secs_f64(),
        stopped.as_secs_f64(),
        clean.as_secs_f64(),
        killed.as_secs_f64(),
    );
    node.stop()
}

fn create(node: &Node, partitions: usize) -> Result<()> {
    let mut connection = Connection::open(&node.address())?;
    let mut left = partitions;
    while left > 0 {
        let count = left.min(PARTITIONS_OF_TOPIC);
        admin::create_with(&mut connection, &[&format!("t{left}")], count as i32, &[])?;
        left -= count;
    }
    Ok(())
}

/// Seconds that the threads of a process ran.
fn processor(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let ran = fs::read_to_string(thread?.path().join("schedstat"))?;
        let ran = ran.split(' ').next().context("no time")?;
        nanoseconds += ran.parse::<f64>()?;
    }
    Ok(nanoseconds / NANOSECONDS)
}
