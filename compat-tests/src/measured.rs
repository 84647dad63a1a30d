//! A broker of either kind whose processor time and memory are measured.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::apache::Apache;
use crate::node::Node;

/// Clock ticks of /proc per second.
const TICKS: f64 = 100.0;

/// See the module.
#[derive(Debug)]
pub enum Broker {
    Kafka(Apache),
    Monedula(Node),
}

impl Broker {
    /// Starts Apache Kafka, or ours, on the data in `scratch`.
    pub fn start(kafka: bool, scratch: &Path) -> Result<Self> {
        let data = scratch.join("data");
        Ok(if kafka {
            Self::Kafka(Apache::start(scratch, &data)?)
        } else {
            Self::Monedula(Node::on(&data)?)
        })
    }

    pub fn address(&self) -> String {
        match self {
            Self::Kafka(broker) => broker.address(),
            Self::Monedula(node) => node.address(),
        }
    }

    fn pid(&self) -> Result<u32> {
        match self {
            Self::Kafka(broker) => Ok(broker.pid()),
            Self::Monedula(node) => node.pid().context("the node is not running"),
        }
    }

    /// Seconds of processor time so far.
    pub fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        let after_name = stat.rsplit_once(") ").context("no name")?.1;
        let ticks: u64 = after_name
            .split(' ')
            .skip(11)
            .take(2)
            .map(|number| number.parse::<u64>().unwrap_or_default())
            .sum();
        Ok(ticks as f64 / TICKS)
    }

    /// Bytes of memory in use.
    pub fn memory(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kilobytes.context("no memory")?.parse::<f64>()? * 1_024.0)
    }

    pub fn stop(self) -> Result<()> {
        match self {
            Self::Kafka(broker) => broker.stop(),
            Self::Monedula(mut node) => node.stop(),
        }
    }
}

/// A line of a table for one broker: what, and its number.
pub type Figures = Vec<(&'static str, f64)>;

/// Prints what was measured at both as a table.
pub fn print(kafka: &Figures, monedula: &Figures) {
    println!("| | Apache Kafka | monedula |\n|---|---|---|");
    for ((what, their), (_, our)) in kafka.iter().zip(monedula) {
        println!("| {what} | {their:.2} | {our:.2} |");
    }
}
