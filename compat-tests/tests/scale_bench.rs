//! Cost of idle partitions and segments: memory, open files and maps, processor time per idle second, and the start after a
//! clean stop and after kill -9. Prints tables; asserts nothing about time.
//!
//! `SCALE=1,1000,10000,100000 cargo test -p compat-tests --release --test scale_bench -- --ignored --nocapture`

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use compat_tests::admin;
use compat_tests::exchange::Connection;
use compat_tests::node::Node;
use compat_tests::process::anonymous;
use compat_tests::produced::{Batch, send};

/// Number of partitions per topic. A request may create at most 10,000.
const PARTITIONS_OF_TOPIC: usize = 1_000;
/// Time for which the node is left idle.
const QUIET: Duration = Duration::from_secs(30);
/// Settings with which an index has no room for a second entry.
const A_SEGMENT_PER_BATCH: [(&str, &str); 3] = [
    ("segment.index.bytes", "16"),
    ("index.interval.bytes", "0"),
    ("retention.ms", "-1"),
];
/// Unit of `schedstat`: nanoseconds per second.
const NANOSECONDS: f64 = 1e9;

#[test]
#[ignore = "needs an idle machine"]
fn how_fast_with_many_partitions() -> Result<()> {
    measure("partitions", |connection, partitions| {
        let mut left = partitions;
        while left > 0 {
            let count = left.min(PARTITIONS_OF_TOPIC);
            admin::create_with(connection, &[&format!("t{left}")], count as i32, &[])?;
            left -= count;
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs an idle machine"]
fn how_fast_with_many_segments() -> Result<()> {
    measure("segments", |connection, segments| {
        admin::create_with(connection, &["t"], 1, &A_SEGMENT_PER_BATCH)?;
        let batch = Batch::default().of([(None, Bytes::from_static(b"value"))])?;
        for _ in 0..segments {
            send(connection, "t", 0, batch.clone())?;
        }
        Ok(())
    })
}

/// Prints one line for each number in `SCALE`; `make` creates that many partitions or segments.
fn measure(what: &str, make: impl Fn(&mut Connection, usize) -> Result<()>) -> Result<()> {
    let scale = std::env::var("SCALE").unwrap_or_else(|_| "1,1000,10000".to_owned());
    println!(
        "| {what} | made in, s | memory, KB | open files | maps | CPU per idle second, ms | clean stop, s | start, s | start after kill -9, s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for count in scale.split(',') {
        let mut node = Node::start()?;
        let began = Instant::now();
        make(&mut Connection::open(&node.address())?, count.parse()?)?;
        let made = began.elapsed().as_secs_f64();
        println!("| {count} | {made:.2} | {} |", at_rest(&mut node)?);
        node.stop()?;
    }
    Ok(())
}

/// The table's line of a node that holds all of these.
fn at_rest(node: &mut Node) -> Result<String> {
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
    let stopped = began.elapsed().as_secs_f64();
    let began = Instant::now();
    node.resume()?;
    let clean = began.elapsed().as_secs_f64();
    node.kill()?;
    let began = Instant::now();
    node.resume()?;
    let killed = began.elapsed().as_secs_f64();
    Ok(format!(
        "{memory} | {files} | {maps} | {idle:.2} | {stopped:.2} | {clean:.3} | {killed:.3}"
    ))
}

/// Processor time of all threads of a process, in seconds.
fn processor(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let ran = fs::read_to_string(thread?.path().join("schedstat"))?;
        let ran = ran.split(' ').next().context("no time")?;
        nanoseconds += ran.parse::<f64>()?;
    }
    Ok(nanoseconds / NANOSECONDS)
}
